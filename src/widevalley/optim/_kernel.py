"""The Langevin step as one kernel: each number is read and written once, noise stays in registers.

torch.compile makes it, for processors (where it needs a C++ compiler) and for GPUs (where it needs
Triton). Rates and keys go in as tensors, so that schedules do not compile anew.
"""

import shutil
import sysconfig
import warnings
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch.utils._triton import has_triton

from widevalley.optim._algorithm import Walk
from widevalley.optim._noise import Index, Key, indices, signed, uniforms
from widevalley.optim._storage import Kept, rounded, rounding_bits
from widevalley.optim._tensors import is_narrow

_failed: set[str] = set()
"""Kinds of device for which making it has failed in this process."""


def available(device: torch.device) -> bool:
    """Whether the kernel can be made for this kind of device, as far as one can tell."""
    return device.type not in _failed and _can_compile(device.type)


@cache
def _can_compile(kind: str) -> bool:
    if kind == "cuda":
        return bool(has_triton())
    named = str(sysconfig.get_config_var("CXX") or "").split()[:1]
    return kind == "cpu" and any(map(shutil.which, [*named, "g++", "clang++", "c++", "cl"]))


KEPT = ("walker", "anchor", "mean", "gradient", "langevin_buffer")
"""What the kernel reads and writes, the last where there is momentum; contiguous."""

OPTIONS: dict[str, Any] = {"cpp.enable_floating_point_contract_flag": "fast"}
"""A product and a sum may be one instruction, rounded once; that is most of a polynomial."""

Told = tuple[Tensor, Tensor]
"""What changes from step to step: the key and the first element's number, int32; the rates."""


def tell(index: Index, key: Key, walk: Walk, like: Tensor) -> Told:
    """What a kernel is told, in the host's memory, for a walker ``like`` this."""
    first = signed(index) if isinstance(index, int) else 0
    integers = torch.tensor([*key, first], dtype=torch.int32)
    return integers, torch.tensor(_coefficients(walk), dtype=_kind(like))


def _kind(like: Tensor) -> torch.dtype:
    return torch.float64 if like.dtype == torch.float64 else torch.float32


def langevin_kernel_(
    kept: Kept, index: Index, told: Told, walk: Walk, *, insist: bool = True
) -> bool:
    """Lines 4 to 6 in place: `langevin_step_` and `average_` in one pass, with noise.

    ``index`` numbers the elements among those of the step. Where the kernel cannot be compiled
    after all (a compiler without headers, a full disk) nothing has been written: that raises, or
    without ``insist`` is warned of once and False returned.
    """
    walker, mean, gradient = kept["walker"], kept["mean"], kept["gradient"]
    if walker.device.type in _failed and not insist:
        return False
    tensors = [kept[name].view(-1) if name in kept else None for name in KEPT]
    numbered = None if isinstance(index, int) else index
    noisy, narrow = bool(walk.thermal), is_narrow(mean)
    kinds = walker.dtype, gradient.dtype, walker.device.type
    kernel = _compiled(noisy, narrow, bool(walk.momentum), numbered is not None, *kinds)
    integers, numbers = (t.to(walker.device, non_blocking=True) for t in told)
    try:
        kernel(*tensors, numbered, integers, numbers, noisy, narrow)
    except TorchDynamoException as error:
        if insist:
            raise
        _failed.add(walker.device.type)
        said = str(error).partition("\n")[0]
        warnings.warn(f"steps go without a kernel, which did not compile: {said}", stacklevel=2)
        return False
    return True


def _coefficients(walk: Walk) -> list[float]:
    """What multiplies what in `_step`."""
    plain = not walk.momentum
    direct = 1.0 if plain or walk.nesterov else 0.0
    return [
        walk.sign,
        walk.weight_decay,
        walk.gamma,
        walk.thermal / walk.lr if walk.lr else 0.0,
        walk.momentum,
        1.0 if walk.momentum_on_all else 0.0,
        direct,
        0.0 if plain else (walk.momentum if walk.nesterov else 1.0),
        direct if walk.momentum_on_all and not plain else 1.0,
        walk.lr,
        walk.averaging,
        0.0,  # so that rows of a table of these begin at multiples of 16 bytes
    ]


@cache
def _compiled(*variant: Any) -> Callable[..., None]:
    """The kernel of a variant; each has a code object of its own, by which torch counts them."""
    assert isinstance(_step, FunctionType)
    own = FunctionType(_step.__code__.replace(), _step.__globals__, "langevin_step")
    compiled: Callable[..., None] = torch.compile(
        own, dynamic=True, fullgraph=True, options=OPTIONS
    )
    return compiled


def _step(
    walker: Tensor,
    anchor: Tensor,
    mean: Tensor,
    gradient: Tensor,
    buffer: Tensor | None,
    index: Tensor | None,
    key: Tensor,
    numbers: Tensor,
    noisy: bool,
    narrow: bool,
) -> None:
    sign, decay, gamma, thermal, momentum, on_all, direct, through, apart, eta, alpha, _ = numbers
    slope = sign * gradient.to(walker.dtype) + decay * walker
    rest = gamma * (walker - anchor)
    if index is None:
        index = indices(0, walker.numel(), walker.device)
    index = index + key[3]
    if noisy:
        rest = rest - thermal * _normal(index, key).to(walker.dtype)
    bits = rounding_bits(index, key) if narrow else index
    if buffer is None:
        moved = walker - eta * (slope + rest)
    else:
        filled = momentum * buffer.to(walker.dtype) + slope + on_all * rest
        moved = walker - eta * (direct * slope + through * filled + apart * rest)
        buffer.copy_(rounded(filled, bits) if narrow else filled)
    if narrow:
        drift = mean.to(walker.dtype)
        mean.copy_(rounded(drift + alpha * (moved - anchor - drift), bits))
    else:
        mean.copy_(mean + alpha * (moved - mean))
    walker.copy_(moved)


# The polynomials below, to 1e-6, take a fraction of the time of the library's functions. Their
# numbers stand in the lines, where torch.compile takes them for constants.


def _normal(index: Tensor, key: Any) -> Tensor:
    """As `gaussian`: sqrt(-2 ln u) cos(2 pi x)."""
    u, x = uniforms(index, key)
    return torch.sqrt(-2 * _log(u)) * _cos(x * x)


def _cos(y: Tensor) -> Tensor:
    """cos(2 pi sqrt(y)), y up to 1/4."""
    half = 64.92866 + y * (-85.27162 + y * (58.790493 - y * 21.071106))
    return 0.9999992 + y * (-19.738981 + y * half)


def _log(u: Tensor) -> Tensor:
    """ln(u) of u in (0, 1), float32: exponent, and ln(1 + t) of a mantissa near 1."""
    bits = u.view(torch.int32)
    exponent = (bits - 0x3F3504F3) >> 23
    t = (bits - (exponent << 23)).view(torch.float32) - 1
    half = -0.2490829 + t * (0.2049176 + t * (-0.18680751 + t * 0.11931054))
    whole = 1.000001 + t * (-0.50001144 + t * (0.33314675 + t * half))
    return t * whole + exponent.to(torch.float32) * 0.6931472
