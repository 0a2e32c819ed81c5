"""How what is kept of a parameter is stored, and how arithmetic reads it: block by block.

A block stays in a processor's cache while the lines of the algorithm pass over it, and bounds what
a step allocates. Two options store less on the device. With ``state_dtype`` the mean and all
buffers are bfloat16, rounded up or down at random so that the expected number is the exact one; the
mean is then stored as mu - x, which is small where mu and x are not. With ``offload_anchor`` the
anchor of a large parameter lies in the host's memory.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from widevalley.optim._noise import Key, listed, part_of, word
from widevalley.optim._tensors import SMALL, Place, copy_, is_narrow, numbers

Kept = dict[str, Tensor]
"""Tensors of one shape by name: of a parameter or of a pack, or a block of these."""

BLOCK = {"cpu": 1 << 17}
"""Numbers in a block, by kind of device."""
LARGE_BLOCK = 1 << 24
"""The same of any other: enough to fill a GPU."""


def dense(kept: Kept) -> bool:
    """Whether every tensor lies row by row in memory."""
    return all(t.is_contiguous() for t in kept.values())


def blocks(kept: Kept, place: Place, size: int = 0) -> Iterator[tuple[Kept, Place]]:
    """Blocks of at most `size` numbers, by default the device's; what is not dense stays whole."""
    first = next(iter(kept.values()))
    size = size or BLOCK.get(first.device.type, LARGE_BLOCK)
    count = first.numel()
    if count <= size or not dense(kept):
        yield kept, place
        return
    flat = {name: t.view(-1) for name, t in kept.items()}
    for begin in range(0, count, size):
        index = part_of(place.index, begin, size)
        part = {name: t[begin : begin + size] for name, t in flat.items()}
        yield part, Place(index, place.start)


@contextmanager
def loaded(
    stored: Kept, device: torch.device, key: Key, place: Place, writes: Sequence[str]
) -> Iterator[Kept]:
    """What is stored as arithmetic wants it; afterwards the tensors named in `writes` are stored.

    Tensors that are stored so already are handed out themselves, to be changed in place. The
    others are rounded by bits of `key`, all of a place by the same.
    """
    anchor = stored["anchor"]
    held = {
        name: t.to(device, anchor.dtype, non_blocking=True) if name != "gradient" else t
        for name, t in stored.items()
    }
    if is_narrow(stored["mean"]):
        held["mean"].add_(held["anchor"])
    yield held
    narrow = [name for name in writes if is_narrow(stored[name])]
    if "mean" in narrow:
        held["mean"].sub_(held["anchor"])
    if narrow:
        bits = rounding_bits(listed(place.index, anchor.numel(), device), key).view(anchor.shape)
        held |= {name: rounded(held[name], bits) for name in narrow}
    for name in writes:
        if held[name] is not stored[name]:
            stored[name].copy_(held[name], non_blocking=True)


def rounding_bits(index: Tensor, key: Sequence[int] | Tensor) -> Tensor:
    """16 random bits for each index, the higher ones those that the noise of the key leaves."""
    bits = word(index, key)
    return ((bits & 0xFF) << 8) | ((bits >> 8) & 0xFF)


def rounded(t: Tensor, bits: Tensor) -> Tensor:
    """float32 numbers that bfloat16 holds exactly: either neighbour, the expectation exact."""
    return ((t.float().view(torch.int32) + bits) & -0x10000).view(torch.float32)


# --- what an anchored optimizer keeps -----------------------------------------------------------


def new_anchor(p: Tensor, group: Mapping[str, Any], *, widen: bool) -> Tensor:
    """A copy of the parameter, in float32 where it is narrower and `widen` is set."""
    dtype = torch.float32 if widen and is_narrow(p) else p.dtype
    return on_host(p.detach().to(dtype, copy=True), group)


def on_host(anchor: Tensor, group: Mapping[str, Any]) -> Tensor:
    """The anchor of a large parameter in pinned memory, where the group asks for that."""
    if not group.get("offload_anchor") or not anchor.is_cuda or anchor.numel() < SMALL:
        return anchor
    return anchor.cpu().pin_memory()


def new_mean(p: Tensor, anchor: Tensor, group: Mapping[str, Any]) -> Tensor:
    """mu at the start of a walk: the anchor, or where it is stored as mu - x, zeros."""
    if group.get("state_dtype"):
        return new_buffer(p, anchor, group)
    return anchor.to(p.device, copy=True)


def new_buffer(p: Tensor, anchor: Tensor, group: Mapping[str, Any]) -> Tensor:
    """Zeros on the parameter's device, for every number of the anchor."""
    dtype = group.get("state_dtype")
    like = torch.view_as_real(anchor) if dtype and anchor.is_complex() else anchor
    return torch.zeros_like(like, dtype=dtype, device=p.device, pin_memory=False)


def start_means(states: Iterable[Mapping[str, Any]]) -> None:
    """Line 1 of Algorithm 1: mu <- x."""
    drifts, whole = [], []
    for state in states:
        mean, anchor = state["mean"], state["anchor"]
        if is_narrow(mean) and not is_narrow(anchor):
            drifts.append(numbers(mean))
        else:
            whole.append((mean, anchor))
    copy_(whole)
    if drifts:
        torch._foreach_zero_(drifts)


def check_storage(group: Mapping[str, Any], p: Tensor) -> None:
    """Raise ValueError where the anchor is to lie on the host and the parameter is sharded."""
    if group.get("offload_anchor") and hasattr(p, "to_local"):
        raise ValueError(
            "offload_anchor must be False for sharded parameters, got True: let what shards them "
            "move them to the host"
        )
