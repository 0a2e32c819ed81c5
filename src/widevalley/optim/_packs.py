"""Small parameters side by side in strips, so that a step takes one pass for many of them.

What an optimizer keeps of them are views of the strips; the parameters themselves, which belong to
the model, and their gradients are gathered, and given back.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from widevalley.optim._checked import State
from widevalley.optim._noise import WORD, indices

SMALL = 1 << 15
"""A parameter of fewer numbers is packed."""
FULL = 1 << 19
"""Numbers that a pack is closed at."""

Member = tuple[Tensor, State, int]
"""A parameter, its state, and the number of its first element among those of a step."""


class Pack:
    """Parameters of one dtype on one device, with what is kept of them.

    Args:
        members: the parameters.
        names: what is kept, by its name in the state.
    """

    def __init__(self, members: Sequence[Member], names: Sequence[str]) -> None:
        self.params = [p for p, _, _ in members]
        self._states = [state for _, state, _ in members]
        if "walker" in self._states[0]:
            names = (*names, "walker")
        self.strips: dict[str, Tensor] = {}
        """What is kept, flat."""
        for name in names:
            kept = [state[name] for state in self._states]
            self.strips[name] = self._flat(kept)
            for state, view in zip(self._states, self._parts(self.strips[name], kept), strict=True):
                state[name] = view
        self._views = [[state[name] for name in names] for state in self._states]
        self.start = members[0][2]
        self.index = torch.cat([indices(start, p.numel(), p.device) for p, _, start in members])
        """Numbers of the elements among those of a step, int32."""

    def holds(self) -> bool:
        """Whether the states still hold the views of the strips."""
        return all(
            all(state.get(name) is view for name, view in zip(self.strips, views, strict=True))
            for state, views in zip(self._states, self._views, strict=True)
        )

    def gradient(self) -> Tensor:
        """The gradients, flat."""
        return self._flat([p.grad for p in self.params])

    def walker(self) -> Tensor:
        """The walkers, flat: a strip where the parameters are narrower, else gathered from them."""
        return self.strips["walker"] if "walker" in self.strips else self._flat(self.params)

    def scatter(self, walker: Tensor) -> None:
        """Write the walkers into the parameters."""
        torch._foreach_copy_(self.params, self._parts(walker, self.params))

    @staticmethod
    def _flat(tensors: Sequence[Any]) -> Tensor:
        flat: Tensor = _flatten_dense_tensors(tensors)  # type: ignore[no-untyped-call]
        return flat

    @staticmethod
    def _parts(flat: Tensor, like: Sequence[Tensor]) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = _unflatten_dense_tensors(flat, like)  # type: ignore[no-untyped-call]
        return parts


def packable(p: Tensor, state: State) -> bool:
    """Whether a parameter is small and plain: whole, real, and dense row by row."""
    return (
        0 < p.numel() < SMALL
        and not hasattr(p, "to_local")
        and not p.is_complex()
        and p.is_contiguous()
        and p.grad is not None
        and p.grad.is_contiguous()
        and p.grad.dtype == p.dtype
        and bool(state["anchor"].is_contiguous())
    )


def current(packs: list[Pack], members: Sequence[Member], names: Sequence[str]) -> list[Pack]:
    """These packs where they are still those of the members, else new ones."""
    packed = [id(p) for pack in packs for p in pack.params]
    named = all(pack.strips.keys() - {"walker"} == set(names) for pack in packs)
    ordered = [member for kind in _kinds(members).values() for member in kind]
    if named and packed == [id(p) for p, _, _ in ordered] and all(pack.holds() for pack in packs):
        return packs
    return [Pack(part, names) for kind in _kinds(members).values() for part in _cut(kind)]


def _kinds(members: Sequence[Member]) -> dict[Any, list[Member]]:
    """Members that can share a pack, by what they share."""
    kinds = defaultdict(list)
    for p, state, start in members:
        kinds[p.dtype, p.device, start // WORD].append((p, state, start))
    return kinds


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
