"""Who takes a step, and how: small parameters side by side in packs, the others alone.

A pack holds what is kept of its parameters in one strip each, so that a step is one pass for all of
them. What the state shows are views of the strips; the parameters themselves, which belong to the
model, and their gradients are copied in, and the parameters back.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from widevalley.optim._checked import Group, State
from widevalley.optim._implementation import Implementation
from widevalley.optim._noise import WORD, indices
from widevalley.optim._tensors import SMALL, Place

FULL = 1 << 19
"""Numbers that a pack is closed at."""

Member = tuple[Tensor, State, Place]
"""A parameter, its state, and where its noise stands."""


class Pack:
    """Parameters of one dtype on one device, with what is kept of them.

    Args:
        members: the parameters.
        names: what is kept, by its name in the state.
    """

    def __init__(self, members: Sequence[Member], names: Sequence[str]) -> None:
        self._params = [p for p, _, _ in members]
        states = [state for _, state, _ in members]
        self.strips = {
            name: _strip(states, name) for name in (*names, "walker") if name in states[0]
        }
        """What is kept, flat."""
        index = [indices(place.start, p.numel(), p.device) for p, _, place in members]
        self.place = Place(torch.cat(index), members[0][2].start)
        flat = _flat(self._params)
        self._gradient = torch.empty_like(flat)
        self._slopes = list(_parts(self._gradient, self._params))
        self.walker = self.strips.get("walker", flat)
        self._walkers = list(_parts(self.walker, self._params))

    def gather(self) -> Tensor:
        """Take the parameters in; returns their gradients, flat."""
        if "walker" not in self.strips:
            torch._foreach_copy_(self._walkers, self._params)
        torch._foreach_copy_(self._slopes, [p.grad for p in self._params])  # type: ignore[misc]
        return self._gradient

    def scatter(self) -> None:
        """Write the walkers into the parameters."""
        torch._foreach_copy_(self._params, self._walkers)


@dataclass(eq=False)
class Plan:
    """The parameters of a group that take its steps, until something about them changes."""

    how: Implementation
    switches: tuple[Any, Any]
    """The group's `foreach` and `fused`."""
    names: tuple[str, ...]
    """What is kept of each of its parameters."""
    params: list[Tensor]
    """The group's."""
    takes: list[bool]
    """Of each of them, whether it takes the step."""
    states: list[State]
    packs: list[Pack]
    alone: list[Member]
    """The others."""
    anchors: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.anchors = [state["anchor"] for state in self.states]

    @classmethod
    def of(
        cls, group: Group, members: Sequence[Member], names: tuple[str, ...], how: Implementation
    ) -> "Plan":
        """Plan the steps of these members, whose state holds what has these names."""
        taking = {id(p) for p, _, _ in members}
        takes = [id(p) in taking for p in group["params"]]
        small: list[Member] = []
        alone: list[Member] = []
        for member in members:
            packed = how != "loop" and _packable(*member[:2])
            (small if packed else alone).append(member)
        packs = [Pack(part, names) for kind in _kinds(small) for part in _cut(kind)]
        states = [state for _, state, _ in members]
        params = list(group["params"])
        return cls(how, _switches(group), names, params, takes, states, packs, alone)

    def fits(self, group: Group, names: tuple[str, ...]) -> bool:
        """Whether the same parameters have gradients, and their states hold the same tensors."""
        return (
            self.names == names
            and self.switches == _switches(group)
            and len(self.params) == len(group["params"])
            and all(map(is_, self.params, group["params"]))
            and self.takes == [p.grad is not None for p in group["params"]]
            and all(
                state.get("anchor") is anchor
                for state, anchor in zip(self.states, self.anchors, strict=True)
            )
        )


def _switches(group: Group) -> tuple[Any, Any]:
    return group["foreach"], group["fused"]


def _packable(p: Tensor, state: State) -> bool:
    """Whether a parameter is small and plain: whole, real, and dense row by row."""
    return (
        0 < p.numel() < SMALL
        and not hasattr(p, "to_local")
        and not p.is_complex()
        and p.is_contiguous()
        and bool(state["anchor"].is_contiguous())
    )


def _kinds(members: Sequence[Member]) -> Sequence[list[Member]]:
    """Members that can share a pack."""
    kinds: dict[Any, list[Member]] = defaultdict(list)
    for member in members:
        p, _, place = member
        kinds[p.dtype, p.device, place.start // WORD].append(member)
    return list(kinds.values())


def _cut(members: list[Member]) -> list[list[Member]]:
    """Members in turn, in packs of `FULL` numbers or a little more."""
    parts: list[list[Member]] = [[]]
    count = 0
    for member in members:
        if count >= FULL:
            parts.append([])
            count = 0
        parts[-1].append(member)
        count += member[0].numel()
    return parts


def _strip(states: Sequence[State], name: str) -> Tensor:
    """One tensor of what all states have by a name; they hold views of it from now on."""
    kept = [state[name] for state in states]
    strip = _flat(kept)
    for state, view in zip(states, _parts(strip, kept), strict=True):
        state[name] = view
    return strip


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    flat: Tensor = _flatten_dense_tensors(tensors)  # type: ignore[no-untyped-call]
    return flat


def _parts(flat: Tensor, like: Sequence[Tensor]) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = _unflatten_dense_tensors(flat, like)  # type: ignore[no-untyped-call]
    return parts
