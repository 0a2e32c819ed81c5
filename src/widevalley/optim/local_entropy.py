"""LocalEntropy: any torch optimizer for the walk, any for the anchor."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from inspect import Parameter, signature
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import StateDict

from widevalley.optim._algorithm import Langevin, move_anchors_, pseudo_gradient_
from widevalley.optim._anchored import AnchoredOptimizer, mean_of, scope
from widevalley.optim._base import State, own_arguments
from widevalley.optim._tensors import copy_, local_real_view
from widevalley.optim._validation import Group, check_group
from widevalley.optim._walk import How, LangevinStep
from widevalley.optim.scoping import Schedule

OUTER = ("outer_lr", "outer_momentum", "outer_nesterov")
"""Settings that count where there is no outer optimizer."""


class LocalEntropy(LangevinStep, AnchoredOptimizer):
    r"""Descend the negative local entropy around an optimizer of your choice.

    ::

        optimizer = LocalEntropy(torch.optim.AdamW(model.parameters(), lr=1e-3))

    Every ``step()`` steps ``inner`` on the walker, with the gradient of f, then adds the pull and
    the noise outside of it, eta' being the lr of inner::

        x' <- inner(x', ∇f(x')) - eta' gamma (x' - x) + sqrt(eta') noise N(0, I)
        mu <- (1 - averaging) mu + averaging x'

    and every ``langevin_steps``-th also moves the anchor x by the pseudo-gradient d = x - mu, with
    momentum, or by ``outer``, another torch optimizer; then x', mu <- x::

        b <- outer_momentum b + d;   x <- x - outer_lr (d + outer_momentum b)

    The parameter groups are those of ``inner``, the very same dictionaries, with the settings below
    added: a scheduler on this optimizer moves inner's lr. With ``outer`` they are outer's, and a
    scheduler moves outer's lr; one on ``inner`` moves eta'. With SGD inside and outside it equals
    `EntropySGD`. With gamma = noise = 0 nothing is copied in a step, with averaging = 1 no mean is
    kept: a step then costs what inner's costs. The arithmetic is in the dtype of the parameters,
    or what inner makes of it: keep those float32.

    Args:
        inner: an optimizer; do not step it yourself.
        outer: None, or another one over the same parameters.
        outer_lr, outer_momentum, outer_nesterov: of the anchor's step where there is no ``outer``.
        langevin_steps, gamma, gamma_growth, noise, noise_law, averaging, seed, worker: as for
            `EntropySGD`.
        scale_by_gamma: multiply the pseudo-gradient by gamma.
        reset_inner: start every walk with a fresh state of inner's.

    Raises:
        ValueError: a setting out of its range, an optimizer that cannot step without a closure, or
            inner and outer with different parameters.

    Source: Chaudhari et al., ICLR 2017, Algorithm 1 ("Nesterov's momentum or Adam may wrap either
    loop", section 4.2).
    """

    _widens = False
    _entries: ClassVar[tuple[str, ...]] = (
        *AnchoredOptimizer._entries,
        *("momentum_buffer", "inner", "inner_begun", "outer", "outer_begun"),
    )

    def __init__(
        self,
        inner: Optimizer,
        outer: Optimizer | None = None,
        *,
        outer_lr: float = 1.0,
        outer_momentum: float = 0.0,
        outer_nesterov: bool = True,
        langevin_steps: int = 20,
        gamma: float = 0.0,
        gamma_growth: float | Schedule = 1e-3,
        noise: float = 0.0,
        noise_law: str = "gaussian",
        averaging: float = 0.75,
        scale_by_gamma: bool = False,
        reset_inner: bool = False,
        seed: int = 0,
        worker: int = 0,
    ) -> None:
        own = own_arguments(locals())
        for name in ("inner", "outer", *(() if outer is None else OUTER)):
            del own[name]
        for name, optimizer in (("inner", inner), ("outer", outer)):
            if not isinstance(optimizer, Optimizer) and not (name == "outer" and outer is None):
                raise ValueError(f"{name} must be a torch optimizer, got {optimizer!r}")
            if optimizer is not None and _needs_a_closure(optimizer):
                raise ValueError(
                    f"{name} must step without a closure, got {type(optimizer).__name__}"
                )
        if outer is not None and (inner is outer or _by_group(inner) != _by_group(outer)):
            raise ValueError("inner and outer must be two optimizers over the same parameters")
        self.inner, self.outer = inner, outer
        self._fresh: Mapping[Tensor, State] = {}
        self._counts: Group = {}
        if reset_inner:
            # of the few optimizers that make their state when they are made, or count in groups
            self._fresh = {p: deepcopy(inner.state[p]) for p in inner.state}
            self._counts = _changed_by_a_step(inner)
        super().__init__(self._holder().param_groups, own)
        self.defaults = {**self._holder().defaults, **self.defaults}  # what schedulers ask for

    def _walk(self, groups: list[Group]) -> None:
        """Inner's step on f, then a Langevin step on gamma/2 |x' - x|², which has the noise."""
        gammas = [scope(group) for group in groups]  # a schedule that is refused moves nothing
        walking = [(group, self._walking(group)) for group in groups]
        pulls: dict[Tensor, Tensor] = {}
        for (group, pairs), gamma in zip(walking, gammas, strict=True):
            if pairs and (gamma or group["noise"]):  # of the point where inner takes its gradient
                params = [p for p, _ in pairs]
                pull = torch._foreach_sub(params, [state["anchor"] for _, state in pairs])
                torch._foreach_mul_(pull, gamma)
                pulls |= zip(params, pull, strict=True)
        with _gradients(_parameters(self), {p: p.grad for _, pairs in walking for p, _ in pairs}):
            self.inner.step()
        langevin = [group for group, pairs in walking if pairs and pairs[0][0] in pulls]
        with _gradients(_parameters(self), pulls):
            super()._walk(langevin)
        for group, pairs in walking:
            if pairs and pairs[0][0] not in pulls and group["averaging"] != 1:
                means = _views(state["mean"] for _, state in pairs)
                torch._foreach_lerp_(means, _views(p for p, _ in pairs), float(group["averaging"]))

    def _settings(self, group: Group) -> Langevin:
        eta = float(self._inner_group(group)["lr"])
        gamma = scope(group)
        return Langevin(
            lr=min(eta, 1 / gamma) if gamma else eta,  # more would overshoot the anchor
            gamma=0.0,  # the pull comes as the gradient
            noise_std=float(group["noise"]) * math.sqrt(eta),
            law=group["noise_law"],
            averaging=float(group["averaging"]),
        )

    def _inner_group(self, group: Group) -> Group:
        """The group of inner's that has the same parameters."""
        return self.inner.param_groups[[g is group for g in self.param_groups].index(True)]

    def _how(self, group: Group) -> How:
        return None, True, () if group["averaging"] == 1 else ("mean",)

    def _move_anchors(self, groups: list[Group]) -> None:
        walked = [(group, self._walked(group)) for group in groups]
        for group, pairs in walked:
            x = _views(state["anchor"] for _, state in pairs)
            mu = _views(mean_of(p, state) for p, state in pairs)
            factor = scope(group) if group["scale_by_gamma"] else 1.0
            if self.outer is None:
                b = [state["momentum_buffer"] for _, state in pairs if group["outer_momentum"]]
                lr, m = float(group["outer_lr"]), float(group["outer_momentum"])
                move_anchors_(x, mu, _views(b), factor, lr, m, nesterov=group["outer_nesterov"])
            elif pairs:
                pseudo_gradient_(x, mu, factor)
        if self.outer is not None:
            self._step_outer([pair for _, pairs in walked for pair in pairs])

    def _step_outer(self, walked: list[tuple[Tensor, State]]) -> None:
        """Show outer the anchors as parameters, and x - mu, which the means hold, as gradients."""
        assert self.outer is not None
        d = {p: mean_of(p, state).clone() for p, state in walked}
        params, anchors = [p for p, _ in walked], [state["anchor"] for _, state in walked]
        copy_(params, anchors)
        with _gradients(_parameters(self), d):
            self.outer.step()
        copy_(anchors, params)

    def _restart_walks(self, groups: list[Group]) -> None:
        walked = [pair for group in groups for pair in self._walked(group)]
        super()._restart_walks(groups)
        if groups[0]["reset_inner"]:
            for p, state in walked:  # without a state of its own it is a new parameter to inner
                self.inner.state.pop(p, None)
                if p in self._fresh:
                    self.inner.state[p] = deepcopy(self._fresh[p])
                self._link(p, state)
            for group in self.inner.param_groups:
                group.update(self._counts)

    def _slots(self, group: Group) -> tuple[str, ...]:
        buffer = ("momentum_buffer",) if group.get("outer_momentum") else ()
        return (*super()._slots(group), *buffer)

    def train(self, mode: bool = True) -> None:
        """Make the parameters hold the walker; an inner optimizer with modes trains, too."""
        super().train(mode)
        if mode and hasattr(self.inner, "train"):
            self.inner.train()

    # --- groups and checkpoints, of two optimizers in one ---------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Add a group to all; its entry "inner" holds the settings inner shall use beside outer.

        Amid a walk it joins at the next anchor update.
        """
        holder = self._holder()
        if not any(param_group is group for group in holder.param_groups):
            inner = {**param_group.pop("inner", {}), "params": list(param_group["params"])}
            own = {**self.defaults, **param_group}
            check_group({name: own[name] for name in self._own})
            check_group({name: inner[name] for name in inner if name == "lr"})
            holder.add_param_group(param_group)
            if self.outer is not None:
                try:
                    self.inner.add_param_group(inner)
                except ValueError:
                    del self.outer.param_groups[-1]
                    raise
        if self.outer is not None:
            param_group["inner"] = {}  # in a checkpoint the settings of inner's group
        super().add_param_group(param_group)

    def _state_of(self, p: Tensor, group: Group) -> State:
        before = self.state[p].get("anchor")
        state = super()._state_of(p, group)
        if before is not None and before.dtype != p.dtype:
            for _, optimizer in self._both():  # follow the parameter, as torch's loading has it
                kept = optimizer.state.get(p, {})
                for name, value in kept.items():
                    if isinstance(value, Tensor) and value.shape == p.shape:
                        kept[name] = value.to(p.device, p.dtype)
        self._link(p, state)
        return state

    def _link(self, p: Tensor, state: State) -> None:
        """Show inner's and outer's state of a parameter, the very same, inside of ours.

        There torch.distributed.checkpoint finds it, under the names that ours has.
        """
        for name, optimizer in self._both():
            state[name] = optimizer.state.get(p, {})
            state[f"{name}_begun"] = bool(state[name])

    def state_dict(self) -> StateDict:
        """As torch's; the state of inner and outer are entries of each parameter's.

        Where there is an outer optimizer, the settings of inner's group are an entry of ours.
        """
        for p, state in self.state.items():
            self._link(p, state)
        packed = super().state_dict()
        numbers = {p: i for i, p in enumerate(_parameters(self)) if p in self.state}
        for name, optimizer in self._both():
            fresh = {p for p in numbers if not self.state[p][f"{name}_begun"]}
            if not fresh or self._is_stateless(name, optimizer):
                continue
            made = _after_a_step(optimizer).state_dict()["state"]
            for i, p in enumerate(_parameters(optimizer)):
                if p in fresh:
                    own = packed["state"][numbers[p]]
                    packed["state"][numbers[p]] = {**own, name: made.get(i, {})}
        if self.outer is not None:
            for group, theirs in zip(packed["param_groups"], self.inner.param_groups, strict=True):
                plain = {k: v for k, v in theirs.items() if k != "params" and not callable(v)}
                group["inner"] = plain
        return packed

    def _is_stateless(self, name: str, optimizer: Optimizer) -> bool:
        """Whether the optimizer of this name has stepped and keeps nothing."""
        group = self.param_groups[0]
        stepped = group["outer_step"] or (name == "inner" and group["inner_step"])
        reset = name == "inner" and group["reset_inner"] and not group["inner_step"]
        return stepped and not reset and not any(optimizer.state.values())

    def _restore(self, saved: list[State]) -> None:
        states = dict(zip(_parameters(self), saved, strict=True))
        for name, optimizer in self._both():
            groups = self.param_groups
            if optimizer is not self._holder():
                groups = [group["inner"] for group in groups]
            numbers = {p: i for i, p in enumerate(_parameters(optimizer))}
            theirs = {
                numbers[p]: deepcopy(state[name])
                for p, state in states.items()
                if state.get(f"{name}_begun")
            }
            packed = [
                {**group, "params": [numbers[p] for p in own["params"]]}
                for group, own in zip(groups, optimizer.param_groups, strict=True)
            ]
            optimizer.load_state_dict({"state": theirs, "param_groups": packed})
            for p, i in numbers.items():
                if i in theirs and states[p]["anchor"].dtype == p.dtype:
                    _take(optimizer.state[p], theirs[i])
        for group, loaded in zip(self.param_groups, self._holder().param_groups, strict=True):
            group.update({name: loaded[name] for name in loaded if name not in group})
        self._holder().param_groups = list(self.param_groups)
        if self.outer is not None:
            for group in self.param_groups:
                group["inner"] = {}
        super()._restore(saved)

    def _check_loaded(self, loaded: StateDict) -> None:
        for name, optimizer in self._both():
            for group in loaded["param_groups"]:
                if optimizer is not self._holder() and name not in group:
                    raise ValueError(f"state_dict must hold {name!r}, as LocalEntropy's does")
                theirs = group if optimizer is self._holder() else group[name]
                for setting, value in optimizer.defaults.items():
                    optional = value is None or isinstance(value, bool)  # torch adds such ones
                    if setting not in theirs and not optional:
                        raise ValueError(
                            f"state_dict must be that of a LocalEntropy whose {name} is "
                            f"{type(optimizer).__name__}, but holds no {setting!r} of it"
                        )
        super()._check_loaded(loaded)

    def _saved_names(self, group: Group) -> tuple[str, ...]:
        both = [(name, f"{name}_begun") for name, _ in self._both()]
        return (*super()._saved_names(group), *(name for pair in both for name in pair))

    def _holder(self) -> Optimizer:
        """The optimizer whose groups are ours."""
        return self.outer or self.inner

    def _both(self) -> list[tuple[str, Optimizer]]:
        inner = [("inner", self.inner)]
        return inner if self.outer is None else [*inner, ("outer", self.outer)]

    def __getstate__(self) -> dict[str, Any]:
        own = {name: self.__dict__[name] for name in ("inner", "outer", "_fresh", "_counts")}
        return {**super().__getstate__(), **own}


def _needs_a_closure(optimizer: Optimizer) -> bool:
    """Whether step() cannot be called without arguments, as LBFGS's."""
    given = signature(type(optimizer).step).parameters.values()
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return any(a.default is Parameter.empty and a.kind in kinds for a in list(given)[1:])


def _after_a_step(optimizer: Optimizer) -> Optimizer:
    """A copy that has the state which the optimizer will make at its first step.

    A distributed checkpoint takes the names to load from the state of a fresh optimizer. The
    numbers in it do not count: what is loaded from before the first step is left aside.
    """
    copy = deepcopy(optimizer)
    if hasattr(copy, "train"):
        copy.train()
    for group in copy.param_groups:
        for p in group["params"]:
            p.grad = torch.zeros_like(p) if p.requires_grad else None
    copy.step()
    return copy


def _changed_by_a_step(optimizer: Optimizer) -> Group:
    """The numbers in an optimizer's groups that its steps change, as they are now."""
    (now, *_), (then, *_) = optimizer.param_groups, _after_a_step(optimizer).param_groups
    return {k: v for k, v in now.items() if isinstance(v, (int, float)) and then[k] != v}


def _take(state: State, saved: State) -> None:
    """Give tensors of a state the dtype they were saved in, and so every bit."""
    for name, value in saved.items():
        if isinstance(value, Tensor) and state[name].dtype != value.dtype:
            state[name] = value.to(state[name].device)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _by_group(optimizer: Optimizer) -> list[set[Tensor]]:
    return [set(group["params"]) for group in optimizer.param_groups]


def _views(tensors: Iterable[Tensor]) -> list[Tensor]:
    return list(map(local_real_view, tensors))


@contextmanager
def _gradients(params: Iterable[Tensor], shown: Mapping[Tensor, Tensor | None]) -> Iterator[None]:
    """Let an optimizer see these gradients and no others; afterwards p.grad is what it was."""
    kept = [(p, p.grad) for p in params if p.grad is not shown.get(p)]
    try:
        for p, _ in kept:
            p.grad = shown.get(p)
        yield
    finally:
        for p, gradient in kept:
            p.grad = gradient
