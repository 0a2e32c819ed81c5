r"""Local entropy from chains of its Gibbs law.

With F(x, \gamma) = (1/\beta) \log \int \exp(-\beta [f(x') + \gamma/2 \|x - x'\|^2]) dx',

- its gradient is -\gamma (x - <x'>), from the mean of chains;
- it changes with the scope by dF/d\gamma = -1/2 <\|x' - x\|^2>, so that differences are integrals
  of the chains' squared distances (thermodynamic integration).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from widevalley.valley.estimate import Estimate
from widevalley.valley.samplers.chains import Chains
from widevalley.valley.samplers.diagnostics import mean_and_error


def entropy_gradient(chains: Chains) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of F, and its standard error weight by weight, from chains of one scope.

    The error is of the chains' means, so it needs two chains or more (else it is NaN).
    """
    gamma, each = chains.facts["gamma"], chains.mean - chains.flat_mean
    found = gamma * each.mean(axis=0)
    if len(each) < 2:
        return found, np.full_like(found, math.nan)
    return found, gamma * each.std(axis=0, ddof=1) / math.sqrt(len(each))


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
    or disagree.

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
