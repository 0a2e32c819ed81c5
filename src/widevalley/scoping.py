"""Temperature and scope of walks: `widevalley.optim.scoping` under the package's name."""

from widevalley.optim.scoping import (
    Exponential,
    Linear,
    Quadratic,
    Saturating,
    Schedule,
    TotalGrowth,
    noise_at,
)

__all__ = [
    "Exponential",
    "Linear",
    "Quadratic",
    "Saturating",
    "Schedule",
    "TotalGrowth",
    "noise_at",
]
