"""Schedules of the scope gamma: those of `widevalley.optim.scoping`, under the package's name."""

from widevalley.optim.scoping import (
    Exponential,
    Linear,
    Quadratic,
    Saturating,
    Schedule,
    TotalGrowth,
)

__all__ = ["Exponential", "Linear", "Quadratic", "Saturating", "Schedule", "TotalGrowth"]
