"""The walk of EntropySGD and EntropyAdam: lines 1 to 6 of Algorithm 1."""

import math

import torch
from torch import Tensor

from widevalley.optim._algorithm import Walk, average_, langevin_step_
from widevalley.optim._anchored import AnchoredOptimizer, scope
from widevalley.optim._checked import Group, State
from widevalley.optim._implementation import Implementation, implementation
from widevalley.optim._kernel import Strip, langevin_kernel_
from widevalley.optim._noise import Key, gaussian, step_key
from widevalley.optim._packs import Plan
from widevalley.optim._tensors import Place, numbers


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


def walk_key(group: Group, place: Place) -> Key:
    """The key of this step's noise."""
    names = ("seed", "worker", "outer_step", "inner_step")
    seed, worker, outer, inner = (group[name] for name in names)
    return step_key(seed, worker, outer, inner, place.start)


def walk_noise(walker: Tensor, walk: Walk, group: Group, place: Place) -> Tensor | None:
    """The Langevin step's N(0, I) at a place, None where it is multiplied by 0."""
    if not walk.thermal:
        return None
    return gaussian(walker, walk_key(group, place), place.index)


class LangevinWalk(AnchoredOptimizer):
    """An anchored optimizer that walks by `langevin_step_`, or by the kernel that does the same."""

    def _walk(self, groups: list[Group]) -> None:
        for group in groups:
            walk = walk_settings(group, float(group["langevin_lr"]))
            plan = self._plan(group)
            for pack in plan.packs:
                gradient = pack.gather()
                self._move(pack.walker, gradient, pack.strips, pack.place, group, walk, plan.how)
                pack.scatter()
            for p, state, place in plan.alone:
                assert p.grad is not None
                walker = numbers(state.get("walker", p))
                self._move(walker, numbers(p.grad), state, place, group, walk, plan.how)
                if "walker" in state:
                    numbers(p).copy_(walker)

    def _plan(self, group: Group) -> Plan:
        plans: dict[int, Plan] = self.__dict__.setdefault("_plans", {})
        kept = ("anchor", "mean", *self._walk_buffers(group))
        plan = plans.get(id(group))
        if plan and plan.fits(group, kept):
            for state in plan.states:
                state["walked"] = True
            return plan
        places = self._places()
        members = [(p, state, places[p]) for p, state in self._walkers(group)]
        plans[id(group)] = Plan.of(group, members, kept, self._implementation(group))
        return plans[id(group)]

    def _move(
        self,
        walker: Tensor,
        gradient: Tensor,
        state: State,
        place: Place,
        group: Group,
        walk: Walk,
        how: Implementation,
    ) -> None:
        """Lines 4 to 6 for a parameter, or for a pack of them and what is kept of it."""
        anchor, mean = numbers(state["anchor"]), numbers(state["mean"])
        buffer = state.get("langevin_buffer") if walk.momentum else None
        held = None if buffer is None else numbers(buffer)
        strip = Strip(walker, anchor, mean, gradient, held)
        if how == "fused" and strip.dense():
            key, insist = walk_key(group, place), bool(group["fused"])
            if langevin_kernel_(strip, place.index, key, walk, insist=insist):
                return
        noise = walk_noise(walker, walk, group, place)
        self._descend(walker, gradient, noise, state, walk, group)
        average_(mean, walker, walk)

    def _descend(
        self,
        walker: Tensor,
        gradient: Tensor,
        noise: Tensor | None,
        state: State,
        walk: Walk,
        group: Group,
    ) -> None:
        """Lines 4 and 5, line by line."""
        buffer = numbers(state["langevin_buffer"]) if walk.momentum else None
        langevin_step_(walker, numbers(state["anchor"]), gradient, noise, buffer, walk)

    def _implementation(self, group: Group) -> Implementation:
        return implementation(group)

    def _walk_buffers(self, group: Group) -> tuple[str, ...]:
        """Names of what the walk keeps beside anchor and mean."""
        return ("langevin_buffer",) if group["langevin_momentum"] else ()

    def _buffers(self, group: Group) -> tuple[str, ...]:
        return self._walk_buffers(group)

    def _restart_walks(self, walked: list[tuple[Tensor, State]]) -> None:
        super()._restart_walks(walked)
        if self.param_groups[0]["reset_momentum"]:
            kept = [numbers(s["langevin_buffer"]) for _, s in walked if "langevin_buffer" in s]
            if kept:
                torch._foreach_zero_(kept)


def pseudo_gradient(state: State, group: Group) -> Tensor:
    """x - mu, times gamma with ``scale_by_gamma``, made in the storage of mu."""
    mean = numbers(state["mean"])
    mean.neg_().add_(numbers(state["anchor"]))
    return mean.mul_(scope(group)) if group["scale_by_gamma"] else mean
