"""The kinds of tensor an optimizer here accepts, and the numbers inside them."""

import torch
from torch import Tensor

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
