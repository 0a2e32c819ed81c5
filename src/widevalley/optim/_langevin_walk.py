"""The walk of EntropySGD and EntropyAdam: lines 1 to 6 of Algorithm 1, a tensor at a time."""

import math

from torch import Tensor

from widevalley.optim._algorithm import Walk, average_, langevin_step_
from widevalley.optim._anchored import AnchoredOptimizer, scope
from widevalley.optim._checked import Group, State
from widevalley.optim._noise import gaussian
from widevalley.optim._tensors import numbers


def walk_settings(group: Group, eta: float) -> Walk:
    """The walk's settings as plain numbers, in the paper's notation, for the rate ``eta``.

    The pull is capped where the walker would overshoot the anchor, at gamma = 1 / eta.
    """
    released = group.get("convention") == "released"
    averaging = float(group["averaging"])
    return Walk(
        lr=eta,
        gamma=min(scope(group), 1 / eta) if eta else 0.0,
        thermal=float(group["noise"]) * math.sqrt(2 * eta if released else eta),
        averaging=1 - averaging if released else averaging,
        weight_decay=float(group.get("weight_decay", 0)),
        momentum=float(group.get("langevin_momentum", 0)),
        nesterov=bool(group.get("langevin_nesterov")),
        momentum_on_all=bool(group.get("momentum_on_all")),
        sign=-1.0 if group.get("maximize") else 1.0,
    )


def walk_noise(walker: Tensor, walk: Walk, group: Group, index: int) -> Tensor | None:
    """The Langevin step's N(0, I) for one parameter, None where it is multiplied by 0."""
    if not walk.thermal:
        return None
    clock = (group["outer_step"], group["inner_step"])
    return gaussian(walker, group["seed"], group["worker"], *clock, index)


class LangevinWalk(AnchoredOptimizer):
    """An anchored optimizer that walks by `langevin_step_`."""

    def _walk(self, groups: list[Group]) -> None:
        for group in groups:
            walk = walk_settings(group, float(group["langevin_lr"]))
            for index, p, state in self._walkers(group):
                walker = numbers(state.get("walker", p))
                noise = walk_noise(walker, walk, group, index)
                assert p.grad is not None
                self._descend(walker, numbers(p.grad), noise, state, walk, group)
                average_(numbers(state["mean"]), walker, walk)
                if "walker" in state:
                    numbers(p).copy_(walker)

    def _descend(
        self,
        walker: Tensor,
        gradient: Tensor,
        noise: Tensor | None,
        state: State,
        walk: Walk,
        group: Group,
    ) -> None:
        buffer = numbers(state["langevin_buffer"]) if walk.momentum else None
        langevin_step_(walker, numbers(state["anchor"]), gradient, noise, buffer, walk)

    def _buffers(self, group: Group) -> tuple[str, ...]:
        return ("langevin_buffer",) if group["langevin_momentum"] else ()

    def _restart_walk(self, p: Tensor, state: State) -> None:
        super()._restart_walk(p, state)
        if self.param_groups[0]["reset_momentum"] and "langevin_buffer" in state:
            state["langevin_buffer"].zero_()


def pseudo_gradient(state: State, group: Group) -> Tensor:
    """x - mu, times gamma with ``scale_by_gamma``, made in the storage of mu."""
    mean = numbers(state["mean"])
    mean.neg_().add_(numbers(state["anchor"]))
    return mean.mul_(scope(group)) if group["scale_by_gamma"] else mean
