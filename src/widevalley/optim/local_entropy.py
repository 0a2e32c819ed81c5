"""LocalEntropy: any torch optimizer for the walk, any for the anchor."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import StateDict

from widevalley.optim._algorithm import average_
from widevalley.optim._anchored import AnchoredOptimizer
from widevalley.optim._checked import Group, State
from widevalley.optim._langevin_walk import pseudo_gradient, walk_noise, walk_settings
from widevalley.optim._tensors import numbers
from widevalley.optim._validation import check_group
from widevalley.optim.scoping import Schedule


class LocalEntropy(AnchoredOptimizer):
    r"""Descend the negative local entropy with two optimizers of your choice.

    ::

        optimizer = LocalEntropy(
            torch.optim.AdamW(model.parameters(), lr=1e-3),
            torch.optim.SGD(model.parameters(), lr=1.0),
            langevin_steps=20,
        )

    Every ``step()`` steps ``inner`` on the walker, with the gradient of f, then adds the pull and
    the noise outside of it, eta' being the lr of inner::

        x' <- inner(x', ∇f(x')) - eta' gamma (x' - x) + sqrt(eta') noise N(0, I)
        mu <- (1 - averaging) mu + averaging x'

    and every ``langevin_steps``-th also steps ``outer`` on the anchor x with the pseudo-gradient
    x - mu, then x', mu <- x. With SGD inside and outside it equals `EntropySGD`.

    The parameter groups are those of ``outer``, the very same dictionaries, with the settings
    below added: a scheduler on this optimizer moves outer's lr; one on ``inner`` moves eta'.
    Each step costs one extra copy of the parameters, and the arithmetic is that of the two
    optimizers in the dtype of the parameters: keep those float32.

    Args:
        inner, outer: optimizers over the same parameters; do not step them yourself.
        langevin_steps, gamma, gamma_growth, noise, averaging, scale_by_gamma, seed, worker: as
            for `EntropySGD`, in the paper's convention.
        reset_inner: start every walk with inner's state at zero.

    Raises:
        ValueError: a setting out of its range, or inner and outer with different parameters.

    Source: Chaudhari et al., ICLR 2017, Algorithm 1 ("Nesterov's momentum or Adam may wrap either
    loop", section 4.2).
    """

    _widens = False

    def __init__(
        self,
        inner: Optimizer,
        outer: Optimizer,
        *,
        langevin_steps: int = 20,
        gamma: float = 1e-4,
        gamma_growth: float | Schedule = 1e-3,
        noise: float = 1e-4,
        averaging: float = 0.75,
        scale_by_gamma: bool = False,
        reset_inner: bool = True,
        seed: int = 0,
        worker: int = 0,
    ) -> None:
        for name, optimizer in (("inner", inner), ("outer", outer)):
            if not isinstance(optimizer, Optimizer):
                raise ValueError(f"{name} must be a torch optimizer, got {optimizer!r}")
        if inner is outer or set(_parameters(inner)) != set(_parameters(outer)):
            raise ValueError("inner and outer must be two optimizers over the same parameters")
        self.inner, self.outer = inner, outer
        settings = {
            "langevin_steps": langevin_steps,
            "gamma": gamma,
            "gamma_growth": gamma_growth,
            "noise": noise,
            "averaging": averaging,
            "convention": "paper",
            "scale_by_gamma": scale_by_gamma,
            "reset_inner": reset_inner,
            "seed": seed,
            "worker": worker,
        }
        super().__init__(outer.param_groups, settings)

    def _walk(self, groups: list[Group]) -> None:
        places = self._places()
        moving = [(*walker, group) for group in groups for walker in self._walkers(group)]
        before = [p.clone() for p, _, _ in moving]
        etas = {p: float(g["lr"]) for g in self.inner.param_groups for p in g["params"]}
        with _gradients(_parameters(self), {p: p.grad for p, _, _ in moving}):
            self.inner.step()
        for (p, state, group), x in zip(moving, before, strict=True):
            walk, place = walk_settings(group, etas[p]), places[p]
            tensors = (p, state["anchor"], state["mean"], x)
            walker, anchor, mean, start = (place.lay(numbers(t)) for t in tensors)
            if walk.gamma:
                walker.add_(anchor - start, alpha=walk.lr * walk.gamma)
            noise = walk_noise(walker, walk, group, place)
            if noise is not None:
                walker.add_(noise, alpha=walk.thermal)
            average_(mean, walker, walk)

    def _move_anchors(self, groups: list[Group]) -> None:
        moving = [(p, state, group) for group in groups for p, state in self._walked(group)]
        for p, state, group in moving:
            pseudo_gradient({name: numbers(state[name]) for name in ("anchor", "mean")}, group)
            numbers(p).copy_(numbers(state["anchor"]))
        with _gradients(_parameters(self), {p: state["mean"] for p, state, _ in moving}):
            self.outer.step()
        for p, state, _ in moving:
            numbers(state["anchor"]).copy_(numbers(p))

    def _restart_walks(self, walked: list[tuple[Tensor, State]]) -> None:
        super()._restart_walks(walked)
        if self.param_groups[0]["reset_inner"]:
            for p, _ in walked:
                for value in self.inner.state.get(p, {}).values():
                    if isinstance(value, Tensor):
                        value.zero_()

    def add_param_group(self, param_group: Group) -> None:
        """Add a group to all three; its entry "inner" holds the settings inner shall use.

        Amid a walk it joins at the next anchor update.
        """
        if not any(param_group is group for group in self.outer.param_groups):
            inner = {**param_group.pop("inner", {}), "params": list(param_group["params"])}
            check_group({**self.defaults, **param_group})
            check_group(inner)
            self.outer.add_param_group(param_group)
            try:
                self.inner.add_param_group(inner)
            except ValueError:
                del self.outer.param_groups[-1]
                raise
        super().add_param_group(param_group)

    def state_dict(self) -> StateDict:
        """As torch's, with the state_dicts of both optimizers under "inner" and "outer"."""
        both = {"inner": self.inner.state_dict(), "outer": self.outer.state_dict()}
        for group in both["outer"]["param_groups"]:
            if callable(group["gamma_growth"]):
                del group["gamma_growth"]
        return {**super().state_dict(), **both}

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what `state_dict` gave.

        Raises:
            ValueError: it is not the state_dict of a LocalEntropy; nothing has been loaded then.
        """
        for name in ("inner", "outer"):
            if name not in state_dict:
                raise ValueError(f"state_dict must hold {name!r}, as LocalEntropy's does")
        super().load_state_dict(state_dict)
        self.inner.load_state_dict(deepcopy(state_dict["inner"]))
        self.outer.load_state_dict(deepcopy(state_dict["outer"]))
        self.outer.param_groups = list(self.param_groups)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "inner": self.inner, "outer": self.outer}


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


@contextmanager
def _gradients(params: Iterable[Tensor], shown: Mapping[Tensor, Tensor | None]) -> Iterator[None]:
    """Let an optimizer see these gradients and no others; afterwards p.grad is what it was."""
    kept = [(p, p.grad) for p in params]
    try:
        for p, _ in kept:
            p.grad = shown.get(p)
        yield
    finally:
        for p, gradient in kept:
            p.grad = gradient
