"""The walk of EntropySGD and EntropyAdam: lines 1 to 6 of Algorithm 1."""

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from widevalley.optim._algorithm import Walk, average_, langevin_step_
from widevalley.optim._anchored import AnchoredOptimizer, scope
from widevalley.optim._checked import Group, State
from widevalley.optim._implementation import Implementation, implementation
from widevalley.optim._kernel import Told, langevin_kernel_, tell
from widevalley.optim._noise import Key, gaussian, step_key
from widevalley.optim._packs import Plan
from widevalley.optim._slots import Slots
from widevalley.optim._storage import Kept, blocks, dense, loaded
from widevalley.optim._tensors import Place, numbers

OUTER = 1
"""What the rounding of an outer step is keyed by, beside the walk's noise."""


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


def walk_key(group: Group, place: Place, *purpose: int) -> Key:
    """The key of this step's noise, or of something else that is random in it."""
    names = ("seed", "worker", "outer_step", "inner_step")
    seed, worker, outer, inner = (group[name] for name in names)
    return step_key(seed, worker, outer, inner, place.start, *purpose)


def walk_noise(walker: Tensor, walk: Walk, group: Group, place: Place) -> Tensor | None:
    """The Langevin step's N(0, I) at a place, None where it is multiplied by 0."""
    if not walk.thermal:
        return None
    return gaussian(walker, walk_key(group, place), place.index)


def _told(group: Group, place: Place, walker: Tensor) -> Told:
    """What a kernel is told by the step that comes, whenever that is."""
    walk = walk_settings(group, float(group["langevin_lr"]))
    return tell(place.index, walk_key(group, place), walk, walker)


class LangevinWalk(AnchoredOptimizer):
    """An anchored optimizer that walks by `langevin_step_`, or by the kernel that does the same."""

    _slots: Slots | None = None
    """Where the kernels of a captured step read what they are told."""

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
        names = ("anchor", "mean", *self._walk_buffers(group))
        whole: Kept = {"walker": walker, "gradient": gradient}
        whole |= {name: numbers(state[name]) for name in names}
        whole = {name: place.lay(t) for name, t in whole.items()}
        here = whole["anchor"].device == walker.device
        fused = how == "fused" and dense(whole) and walker.numel() > 1
        for part, at in blocks(whole, place, walker.numel() if fused and here else 0):
            part["anchor"] = part["anchor"].to(walker.device, non_blocking=True)
            if fused and self._by_kernel(part, at, group, walk):
                continue
            if self._slots:
                raise ValueError(
                    f"a parameter of shape {tuple(walker.shape)} takes a step that is not the "
                    "kernel's, which cannot be captured"
                )
            noise = walk_noise(part["walker"], walk, group, at)
            key = walk_key(group, place)
            with loaded(part, walker.device, key, at, names[1:]) as held:
                self._descend(held, noise, walk, group, state)
                average_(held["mean"], held["walker"], walk)

    def _by_kernel(self, part: Kept, at: Place, group: Group, walk: Walk) -> bool:
        walker = part["walker"]
        if self._slots:
            told = self._slots.take(partial(_told, group, at, walker))
        else:
            told = tell(at.index, walk_key(group, at), walk, walker)
        insist = bool(group["fused"] or self._slots)
        return langevin_kernel_(part, at.index, told, walk, insist=insist)

    def _descend(
        self, held: Kept, noise: Tensor | None, walk: Walk, group: Group, state: State
    ) -> None:
        """Lines 4 and 5, line by line, for a block of what is kept."""
        buffer = held["langevin_buffer"] if walk.momentum else None
        langevin_step_(held["walker"], held["anchor"], held["gradient"], noise, buffer, walk)

    def _anchors(self, group: Group) -> Iterator[tuple[Kept, State]]:
        """What the outer step of each parameter that walked reads and writes, block by block."""
        places, walk = self._places(), self._walk_buffers(group)
        buffers = [name for name in self._buffers(group) if name not in walk]
        for p, state in self._walked(group):
            names = ("anchor", "mean", *buffers)
            whole = {name: places[p].lay(numbers(state[name])) for name in names}
            for part, at in blocks(whole, places[p]):
                key = walk_key(group, at, OUTER)
                with loaded(part, p.device, key, at, ("anchor", *buffers)) as held:
                    yield held, state

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


def pseudo_gradient(held: Kept, group: Group) -> Tensor:
    """x - mu, times gamma with ``scale_by_gamma``, made in the storage of mu."""
    mean = held["mean"].neg_().add_(held["anchor"])
    return mean.mul_(scope(group)) if group["scale_by_gamma"] else mean
