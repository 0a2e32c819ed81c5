"""Checkpoints: written whole or not at all, loaded without executing code."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from widevalley._files import atomic_write

NEEDED = {"model", "optimizer", "gradients", "rng", "loss_sum", "loss_steps", "metrics_bytes"}
"""What a run cannot go on without."""


def save(state: dict[str, Any], path: Path) -> None:
    """Replace `path` by `state` in one go: a kill at any moment leaves the old or the new."""
    with atomic_write(path) as file:
        torch.save(state, file)


def load(path: Path) -> dict[str, Any]:
    """The tensors and plain values `save` wrote, on the CPU.

    Raises ValueError naming the file where it is not such a checkpoint.
    """
    try:
        # torch.load does not compare the checksums it wrote, and takes a flipped bit for a weight.
        with zipfile.ZipFile(path) as parts:
            if damaged := parts.testzip():
                raise ValueError(f"{damaged} fails its checksum")
        # To the CPU, since the device it was saved from may not be here.
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises anything on a damaged file
        raise ValueError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error
    if not isinstance(state, dict) or not state.keys() >= NEEDED:
        raise ValueError(f"{path}: not the checkpoint of a run")
    return state
