"""A number with the standard error it was estimated with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error (NaN where one sample gives none)."""

    value: float
    error: float
