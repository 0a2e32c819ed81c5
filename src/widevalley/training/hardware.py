"""What "auto" means on this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from widevalley.training.config import RunConfig

MACHINE_DEFAULTS: dict[str, Any] = {"device": "auto", "precision": "auto", "threads": 0}
"""The values by which settings leave the choice to the machine."""


def as_begun(config: RunConfig, begun: dict[str, Any]) -> RunConfig:
    """Replace what is left to the machine by what a run was begun with."""
    # A run begun with four threads goes on with four, on whatever machine.
    left = [name for name, value in MACHINE_DEFAULTS.items() if getattr(config, name) == value]
    return replace(config, **{name: begun[name] for name in left})


def resolve(config: RunConfig, *, prefers_bf16: bool) -> RunConfig:
    """Replace every "auto" by what it means here, so that the run's folder says what was used.

    Raises ValueError for device "cuda" where there is none.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda: this machine has none; must be auto or cpu")
    precision = config.precision
    if precision == "auto":
        # Emulated bf16 is supported, and slower than float32: only native arithmetic counts.
        if device == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = torch.cpu._is_avx512_bf16_supported()
        precision = "bf16-mixed" if prefers_bf16 and fast else "32-true"
    threads = config.threads or max(1, torch.get_num_threads() // config.workers)
    return replace(config, device=device, precision=precision, threads=threads)
