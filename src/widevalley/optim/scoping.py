"""What a walk samples: its temperature, and how the scope gamma grows over the outer updates.

The walk samples exp(-(f + gamma/2 |x' - x|²) / T) at a temperature T, f the mean loss over N
samples. Along a curvature lambda it spreads to a variance of T / (lambda + gamma), and takes about
1 / (langevin_lr (lambda + gamma)) steps to do so. It sees the width of a valley, then, where
langevin_lr gamma langevin_steps is 1 or more; by the paper's settings, where that is 2e-4, it
descends and looks at none.

A schedule is any callable that maps the count t = 0, 1, 2, … of outer updates to the factor
gamma(t) / gamma0. Those of the paper (section 4.3) stand here; a plain number r as
``gamma_growth`` means ``Exponential(r)``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from widevalley.optim._validation import at_least, check, positive

Schedule = Callable[[int], float]

# exp of more than this is no float; the walk caps its pull long before.
LARGEST_EXPONENT = 700.0


def noise_at(temperature: float) -> float:
    """The thermal noise eps = sqrt(2 T) at a temperature T >= 0.

    1/N is the posterior's, for N samples; 1/sqrt(N) that of PAC-Bayes bounds (Dziugaite & Roy
    2018); 0 makes the walk a proximal step. The paper's eps of 1e-4 is a T of 5e-9.
    """
    check("temperature", temperature, *at_least(0))
    return math.sqrt(2 * temperature)


@dataclass(frozen=True)
class Exponential:
    """gamma(t) = gamma0 (1 + rate)^t, the paper's scoping; rate > -1."""

    rate: float

    def __post_init__(self) -> None:
        check("rate", self.rate, lambda r: r > -1, "> -1")

    def __call__(self, t: int) -> float:
        """Return gamma(t) / gamma0."""
        return math.exp(min(t * math.log1p(self.rate), LARGEST_EXPONENT))


@dataclass(frozen=True)
class Linear:
    """gamma(t) = gamma0 (1 + rate t); rate >= 0."""

    rate: float

    def __post_init__(self) -> None:
        check("rate", self.rate, *at_least(0))

    def __call__(self, t: int) -> float:
        """Return gamma(t) / gamma0."""
        return 1.0 + self.rate * t


@dataclass(frozen=True)
class Quadratic:
    """gamma(t) = gamma0 (1 + rate t²); rate >= 0."""

    rate: float

    def __post_init__(self) -> None:
        check("rate", self.rate, *at_least(0))

    def __call__(self, t: int) -> float:
        """Return gamma(t) / gamma0."""
        return 1.0 + self.rate * t * t


@dataclass(frozen=True)
class Saturating:
    """gamma(t) = gamma0 (1 - exp(-tau t)); tau > 0. The first walk (t = 0) has no pull at all."""

    tau: float

    def __post_init__(self) -> None:
        check("tau", self.tau, *positive())

    def __call__(self, t: int) -> float:
        """Return gamma(t) / gamma0."""
        return -math.expm1(-self.tau * t)


@dataclass(frozen=True)
class TotalGrowth:
    """gamma(t) = gamma0 factor^(t / updates), held at gamma0 factor from t = updates on.

    ``updates`` counts outer updates: gradient evaluations / langevin_steps. Both > 0.
    """

    factor: float
    updates: int

    def __post_init__(self) -> None:
        check("factor", self.factor, *positive())
        check("updates", self.updates, *positive())

    def __call__(self, t: int) -> float:
        """Return gamma(t) / gamma0."""
        return math.exp(math.log(self.factor) * min(t / self.updates, 1.0))
