"""The kinds of tensor an optimizer here accepts, and the numbers inside them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from widevalley.optim._noise import WORD, Index, listed

SMALL = 1 << 15
"""A parameter of fewer numbers is small: steps take such ones together."""
_NARROW = (torch.float16, torch.bfloat16)
SUPPORTED = (*_NARROW, torch.float32, torch.float64, torch.complex64, torch.complex128)


def is_narrow(p: Tensor) -> bool:
    """Whether the dtype is too narrow to add many small steps up."""
    return p.dtype in _NARROW


def numbers(t: Tensor) -> Tensor:
    """The real numbers this process holds of ``t``, in place.

    A DTensor's local shard; a complex tensor as pairs of reals.
    """
    if hasattr(t, "to_local"):
        t = t.to_local()
    t = t.detach()
    return torch.view_as_real(t) if t.is_complex() else t


def copy_(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Copy the second tensor of each pair into the first."""
    listed = [(numbers(target), numbers(source)) for target, source in pairs]
    if listed:
        targets, sources = zip(*listed, strict=True)
        torch._foreach_copy_(list(targets), list(sources))


@dataclass(frozen=True)
class Place:
    """Where a parameter's noise stands among the numbers of a step."""

    index: Index
    """Of the elements this process holds, as they lie in memory."""
    start: int
    """Of the first element of the whole parameter, which the key is made for."""
    order: tuple[int, ...] | None = None
    """Dimensions from the outermost in memory, where that is not their own order."""

    def lay(self, t: Tensor) -> Tensor:
        """A tensor of the parameter's shape with its dimensions as the parameter has them."""
        return t if self.order is None else t.permute(self.order)


def places(params: Sequence[Tensor]) -> dict[Tensor, Place]:
    """The place of each parameter."""
    return {p: _place(p, start) for p, start in starts_of(params).items()}


def _place(p: Tensor, start: int) -> Place:
    held, index = numbers(p), local_index(p, start)
    order = tuple(sorted(range(held.dim()), key=held.stride, reverse=True))
    if held.is_contiguous() or not held.permute(order).is_contiguous():
        return Place(index, start)
    rows = listed(index, held.numel(), held.device)
    return Place(rows.view(held.shape).permute(order).flatten(), start, order)


def starts_of(params: Sequence[Tensor]) -> dict[Tensor, int]:
    """The number of each parameter's first real number among those of all, in order.

    One that would pass a multiple of 2^32 begins there: one key is good for as many numbers.
    """
    starts, at = {}, 0
    for p in params:
        size = p.numel() * (2 if p.is_complex() else 1)
        if size and at // WORD != (at + size - 1) // WORD:
            at = (at // WORD + 1) * WORD
        starts[p] = at
        at += size
    return starts


def local_index(p: Tensor, start: int) -> Index:
    """Where the numbers this process holds of ``p`` stand, ``start`` the first of the whole."""
    if not hasattr(p, "to_local"):
        return start
    sharded: Any = p
    cuts = [
        (placement.dim, sharded.device_mesh.size(axis), sharded.device_mesh.get_local_rank(axis))
        for axis, placement in enumerate(sharded.placements)
        if placement.is_shard()
    ]
    if not cuts:
        return start
    whole = torch.arange(p.numel(), device=numbers(p).device).view(p.shape)
    for dim, size, rank in cuts:
        chunks = whole.chunk(size, dim)
        whole = chunks[rank] if rank < len(chunks) else whole.narrow(dim, 0, 0)
    if p.is_complex():
        whole = torch.stack([2 * whole, 2 * whole + 1], dim=-1)
    return (whole.flatten() + start % WORD).to(torch.int32)


def check_parameter(optimizer: str, p: object, where: str) -> None:
    """Raise ValueError for a parameter of a kind that is not supported."""
    if isinstance(p, Tensor) and (p.layout != torch.strided or p.dtype not in SUPPORTED):
        names = ", ".join(str(d).removeprefix("torch.") for d in SUPPORTED)
        raise ValueError(
            f"{optimizer} needs dense parameters of {names}, got {where} as {p.layout} {p.dtype}"
        )


def check_gradient(optimizer: str, gradient: Tensor, where: str) -> None:
    """Raise ValueError for a sparse gradient."""
    if gradient.layout != torch.strided:
        raise ValueError(
            f"{optimizer} needs dense gradients, got one of {gradient.layout} for {where}; "
            f"build the embedding with sparse=False"
        )
