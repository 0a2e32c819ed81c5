"""Whether an array fits, before it is asked for."""

from __future__ import annotations

from pathlib import Path

import torch

GIB = 2**30


def check_room(needed: int, device: torch.device) -> None:
    """Raise MemoryError, saying how much is needed and free, where `needed` bytes are not there."""
    free = free_bytes(device)
    if free is not None and needed > free:
        raise MemoryError(
            f"needs {needed / GIB:.1f} GiB on {device}, {free / GIB:.1f} GiB are free"
        )


def free_bytes(device: torch.device) -> int | None:
    """Bytes that can be had on a device, or None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    file = Path("/proc/meminfo")
    if device.type != "cpu" or not file.exists():
        return None
    lines = dict(line.split(":") for line in file.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024
