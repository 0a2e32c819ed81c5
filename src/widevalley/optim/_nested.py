"""An optimizer around others: their groups and their state as part of its own.

The groups of one of them, the holder, are ours, the very same dictionaries; the state that they
keep of a parameter stands inside of ours, where checkpoints, distributed ones too, look for it.
"""

import weakref
from collections.abc import Mapping
from copy import deepcopy
from inspect import Parameter, signature
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import StateDict

from widevalley.optim._base import CheckedOptimizer, listed, parameters_of
from widevalley.optim._checkpoint import State
from widevalley.optim._validation import Group, check_group
from widevalley.optim.workers._replicas import Replicas


class NestedOptimizers(Replicas):
    """An anchored optimizer around ``inner``, which walks, and maybe ``outer`` for the anchor."""

    _entries: ClassVar[tuple[str, ...]] = (
        *Replicas._entries,
        *("inner", "inner_begun", "outer", "outer_begun"),
    )

    _restoring = False

    def __init__(self, inner: Optimizer, outer: Optimizer | None, own: Group) -> None:
        self.inner, self.outer = inner, outer
        self._fresh: Mapping[Tensor, State] = {}
        self._counts: Group = {}
        groups = self._holder().param_groups
        for group in groups:
            if "inner_step" in group:  # loaded from one that was in a LocalEntropy
                for name in (*own, *self._clock):
                    group.pop(name, None)
        if own["reset_inner"] or any(group.get("reset_inner") for group in groups):
            # of the few optimizers that make their state when they are made, or count in groups
            self._fresh = {p: deepcopy(inner.state[p]) for p in inner.state}
            self._counts = _changed_by_a_step(inner)
        before = list(map(dict, groups))
        try:
            super().__init__(groups, own)
        except BaseException:  # the groups are as they were, to try again
            for group, entries in zip(groups, before, strict=True):
                group.clear()
                group.update(entries)
            raise
        for _, optimizer in self._both():
            vars(optimizer)["_around"] = weakref.ref(self)
            # Loaded by itself it has new groups, which are to be ours again.
            optimizer.register_load_state_dict_post_hook(_shares_its_groups)
        self.defaults = {**self._holder().defaults, **self.defaults}  # what schedulers ask for

    def _renew_inner(self, p: Tensor, state: State) -> None:
        """Make a parameter a new one to inner."""
        self.inner.state.pop(p, None)
        if p in self._fresh:
            self.inner.state[p] = deepcopy(self._fresh[p])
        self._link(p, state)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group to all; its entry "inner" holds the settings inner shall use beside outer.

        Amid a walk it joins at the next anchor update.
        """
        holder = self._holder()
        if not any(param_group is group for group in holder.param_groups):
            param_group["params"] = listed(param_group["params"])
            inner = {**param_group.pop("inner", {}), "params": list(param_group["params"])}
            own = {**self.defaults, **param_group}
            check_group({name: own[name] for name in self._own})
            self._check_shared(own)
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
        numbers = {p: i for i, p in enumerate(parameters_of(self)) if p in self.state}
        for name, optimizer in self._both():
            fresh = {p for p in numbers if not self.state[p][f"{name}_begun"]}
            if not fresh or self._is_stateless(name, optimizer):
                continue
            made = after_a_step(optimizer).state_dict()["state"]
            for i, p in enumerate(parameters_of(optimizer)):
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
        states = dict(zip(parameters_of(self), saved, strict=True))
        for name, optimizer in self._both():
            groups = self.param_groups
            if optimizer is not self._holder():
                groups = [group["inner"] for group in groups]
            numbers = {p: i for i, p in enumerate(parameters_of(optimizer))}
            theirs = {
                numbers[p]: _copied(state[name])
                for p, state in states.items()
                if state.get(f"{name}_begun")
            }
            packed = [
                {**group, "params": [numbers[p] for p in own["params"]]}
                for group, own in zip(groups, optimizer.param_groups, strict=True)
            ]
            self._restoring = True
            try:
                optimizer.load_state_dict({"state": theirs, "param_groups": packed})
            finally:
                self._restoring = False
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
        if any("inner_step" not in group for group in loaded["param_groups"]):
            raise ValueError(
                "state_dict must hold 'inner_step' in its groups, as that of LocalEntropy does; "
                "inner's goes to inner.load_state_dict() before the first step"
            )
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


def _shares_its_groups(optimizer: Optimizer) -> None:
    """Take over what an inner optimizer has loaded by itself into the groups that are ours, too."""
    around = vars(optimizer)["_around"]()
    if around is None or around._restoring or optimizer is not around._holder():
        return
    for ours, loaded in zip(around.param_groups, optimizer.param_groups, strict=True):
        ours.update({k: v for k, v in loaded.items() if k in optimizer.defaults})
    optimizer.param_groups = list(around.param_groups)


def after_a_step(optimizer: Optimizer) -> Optimizer:
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
    (now, *_), (then, *_) = optimizer.param_groups, after_a_step(optimizer).param_groups
    return {k: v for k, v in now.items() if isinstance(v, (int, float)) and then[k] != v}


def _copied(value: Any) -> Any:
    """A deep copy; some packages' tensors of 8 bits know how to be moved, but not to be cloned."""
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    if isinstance(value, Tensor):
        return value.detach().to(value.device, copy=True)
    return deepcopy(value)


def _take(state: State, saved: State) -> None:
    """Give tensors of a state the dtype they were saved in, and so every bit."""
    for name, value in saved.items():
        if isinstance(value, Tensor) and state[name].dtype != value.dtype:
            state[name] = value.to(state[name].device)


def check_optimizers(inner: Optimizer, outer: Optimizer | None, own: Group) -> None:
    """Raise ValueError for what cannot be LocalEntropy's inner and outer optimizer."""
    for name, optimizer in (("inner", inner), ("outer", outer)):
        if optimizer is None and name == "outer":
            continue
        if not isinstance(optimizer, Optimizer):
            if isinstance(optimizer, list | tuple):
                raise ValueError(
                    f"{name} must be one torch optimizer, got {len(optimizer)}: wrap each of them, "
                    "with a worker of its own"
                )
            raise ValueError(f"{name} must be a torch optimizer, got {optimizer!r}")
        if _needs_a_closure(optimizer):
            raise ValueError(f"{name} must step without a closure, got {type(optimizer).__name__}")
        kind = type(optimizer).__name__
        if isinstance(optimizer, CheckedOptimizer):
            raise ValueError(f"{name} must be without walks of its own, got {kind}")
        around = vars(optimizer).get("_around", lambda: None)
        if around() is not None:
            raise ValueError(f"{name} must not be in another LocalEntropy, got {kind} that is")
        theirs = sorted(own.keys() & optimizer.defaults.keys())
        if theirs and optimizer is (outer or inner):  # whose groups are ours
            raise ValueError(
                f"{name} must not have settings that are ours, got {', '.join(theirs)} of {kind}"
            )
    if outer is not None and (inner is outer or _by_group(inner) != _by_group(outer)):
        raise ValueError("inner and outer must be two optimizers over the same parameters")


def _needs_a_closure(optimizer: Optimizer) -> bool:
    """Whether step() cannot be called without arguments, as LBFGS's."""
    given = signature(type(optimizer).step).parameters.values()
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return any(a.default is Parameter.empty and a.kind in kinds for a in list(given)[1:])


def _by_group(optimizer: Optimizer) -> list[set[Tensor]]:
    return [set(group["params"]) for group in optimizer.param_groups]
