"""From the walker to where the gradient is taken, and back.

The state of a parameter holds the number of the gradient for which it is ``displaced``, or -1. What
was added is made anew from that number to take it off, after a restart, too; of small parameters,
which go side by side, it is kept meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from widevalley.optim._base import parameters_of
from widevalley.optim._checkpoint import State
from widevalley.optim._held import hold
from widevalley.optim._noise import WORD
from widevalley.optim._part import DisplacedPart, Members
from widevalley.optim._tensors import copy_, is_small, local_real_view
from widevalley.optim._validation import Group
from widevalley.optim.gradient_point import GradientPoint

if TYPE_CHECKING:
    from widevalley.optim._anchored import AnchoredOptimizer


class Displacement:
    """What displaces the parameters of an optimizer from their walkers."""

    def __init__(self, optimizer: AnchoredOptimizer) -> None:
        self.optimizer = optimizer
        self._points: dict[int, GradientPoint] = {}
        self._pairs: dict[int, Members] = {}
        self._parts: dict[int, tuple[list[Tensor], list[DisplacedPart]]] = {}
        self._norm: Tensor | None = None

    def add(self, groups: list[Group]) -> None:
        """Move the parameters of these groups to where the next gradient is taken."""
        self._norm = None
        for group in groups:
            point = group["gradient_point"]
            if point is None:
                self._points.pop(id(group), None)
                keep(self._walking(group), kept=False)
                continue
            self._points[id(group)] = point
            members, stays = self._walking(group), getattr(point, "stays", False)
            keep(members, kept=getattr(point, "keeps", False))
            if stays:  # without a gradient there is no step, and it would go on and on
                members = [(p, state) for p, state in members if p.grad is not None]
            count = group["outer_step"] * group["langevin_steps"] + group["inner_step"]
            for part in self._side_by_side(group, members):
                part.add(point, group, count, stays=stays)
            for _, state in members:
                state["displaced"] = -1 if stays else count

    def take_off(self, groups: list[Group]) -> None:
        """Move the parameters of these groups back to their walkers."""
        self._norm = None
        for group in groups:
            copied, moved = [], defaultdict(list)
            for p, state in self._walking(group):
                if state["displaced"] < 0:
                    continue
                walker = self._known_walker(state)
                if walker is not None:
                    copied.append((p, walker))
                else:
                    moved[state["displaced"]].append((p, state))
                state["displaced"] = -1
            copy_([p for p, _ in copied], [walker for _, walker in copied])
            for count, members in moved.items():
                for part in self._side_by_side(group, members):
                    part.take_off(self._point(group), group, count)

    @contextmanager
    def taken_off(self, groups: list[Group]) -> Iterator[None]:
        """Hold the walkers inside the block, and every bit of what was held before, after it."""
        members = [pair for group in groups for pair in self._walking(group)]
        displaced = [(p, state, state["displaced"]) for p, state in members]
        displaced = [one for one in displaced if one[-1] >= 0]
        held = [local_real_view(p).clone() for p, _, _ in displaced]
        self.take_off(groups)
        try:
            yield
        finally:
            copy_([p for p, _, _ in displaced], held)
            for _, state, count in displaced:
                state["displaced"] = count

    def show_again(self, group: Group, shown: Members) -> None:
        """Displace parameters that show their walkers as they were displaced."""
        self._norm = None
        of_gradient = defaultdict(list)
        for p, state in shown:
            of_gradient[state["displaced"]].append((p, state))
        for count, members in of_gradient.items():  # together as before, so that each bit is so
            for part in self._side_by_side(group, members):
                part.add(self._point(group), group, count)

    def check(self, group: Group, states: list[State]) -> None:
        """Raise ValueError where parameters of the group are displaced and nothing says how."""
        for state in states:
            if state["displaced"] >= 0 and self._known_walker(state) is None:
                self._point(group)

    def _known_walker(self, state: State) -> Tensor | None:
        """The walker of a displaced parameter, where it stands in the state."""
        begun = state["active"] or state.get("on_way", -1) >= 0
        known: Tensor | None = state.get("walker", state.get("kept"))
        return state["anchor"] if known is None and not begun else known

    def momentum_norm(self) -> Tensor:
        """Over all parameters, whether they move or not, so that it is the same on the way back."""
        if self._norm is None:
            every = map(self.optimizer.momentum_of, parameters_of(self.optimizer))
            momenta = [v for v in every if v is not None]
            shards = [v for v in momenta if hasattr(v, "full_tensor")]
            wholes = [v for v in momenta if not hasattr(v, "full_tensor")]
            norms = [get_total_norm(some) for some in (shards, wholes) if some]
            whole = [n.full_tensor() if hasattr(n, "full_tensor") else n for n in norms]
            self._norm = torch.linalg.vector_norm(torch.stack(whole))
        return self._norm

    def _point(self, group: Group) -> GradientPoint:
        """What displaced the group: another, maybe, than shall from now on."""
        point: GradientPoint | None = self._points.get(id(group), group["gradient_point"])
        if point is None:
            raise ValueError("gradient_point must be that with which the state was saved, got None")
        return point

    def _walking(self, group: Group) -> Members:
        """The parameters of a group that have a walker, which they hold."""
        pairs, params = self._pairs.get(id(group), []), group["params"]
        known = [p for p, _ in pairs]
        if len(known) != len(params) or not all(map(is_, known, params)):
            states = self.optimizer.state
            pairs = self._pairs[id(group)] = [(p, states[p]) for p in params if p in states]
        walking = [(p, s) for p, s in pairs if p.requires_grad and s["initialized"]]
        for p, state in walking:
            if state["at_anchor"]:  # frozen while it held the anchor, and no longer
                hold(p, state, anchor=False)
        return walking

    def _side_by_side(self, group: Group, members: Members) -> list[DisplacedPart]:
        """Small parameters together, the others each on its own."""
        anchors, known = [state["anchor"] for _, state in members], self._parts.get(id(group))
        if known and len(known[0]) == len(anchors) and all(map(is_, known[0], anchors)):
            return known[1]
        first = self.optimizer._first_elements()
        together = defaultdict(list)
        for p, state in members:
            alone = None if is_small(p) else id(p)
            together[p.dtype, p.device, first[p] // WORD, alone].append((p, state))
        parts = [DisplacedPart(some, self) for some in together.values()]
        self._parts[id(group)] = anchors, parts
        return parts


def keep(members: Members, *, kept: bool) -> None:
    """Keep the walkers that the parameters hold, or no longer."""
    lone = [(p, state) for p, state in members if "walker" not in state]
    if kept:
        for _, state in lone:
            if "kept" not in state:
                state["kept"] = torch.empty_like(state["anchor"])
        copy_([state["kept"] for _, state in lone], [p for p, _ in lone])
    else:
        for _, state in lone:
            state.pop("kept", None)
