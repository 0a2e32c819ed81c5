"""The kinds of tensor an optimizer here accepts, the numbers in them, and how those are counted."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from widevalley.optim._noise import WORD

LOW_PRECISION = (torch.float16, torch.bfloat16)
SUPPORTED = (*LOW_PRECISION, torch.float32, torch.float64, torch.complex64, torch.complex128)

SMALL = 1 << 15
"""A parameter of fewer numbers is small: a step of it costs calls, not memory."""


def is_low_precision(p: Tensor) -> bool:
    """Whether many small steps added up in the dtype of ``p`` would be lost."""
    return p.dtype in LOW_PRECISION


def is_small(p: Tensor) -> bool:
    """Whether a step of the parameter costs calls, not memory."""
    plain = not hasattr(p, "to_local") and not p.is_complex()
    return plain and 0 < p.numel() < SMALL


def state_dtype(p: Tensor) -> torch.dtype:
    """The dtype of what is kept beside ``p``: its own, or float32 beside low precision."""
    return torch.float32 if is_low_precision(p) else p.dtype


def local_real_view(t: Tensor) -> Tensor:
    """The real numbers this process holds of ``t``: a DTensor's shard, a complex one as pairs."""
    if hasattr(t, "to_local"):
        t = t.to_local()
    t = t.detach()
    return torch.view_as_real(t) if t.is_complex() else t


def views(tensors: Iterable[Tensor]) -> list[Tensor]:
    """`local_real_view` of each."""
    return list(map(local_real_view, tensors))


def all_finite(tensors: list[Tensor]) -> bool:
    """Whether the norms of all are numbers; waits once for each device."""
    norms: dict[torch.device, list[Tensor]] = {}
    for norm in torch._foreach_norm(tensors) if tensors else ():
        norms.setdefault(norm.device, []).append(norm)
    return all(math.isfinite(torch.stack(of_one).sum().item()) for of_one in norms.values())


def name_of(p: Tensor, groups: Sequence[dict[str, Any]]) -> str:
    """A parameter in words: its name where the optimizer was given names, else its place."""
    for g, group in enumerate(groups):
        for i, one in enumerate(group["params"]):
            if one is p:
                names = group.get("param_names")
                place = names[i] if names else f"parameter {i} of group {g}"
                return f"{place}, of shape {tuple(p.shape)},"
    raise AssertionError("not a parameter of these groups")


def copy_(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each source into its target."""
    if targets:
        torch._foreach_copy_(views(targets), views(sources))


def free_gathered(params: Sequence[Tensor]) -> None:
    """Make fully_shard gather its parameters anew, which are about to be written to.

    After a forward pass that no backward pass follows, as in an evaluation, it keeps those of the
    outermost module as they are, and the next forward pass would not see what was written.
    """
    if any(hasattr(p, "to_local") for p in params):
        from torch.distributed._composable_state import _module_state_mapping
        from torch.distributed.fsdp import FSDPModule

        for module in list(_module_state_mapping):
            if isinstance(module, FSDPModule):
                module.reshard()


# --- numbers of elements, which key the noise ---------------------------------------------------


def first_elements(params: Sequence[Tensor]) -> dict[Tensor, int]:
    """The number of each parameter's first real number among those of all, in order.

    One that would pass a multiple of 2^32 begins there: one key is good for as many numbers.
    """
    first, at = {}, 0
    for p in params:
        size = p.numel() * (2 if p.is_complex() else 1)
        if size and at // WORD != (at + size - 1) // WORD:
            at = (at // WORD + 1) * WORD
        first[p] = at
        at += size
    return first


def shards(p: Tensor) -> list[tuple[int, Any]]:
    """The axes of the device mesh over which a DTensor is cut, each with how: none of others."""
    # by the dimension that it cuts: is_shard() is False of what fully_shard makes beside a
    # tensor-parallel axis
    return [x for x in enumerate(getattr(p, "placements", ())) if hasattr(x[1], "dim")]


def element_index(p: Tensor, first: int) -> int | Tensor:
    """The numbers of the elements this process holds of ``p``, row by row, int32.

    ``first`` is the whole's first; an int stands for those from it on. A shard of a DTensor has
    the numbers that its elements have in the whole.
    """
    if not (placements := shards(p)):
        return first
    mesh = p.device_mesh  # type: ignore[attr-defined]
    device = local_real_view(p).device
    index = torch.full((1,) * p.dim(), first % WORD, device=device)
    stride = 2 if p.is_complex() else 1
    for dim in reversed(range(p.dim())):
        along = torch.arange(p.shape[dim], device=device)
        along = along.view([-1 if d == dim else 1 for d in range(p.dim())])
        for axis, placement in placements:  # cut as torch cuts the parameter
            if placement.dim == dim:
                parts, _ = placement._split_tensor(
                    along, mesh.size(axis), with_padding=False, contiguous=False
                )
                along = parts[mesh.get_local_rank(axis)]
        index = index + stride * along
        stride *= p.shape[dim]
    if p.is_complex():
        index = torch.stack([index, index + 1], dim=-1)
    return index.flatten().to(torch.int32)


# --- what is refused ----------------------------------------------------------------------------


def check_parameter(optimizer: str, p: object, where: str) -> None:
    """Raise ValueError for a parameter of a kind that is not supported."""
    if isinstance(p, Tensor) and (p.layout != torch.strided or p.dtype not in SUPPORTED):
        names = ", ".join(str(d).removeprefix("torch.") for d in SUPPORTED)
        raise ValueError(
            f"{optimizer} needs dense parameters of {names}, got {where} as {p.layout} {p.dtype}"
        )
