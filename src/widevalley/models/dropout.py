"""Dropout that is no module at all where nothing is to be dropped."""

from __future__ import annotations

from torch import nn


def dropout(name: str, share: float) -> list[nn.Module]:
    """The layers that drop `share` of the units while training: one, or none for 0.

    Raises ValueError, calling the share `name`, unless it is in [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"{name}={share}: must be in [0, 1)")
    return [nn.Dropout(share)] if share > 0 else []
