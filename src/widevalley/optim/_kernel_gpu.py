"""The kernel of a GPU: the lines of a step in torch's operations, made one kernel by torch.compile.

`langevin.cpp` has the same lines for processors.
"""

import warnings
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from widevalley.optim._noise import indices, uniforms, word


def has_compiler() -> bool:
    """Whether torch.compile can make kernels for a GPU."""
    from torch.utils._triton import has_triton  # two seconds, so not before a step asks

    return bool(has_triton())


def step_(
    points: tuple[Tensor | None, ...],
    index: Tensor | None,
    law: str | None,
    integers: Tensor,
    numbers: Tensor,
) -> None:
    """The step of walker, gradient, anchor, mean and buffer, by what `kernel_arguments` returns.

    Raises RuntimeError where the kernel cannot be made, nothing written.
    """
    walker = points[0]
    assert walker is not None
    device = walker.device
    flat = [None if t is None else t.view(-1) for t in points]
    kinds = [None if t is None else t.dtype for t in (*points, index)]
    kernel = _compiled(law, device.type, walker.numel() == 1, *kinds)
    arguments = (t.to(device, non_blocking=True) for t in (integers, numbers))
    kernel(*flat, index, *arguments, law)


@cache
def _compiled(*variant: Any) -> Callable[..., None]:
    """The kernel of a variant; each has a code object of its own, by which torch counts them."""
    assert isinstance(_step, FunctionType)
    own = FunctionType(_step.__code__.replace(), _step.__globals__, "langevin_step")
    compiled: Callable[..., None] = torch.compile(own, dynamic=True, fullgraph=True)
    made = False

    def kernel(*arguments: Any) -> None:
        nonlocal made
        if made:
            compiled(*arguments)
            return
        with warnings.catch_warnings():  # of torch's own, which some make errors
            warnings.simplefilter("ignore")
            compiled(*arguments)
        made = True

    return kernel


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
