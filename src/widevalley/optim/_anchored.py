"""What every optimizer with an anchor shares: the clock, whose walk it is, the ends of walks."""

import math
from abc import abstractmethod
from collections.abc import Container
from typing import ClassVar

import torch
from torch import Tensor

from widevalley.optim._checkpoint import State
from widevalley.optim._displacement import Displacement
from widevalley.optim._held import adopt, hold, mean_of, warn_where_modes_differ
from widevalley.optim._measures import Measured
from widevalley.optim._tensors import all_finite, copy_, name_of, views
from widevalley.optim._validation import Group, at_least, check
from widevalley.optim.readout import as_readout
from widevalley.optim.scoping import LARGEST_EXPONENT


class AnchoredOptimizer(Measured):
    """An optimizer whose parameters walk around an anchor that moves every L-th step.

    `step` after `eval` without `train` raises RuntimeError: the parameters hold the anchor then.
    Subclasses say how the walkers of a group move and how its anchors do.
    """

    _clock: ClassVar = {
        "inner_step": 0,
        "outer_step": 0,
        "at_anchor": False,
        "at_average": False,
    }

    # Whether no step has been taken since a state was loaded.
    _loaded = False
    # The parameters whose walks end together now, where that may be less than all.
    _ending: Container[Tensor] | None = None

    @abstractmethod
    def _walk(self, groups: list[Group]) -> None:
        """Move the walkers of these groups by one Langevin step and average them."""

    @abstractmethod
    def _move_anchors(self, groups: list[Group]) -> None:
        """Move the anchors of these groups, by the pseudo-gradient x - mu."""

    def _step(self, moving: list[Group]) -> None:
        if moving[0]["at_anchor"]:
            raise RuntimeError("the parameters hold the anchor: call train() before step()")
        if self._loaded:
            warn_where_modes_differ(self.param_groups, self.state)
            self._loaded = False
        displaced = "_displacement" in self.__dict__
        for group in moving:
            displaced = displaced or group["gradient_point"] is not None
        if displaced:
            for group in moving:
                scope(group)  # a schedule that is refused moves nothing
            self._displaced().take_off(moving)
        self._walk(moving)
        first = self.param_groups[0]
        inner, steps = first["inner_step"] + 1, first["langevin_steps"]
        if self.workers is not None:
            self._meet(moving, min(inner, steps))
        elif inner >= steps:  # above where steps have become fewer
            self._end_walks(moving)
        if inner < steps:
            self._set_clock(inner_step=inner)
        else:
            self._set_clock(inner_step=0, outer_step=first["outer_step"] + 1)
        if displaced:
            self._displaced().add(moving)

    def _end_walks(self, groups: list[Group]) -> None:
        self._advance(groups)
        self._restart_walks(groups)

    def _advance(self, groups: list[Group]) -> None:
        """Line 7, where the walks have ended at numbers, and the read-out."""
        self._check_walks(groups)
        # First of all, for a weight that is refused moves nothing.
        reading = [(g, readout_weight(g)) for g in groups if g["readout"] is not None]
        if self._succession is None:
            self._move_anchors(groups)
        else:  # metrics() tells how they moved
            ended = [pair for group in groups for pair in self._walked(group)]
            self._succession.move(ended, lambda: self._move_anchors(groups))
        for group, weight in reading:
            self._read_out(group, weight)

    def _check_walks(self, groups: list[Group]) -> None:
        """Raise FloatingPointError, the anchors as they were, where a walk has left all numbers."""
        ended = [pair for group in groups for pair in self._walked(group)]
        if all_finite(views(mean_of(p, state) for p, state in ended)):
            return
        lost = next(p for p, state in ended if not all_finite(views([mean_of(p, state)])))
        raise FloatingPointError(
            f"the walk has ended at {name_of(lost, self.param_groups)} that is not finite: a "
            "gradient was not, or the rate is too high; at_anchor() has the weights before the walk"
        )

    def _meet(self, moving: list[Group], step: int) -> None:
        """What workers do together after a step of a walk; `Replicas` has it."""

    def _displaced(self) -> Displacement:
        """What is added to the walkers for a gradient, of who has a gradient point."""
        kept: Displacement = self.__dict__.setdefault("_displacement", Displacement(self))
        return kept

    def _displace_again(self, group: Group, shown: list[tuple[Tensor, State]]) -> None:
        self._displaced().show_again(group, shown)

    def momentum_of(self, p: Tensor) -> Tensor | None:
        """The walk's momentum of a parameter; None where there is none."""
        state = self.state.get(p, {})
        momentum: Tensor | None = state.get("langevin_buffer", state.get("langevin_exp_avg"))
        return momentum

    def _read_out(self, group: Group, weight: float) -> None:
        """average <- (1 - c) average + c x, c the weight of this anchor."""
        states = [s for _, s in self._walked(group) if "average" in s]
        if states:
            averages = views(state["average"] for state in states)
            anchors = views(state["anchor"] for state in states)
            torch._foreach_lerp_(averages, anchors, weight)

    def scope(self, group: int = 0) -> float:
        """gamma(t) of the walk in progress, for the group of this number."""
        return scope(self.param_groups[group])

    # --- who walks --------------------------------------------------------------------------

    def _walking(self, group: Group) -> list[tuple[Tensor, State]]:
        """The parameters of the group that take this step, each with its state."""
        walking = []
        for p in group["params"]:
            if p.grad is None or not p.requires_grad:
                continue
            state = self.state[p]
            anchor = state.get("anchor", None)
            if anchor is None or anchor.dtype is not p.dtype or anchor.device != p.device:
                state = self._state_of(p, group)  # new, or converted since the last step
            if not state["initialized"]:
                if group["inner_step"] != 0:
                    continue  # it waits for the next walk
                adopt(p, state)
            if state["at_anchor"]:  # frozen while it held the anchor, and no longer
                hold(p, state, anchor=False)
            state["active"] = True
            walking.append((p, state))
        return walking

    def _walked(self, group: Group) -> list[tuple[Tensor, State]]:
        """The parameters of the group that took a step in the walk that ends now."""
        pairs = [(p, self.state.get(p)) for p in group["params"] if p.requires_grad]
        walked = [(p, state) for p, state in pairs if state and state["active"]]
        return [pair for pair in walked if self._ending is None or pair[0] in self._ending]

    def _restart_walks(self, groups: list[Group]) -> None:
        """Line 1: x', mu <- x."""
        walked = [pair for group in groups for pair in self._walked(group)]
        for _, state in walked:
            state["active"] = False
        anchors = [state["anchor"] for _, state in walked]
        copy_([p for p, _ in walked], anchors)
        for name in ("mean", "walker"):
            states = [state for _, state in walked if name in state]
            copy_([state[name] for state in states], [state["anchor"] for state in states])
        if thermal := views(s["thermal"] for _, s in walked if "thermal" in s):
            torch._foreach_zero_(thermal)

    # --- state ------------------------------------------------------------------------------

    def _restore(self, saved: list[State]) -> None:
        self.__dict__.pop("_displacement", None)  # what they kept is not what was loaded
        self.__dict__.pop("_succession", None)
        self.__dict__.pop("_checked", None)
        super()._restore(saved)
        self._loaded = True

    def _check_change(self, group: Group) -> None:
        if getattr(group["gradient_point"], "needs_momentum", False) and not self._has_momentum(
            group
        ):
            raise ValueError(
                "gradient_point needs the momentum of the walk, langevin_momentum > 0 or an inner "
                f"optimizer that keeps one, got {group['gradient_point']!r}"
            )
        states = [self.state[p] for p in group["params"] if self.state.get(p)]
        if any(state["displaced"] >= 0 for state in states):
            self._displaced().check(group, states)

    def _settings_changed(self, group: Group) -> None:
        """Make what a rule keeps that was turned on later; do without what was turned off."""
        for p in group["params"]:
            if p in self.state:
                self._state_of(p, group)

    @abstractmethod
    def _has_momentum(self, group: Group) -> bool:
        """Whether the walks of the group have a momentum."""


def readout_weight(group: Group) -> float:
    """The weight of the next anchor in the group's read-out."""
    k = group["outer_step"] + 1
    weight = as_readout(group["readout"])(k)
    check(f"readout({k})", weight, lambda c: 0 <= c <= 1, "in [0, 1]")
    return float(weight)


def scope(group: Group) -> float:
    """gamma(t) = gamma0 growth(t), t the group's count of outer updates."""
    growth, t = group["gamma_growth"], group["outer_step"]
    if callable(growth):
        factor = growth(t)
        check(f"gamma_growth({t})", factor, *at_least(0))
        return float(group["gamma"]) * float(factor)
    return float(group["gamma"]) * math.exp(min(t * math.log1p(growth), LARGEST_EXPONENT))
