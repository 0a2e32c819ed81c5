"""The kernel of a processor: `langevin.cpp`, made by the system's C++ compiler in half a second.

What is made is kept in the user's cache folder under a hash of all that it depends on.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("langevin.cpp")
FLAGS = (
    "-std=c++17", "-O3", "-shared", "-fPIC",
    "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
    # Apple's compiler has no OpenMP; its loops go on one thread
    "-fopenmp-simd" if sys.platform == "darwin" else "-fopenmp",
)  # fmt: skip
"""Not -ffast-math, which in a library turns denormal numbers off for the whole process."""
INSTRUCTIONS = {
    "AVX512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
    "AVX2": ("-march=x86-64-v3",),
}
"""Flags for what torch finds the processor capable of, so that machines may share a cache."""
TYPES = {
    torch.float64: "double",
    torch.float32: "float",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}
LAWS = {None: 0, "gaussian": 1, "two-point": 2}
GRAIN = 1 << 15
"""Numbers that are worth a thread of their own."""


@cache
def compiler() -> str | None:
    """The path of a C++ compiler that takes GCC's flags; None where there is none."""
    if sys.platform == "win32":
        return None
    named = os.environ.get("CXX"), sysconfig.get_config_var("CXX")
    first = [str(name).split()[0] for name in named if name]
    return next(filter(None, map(shutil.which, [*first, "g++", "clang++", "c++"])), None)


def step_(
    points: tuple[Tensor | None, ...],
    index: Tensor | None,
    law: str | None,
    integers: Tensor,
    numbers: Tensor,
) -> None:
    """The step of walker, gradient, anchor, mean and buffer, by what `kernel_arguments` returns.

    Raises OSError or subprocess.SubprocessError where the kernel cannot be made, nothing written.
    """
    walker, gradient, *others = points
    assert walker is not None
    assert gradient is not None
    here = [t is not None for t in (*others, index)]
    kernel = _compiled(TYPES[walker.dtype], TYPES[gradient.dtype], LAWS[law], *map(int, here))
    addresses = [None if t is None else t.data_ptr() for t in (*points, index, integers, numbers)]
    count = walker.numel()
    kernel(*addresses, count, min(torch.get_num_threads(), count // GRAIN + 1))


@cache
def _compiled(*variant: str | int) -> Callable[..., None]:
    names = "REAL", "GRADIENT", "LAW", "ANCHOR", "MEAN", "BUFFER", "INDEX"
    macros = [f"-D{name}={value}" for name, value in zip(names, variant, strict=True)]
    instructions = INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), ())
    kernel = _library([str(compiler()), *FLAGS, *instructions, *macros]).langevin_step
    kernel.restype = None
    kernel.argtypes = [*[ctypes.c_void_p] * 8, ctypes.c_int64, ctypes.c_int]
    made: Callable[..., None] = kernel
    return made


def _library(command: list[str]) -> ctypes.CDLL:
    """What the command makes of the source, from the cache where it is there."""
    depends = repr((sys.platform, command)).encode() + SOURCE.read_bytes()
    cached = cache_folder() / f"langevin-{hashlib.sha256(depends).hexdigest()[:20]}.so"
    if cached.exists():
        return ctypes.CDLL(str(cached))
    with TemporaryDirectory() as folder:
        made = Path(folder, cached.name)
        command = [*command, str(SOURCE), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        with suppress(OSError):  # without a cache it is made anew by every process
            cached.parent.mkdir(parents=True, exist_ok=True)
            part = shutil.copy(made, cached.with_suffix(f".{os.getpid()}"))
            os.replace(part, cached)
        return ctypes.CDLL(str(cached if cached.exists() else made))


def cache_folder() -> Path:
    """Where kernels are kept."""
    usual = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / usual) / "widevalley"
