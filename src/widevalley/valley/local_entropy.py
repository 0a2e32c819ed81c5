r"""Local entropy of a network, by three routes that must agree where all are good.

With F(x, \gamma) = (1/\beta) \log \int \exp(-\beta [f(x') + \gamma/2 \|x - x'\|^2]) dx',

- its gradient is -\gamma (x - <x'>), from the mean of chains;
- it changes with the scope by dF/d\gamma = -1/2 <\|x' - x\|^2>, so that differences are integrals
  of the chains' squared distances (thermodynamic integration);
- to second order around x it is closed, with g and H the gradient and Hessian of f at x and
  A = H + \gamma I: -F = f - 1/2 g^T A^{-1} g + (1/2\beta) \log\det A - (n/2\beta) \log(2\pi/\beta),
  taken by Lanczos quadrature (Laplace). Good where the walk stays where f is quadratic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from widevalley.valley.chains import Trace
from widevalley.valley.diagnostics import mean_and_error
from widevalley.valley.exact_entropy import check_scope
from widevalley.valley.lanczos import Lanczos, spectral_density
from widevalley.valley.operators import Hessian
from widevalley.valley.trace import Estimate


def entropy_gradient(trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of F, and its standard error weight by weight, from chains of one scope.

    The error is of the chains' means, so it needs two chains or more (else it is NaN).
    """
    gamma, each = trace.facts["gamma"], trace.mean - trace.flat_mean
    found = gamma * each.mean(axis=0)
    if len(each) < 2:
        return found, np.full_like(found, math.nan)
    return found, gamma * each.std(axis=0, ddof=1) / math.sqrt(len(each))


def entropy_gradient_norm(trace: Trace) -> float:
    """The norm of the gradient of F, without what the scatter of two or more chains would add.

    Its square is the mean product of two chains' estimates; 0 where that is negative, NaN of one
    chain.
    """
    each = trace.facts["gamma"] * (trace.mean - trace.flat_mean)
    chains = len(each)
    if chains < 2:
        return math.nan
    products = float((each.sum(axis=0) ** 2).sum() - (each**2).sum())
    return math.sqrt(max(products / (chains * (chains - 1)), 0.0))


def entropy_differences(traces: Sequence[Trace], *, less_flat: bool = False) -> list[Estimate]:
    """-F at each trace's scope less -F at the first's, by thermodynamic integration.

    The squared distance times gamma is taken to be linear in log gamma between neighbours, so
    scopes should be close: a factor of two or three. Warns with NotMixed where a trace is unsure.

    Args:
        traces: of one objective and temperature, their scopes ascending.
        less_flat: take off what a flat loss would give, n / (2 beta) log gamma, by the chains'
            twins. In many dimensions this is nearly all, and not of interest.

    Raises:
        ValueError: unless scopes ascend and the temperature is one.
    """
    gammas = [trace.facts["gamma"] for trace in traces]
    betas = {trace.facts["beta"] for trace in traces}
    if len(betas) > 1 or any(a >= b for a, b in pairwise(gammas)):
        raise ValueError(f"traces: gamma must ascend at one beta, not {gammas} at {sorted(betas)}")
    slopes = [
        mean_and_error(
            trace.distance - less_flat * trace.flat_distance, f"gamma {trace.facts['gamma']:g}"
        )
        for trace in traces
    ]
    heights = [0.5 * gamma * mean for gamma, (mean, _) in zip(gammas, slopes, strict=True)]
    errors = [0.5 * gamma * error for gamma, (_, error) in zip(gammas, slopes, strict=True)]
    steps = np.diff(np.log(gammas))
    shares = np.zeros((len(gammas), len(gammas)))
    for k, step in enumerate(steps):
        shares[k + 1 :, k : k + 2] += step / 2
    values = shares @ np.array(heights)
    spreads = np.sqrt(shares**2 @ np.array(errors) ** 2)
    return [Estimate(float(v), float(e)) for v, e in zip(values, spreads, strict=True)]


@dataclass(frozen=True)
class Laplace:
    """-F at several scopes by the second-order expansion, with the part that has an error."""

    gammas: tuple[float, ...]
    values: tuple[Estimate, ...]
    """-F; the error is of the log-determinant's probes."""
    walls: tuple[Estimate, ...]
    r"""What the walls of the valley add to -F, 1/(2\beta) \log\det(I + H/\gamma)."""
    rises: tuple[Estimate, ...]
    r"""-F above that of a flat loss with this f(x): the walls less 1/2 g^T A^{-1} g, what a slope
    at x takes off."""
    least: float
    """The least Ritz value: the expansion exists for gamma above its negative."""


def laplace(
    hessian: Hessian,
    gammas: Sequence[float],
    *,
    beta: float = 1.0,
    steps: int = 60,
    probes: int = 16,
    seed: int = 0,
) -> Laplace:
    """-F by Laplace's method at the weights of an objective, for several scopes at once.

    Costs steps x (probes + 1) products whatever the number of scopes.

    Raises ValueError for a scope not above 0, or at or below minus the least Ritz value.
    """
    for gamma in gammas:
        check_scope(gamma, beta)
    objective = hessian.objective
    density = spectral_density(hessian, steps=steps, probes=probes, seed=seed)
    slope = objective.gradient()
    nodes, weights, least = _along(hessian, slope, steps)
    least = min(least, float(density.values.min()))
    if min(gammas) <= -least:
        raise ValueError(f"gamma={min(gammas)}: must be above {-least}, minus the least Ritz value")
    at, square, freedom = objective.value(), float(slope.double().square().sum()), objective.size
    values, walls, rises = [], [], []
    for gamma in gammas:
        volume, error = density.mean(partial(_log_widened, gamma))
        downhill = float((weights / (nodes + gamma)).sum()) * square
        wall, error = (freedom / (2 * beta) * part for part in (volume, error))
        rise = wall - downhill / 2
        flat = at + freedom / (2 * beta) * math.log(beta * gamma / (2 * math.pi))
        walls.append(Estimate(wall, error))
        rises.append(Estimate(rise, error))
        values.append(Estimate(flat + rise, error))
    return Laplace(tuple(gammas), tuple(values), tuple(walls), tuple(rises), least)


def _log_widened(gamma: float, values: np.ndarray) -> np.ndarray:
    logs: np.ndarray = np.log1p(values / gamma)
    return logs


def _along(hessian: Hessian, slope: Tensor, steps: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Quadrature of the Hessian along the gradient."""
    if not bool(torch.any(slope)):
        return np.zeros(1), np.zeros(1), math.inf
    run = Lanczos(hessian, slope, steps)
    while not run.exhausted:
        run.step()
    nodes, weights, _ = run.tridiagonal().ritz()
    return nodes, weights, float(nodes[0])
