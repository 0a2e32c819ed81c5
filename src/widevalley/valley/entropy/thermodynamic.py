r"""Local entropy from chains of its Gibbs law.

With F(x, \gamma) = (1/\beta) \log \int \exp(-\beta [f(x') + \gamma/2 \|x - x'\|^2]) dx',

- its gradient is -\gamma (x - <x'>), from the mean of chains;
- it changes with the scope by dF/d\gamma = -1/2 <\|x' - x\|^2>, so that differences are integrals
  of the chains' squared distances (thermodynamic integration).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from widevalley.valley.estimate import Estimate, student_t
from widevalley.valley.samplers.chains import Chains
from widevalley.valley.samplers.diagnostics import POSITIONS_MIXED, NotMixed, mean_and_error


@dataclass(frozen=True)
class GradientEstimate:
    """The gradient of F with its standard error, weight by weight."""

    value: np.ndarray
    """(n,)."""
    error: np.ndarray
    """Of the chains' means, (n,); NaN of one chain."""
    degrees: int
    """Chains less one: with few of them intervals are much wider than two errors."""

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Confidence intervals of this level, weight by weight, by Student's t."""
        half = student_t(level, self.degrees) * self.error
        return self.value - half, self.value + half


def entropy_gradient(chains: Chains) -> GradientEstimate:
    """The gradient of F, from chains of one scope.

    Warns with NotMixed where the chains are in different places.
    """
    _warn_of_places(chains, subtract_flat=True)
    gamma, each = chains.facts["gamma"], chains.mean - chains.flat_mean
    found, count = gamma * each.mean(axis=0), len(each)
    if count < 2:
        return GradientEstimate(found, np.full_like(found, math.nan), 0)
    return GradientEstimate(found, gamma * each.std(axis=0, ddof=1) / math.sqrt(count), count - 1)


def entropy_gradient_norm(chains: Chains) -> float:
    """The norm of the gradient of F, without what the variance of two or more chains would add.

    Its square is the mean product of two chains' estimates; 0 where that is negative, NaN of one
    chain.
    """
    each = chains.facts["gamma"] * (chains.mean - chains.flat_mean)
    count = len(each)
    if count < 2:
        return math.nan
    products = float((each.sum(axis=0) ** 2).sum() - (each**2).sum())
    return math.sqrt(max(products / (count * (count - 1)), 0.0))


def entropy_differences(scopes: Sequence[Chains], *, subtract_flat: bool = False) -> list[Estimate]:
    """-F at each scope less -F at the first, by thermodynamic integration.

    The squared distance times gamma is taken to be linear in log gamma between neighbours, so
    scopes should be close: a factor of two or three. Warns with NotMixed where chains are too short
    or disagree, in their distances or in where they are.

    Args:
        scopes: chains of one objective and temperature, a gamma each, ascending.
        subtract_flat: take off what a flat loss would give, n / (2 beta) log gamma, by the coupled
            chains. In many dimensions this is nearly all, and not of interest.

    Raises:
        ValueError: unless scopes ascend and the temperature is one.
    """
    gammas = [chains.facts["gamma"] for chains in scopes]
    betas = {chains.facts["beta"] for chains in scopes}
    if len(betas) > 1 or any(a >= b for a, b in pairwise(gammas)):
        raise ValueError(f"scopes: gamma must ascend at one beta, not {gammas} at {sorted(betas)}")
    for chains in scopes:
        _warn_of_places(chains, subtract_flat=subtract_flat)
    distances = [
        mean_and_error(
            chains.distance - subtract_flat * chains.flat_distance,
            f"gamma {chains.facts['gamma']:g}",
        )
        for chains in scopes
    ]
    integrand = [0.5 * gamma * mean for gamma, (mean, _) in zip(gammas, distances, strict=True)]
    errors = [0.5 * gamma * error for gamma, (_, error) in zip(gammas, distances, strict=True)]
    steps = np.diff(np.log(gammas))
    weights = np.zeros((len(gammas), len(gammas)))
    for k, step in enumerate(steps):
        weights[k + 1 :, k : k + 2] += step / 2
    values = weights @ np.array(integrand)
    deviations = np.sqrt(weights**2 @ np.array(errors) ** 2)
    return [Estimate(float(v), float(e)) for v, e in zip(values, deviations, strict=True)]


def _warn_of_places(chains: Chains, *, subtract_flat: bool) -> None:
    disagreement = chains.position_r_hat(subtract_flat=subtract_flat)
    if disagreement > POSITIONS_MIXED:
        warnings.warn(
            f"gamma {chains.facts['gamma']:g}: chains are in different places, R-hat of their "
            f"positions {disagreement:.3f}; take more steps, or see whether there are two valleys",
            NotMixed,
            stacklevel=3,
        )
