"""A number with the standard error it was estimated with, and intervals from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

SERIES_FROM = 200
"""Degrees of freedom from which three terms of the quantile's series are exact to 1e-6."""


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error (NaN where one sample gives none)."""

    value: float
    error: float
    degrees: float = math.inf
    """Degrees of freedom that the error was estimated with; few of them make intervals wider."""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The confidence interval of this level, by Student's t."""
        half = student_t(level, self.degrees) * self.error
        return self.value - half, self.value + half


def student_t(level: float, degrees: float) -> float:
    """t with P(|T| < t) = level for Student's t of these degrees of freedom, 1 or more.

    Raises ValueError for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level}: must be between 0 and 1")
    if math.isnan(degrees) or degrees < 1:
        return math.nan
    if degrees >= SERIES_FROM:
        # Cornish and Fisher's expansion around the normal quantile (Abramowitz and Stegun, 26.7.5).
        z = NormalDist().inv_cdf((1 + level) / 2)
        first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
        third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
        return z + first / degrees + second / degrees**2 + third / degrees**3
    # With T = sqrt(degrees) tan(angle) the density is cos(angle)^(degrees - 1), to a factor.
    nodes, weights = np.polynomial.legendre.leggauss(80)

    def mass(angle: float) -> float:
        return float(angle / 2 * weights @ np.cos(angle / 2 * (nodes + 1)) ** (degrees - 1))

    low, high, whole = 0.0, math.pi / 2, mass(math.pi / 2)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mass(middle) < level * whole else (low, middle)
    return math.sqrt(degrees) * math.tan(low)
