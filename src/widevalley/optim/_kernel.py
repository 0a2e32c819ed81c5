"""The Langevin step as one kernel: each number is read and written once, noise stays in registers.

At the first step that asks for it, a C++ compiler makes it for processors (`_kernel_cpu`),
torch.compile for GPUs (`_kernel_gpu`). Rates and keys go in as tensors, so that schedules make
nothing anew.
"""

import os
import warnings
from functools import cache
from subprocess import SubprocessError

import torch
from torch import Tensor

from widevalley.optim import _kernel_cpu, _kernel_gpu
from widevalley.optim._algorithm import Langevin, Points
from widevalley.optim._noise import Key, signed


class KernelError(RuntimeError):
    """The kernel cannot be made; nothing has been written."""


def available(device: torch.device) -> bool:
    """Whether the kernel can be made for this kind of device, as far as one can tell."""
    return lacking(device) is None


def lacking(device: torch.device) -> str | None:
    """What is missing for it, or the variable by which torch is told not to compile."""
    for name in ("TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE"):
        if os.environ.get(name) == "1":
            return f"an environment without {name}"
    if _has_compiler(device.type):
        return None
    return {"cpu": "a C++ compiler", "cuda": "Triton"}.get(device.type, "a CPU or CUDA")


@cache
def _has_compiler(kind: str) -> bool:
    if kind == "cuda":
        return _kernel_gpu.has_compiler()
    return kind == "cpu" and _kernel_cpu.compiler() is not None


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

    Raises KernelError where the kernel cannot be made after all (a compiler without headers, a
    full disk); nothing has been written then.
    """
    if not w.walker.numel():
        return
    kind, law = w.walker.device.type, s.law if s.noise_std else None
    points = w.walker, w.gradient, w.anchor if s.gamma else None, w.mean, w.buffer
    index = w.index if law and isinstance(w.index, Tensor) else None
    step_ = (_kernel_cpu if kind == "cpu" else _kernel_gpu).step_
    try:
        step_(points, index, law, *kernel_arguments(w, s, key))
    except (OSError, RuntimeError, SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)  # of a compiler, or of torch's
        raise KernelError(said.strip().partition("\n")[0]) from error
    # what is written by address would pass by autograd's check of saved tensors unseen
    torch.autograd.graph.increment_version(
        [t for t in (w.walker, w.mean, w.buffer) if t is not None]
    )


def kernel_arguments(w: Points, s: Langevin, key: Key) -> tuple[Tensor, Tensor]:
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
