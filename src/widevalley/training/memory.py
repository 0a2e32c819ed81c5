"""What a run takes of memory."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_PROCESS = Path("/proc/self")


def reset_peak(device: torch.device) -> None:
    """Begin to look for the largest use of memory; where the system cannot, it has begun before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """The most that tensors took of a GPU, or else that the whole process took, since `reset_peak`.

    Where the system does not tell: since the process began.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        for line in (_PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def tensor_bytes(nested: Any) -> int:
    """Bytes of all tensors in dictionaries, lists and tuples, each counted where it stands."""
    if isinstance(nested, Tensor):
        return nested.numel() * nested.element_size()
    if isinstance(nested, dict):
        nested = list(nested.values())
    return sum(map(tensor_bytes, nested)) if isinstance(nested, list | tuple) else 0
