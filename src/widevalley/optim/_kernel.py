"""The Langevin step as one kernel: each number is read and written once, noise stays in registers.

torch.compile makes it, for processors (where it needs a C++ compiler) and for GPUs (where it needs
Triton). Rates and keys go in as tensors, so that schedules do not compile anew.
"""

import os
import shutil
import sysconfig
import warnings
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from widevalley.optim._algorithm import Langevin, Points
from widevalley.optim._noise import Key, indices, signed, uniforms, word

OPTIONS: dict[str, Any] = {"cpp.enable_floating_point_contract_flag": "fast"}
"""A product and a sum may be one instruction, rounded once; that is most of a polynomial."""


class KernelError(RuntimeError):
    """The kernel cannot be made; nothing has been written."""


def available(device: torch.device) -> bool:
    """Whether the kernel can be made for this kind of device, as far as one can tell."""
    switches = "TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE"
    return "1" not in map(os.environ.get, switches) and _has_compiler(device.type)


@cache
def _has_compiler(kind: str) -> bool:
    if kind == "cuda":
        from torch.utils._triton import has_triton

        return bool(has_triton())
    named = str(sysconfig.get_config_var("CXX") or "").split()[:1]
    return kind == "cpu" and any(map(shutil.which, [*named, "g++", "clang++", "c++", "cl"]))


_failed: set[str] = set()
"""Kinds of device for which making it has failed in this process."""


def fused_step_(w: Points, s: Langevin, key: Key, *, must: bool | None) -> bool:
    """`fused_langevin_`, where the points lie densely in memory; whether it was taken.

    What fails to compile raises where it ``must``; else that is warned of once, and the caller
    goes line by line.
    """
    if w.walker.dtype not in (torch.float32, torch.float64):
        return False
    tensors = (w.walker, w.gradient, w.anchor, w.mean, w.buffer)
    if not all(t is None or t.is_contiguous() for t in tensors):
        return False
    if w.walker.device.type in _failed and not must:
        return False
    try:
        fused_langevin_(w, s, key)
    except KernelError as error:
        if must:
            raise
        _failed.add(w.walker.device.type)
        warnings.warn(f"steps go without a kernel, which did not compile: {error}", stacklevel=2)
        return False
    return True


def fused_langevin_(w: Points, s: Langevin, key: Key) -> None:
    """Lines 4 to 6 in place: `langevin_step_` and `average_` in one pass, with noise.

    Raises KernelError where the kernel cannot be compiled after all (a compiler without headers, a
    full disk); nothing has been written then.
    """
    if not w.walker.numel():
        return
    law = s.law if s.noise_std else None
    points = w.walker, w.gradient, w.anchor if s.gamma else None, w.mean, w.buffer
    flat = [None if t is None else t.view(-1) for t in points]
    listed = w.index if isinstance(w.index, Tensor) else None
    present = tuple(t is not None for t in (*flat, listed))
    integers, numbers = (t.to(w.walker.device, non_blocking=True) for t in told(w, s, key))
    kinds = w.walker.dtype, w.gradient.dtype, w.walker.device.type, w.walker.numel() == 1
    kernel = _compiled(law, *present, *kinds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            kernel(*flat, listed, integers, numbers, law)
        except _compile_errors() as error:
            raise KernelError(str(error).partition("\n")[0]) from error


def told(w: Points, s: Langevin, key: Key) -> tuple[Tensor, Tensor]:
    """What changes from step to step, in the host's memory.

    The key and the first element's number, int32; what multiplies what in `_step`.
    """
    first = signed(w.index) if isinstance(w.index, int) else 0
    plain = not s.momentum
    direct = 1.0 if plain or s.nesterov else 0.0
    numbers = [
        s.sign,
        s.weight_decay,
        s.gamma,
        s.noise_std / s.lr if s.lr else 0.0,
        s.momentum,
        1.0 if s.momentum_on_all else 0.0,
        direct,
        0.0 if plain else (s.momentum if s.nesterov else 1.0),
        direct if s.momentum_on_all and not plain else 1.0,
        s.lr,
        s.averaging,
        0.0,  # so that rows of a table of these begin at multiples of 16 bytes
    ]
    kind = torch.float64 if w.walker.dtype == torch.float64 else torch.float32
    return torch.tensor([*key, first], dtype=torch.int32), torch.tensor(numbers, dtype=kind)


@cache
def _compile_errors() -> tuple[type[Exception], ...]:
    from torch._dynamo.exc import TorchDynamoException

    return (TorchDynamoException,)


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
    gradient: Tensor,
    anchor: Tensor | None,
    mean: Tensor | None,
    buffer: Tensor | None,
    index: Tensor | None,
    key: Tensor,
    numbers: Tensor,
    law: str | None,
) -> None:
    sign, decay, gamma, std, momentum, on_all, direct, through, apart, eta, alpha, _ = numbers
    slope = sign * gradient.to(walker.dtype) + decay * walker
    rest = gamma * (walker - anchor) if anchor is not None else torch.zeros_like(walker)
    if law is not None:
        if index is None:
            index = indices(0, walker.numel(), walker.device)
        index = index + key[3]
        made = _normal(index, key) if law == "gaussian" else (word(index, key) >> 31) | 1
        rest = rest - std * made.to(walker.dtype)
    if buffer is None:
        moved = walker - eta * (slope + rest)
    else:
        filled = momentum * buffer + slope + on_all * rest
        moved = walker - eta * (direct * slope + through * filled + apart * rest)
        buffer.copy_(filled)
    if mean is not None:
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
