r"""Local entropy to second order, by Laplace's method.

With F(x, \gamma) = (1/\beta) \log \int \exp(-\beta [f(x') + \gamma/2 \|x - x'\|^2]) dx', g and H
the gradient and Hessian of f at x, and A = H + \gamma I,

    -F = f - 1/2 g^T A^{-1} g + (1/2\beta) \log\det A - (n/2\beta) \log(2\pi/\beta),

taken by Lanczos quadrature. Good where the walk stays where f is quadratic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from widevalley.valley._validation import check_positive
from widevalley.valley.estimate import Estimate
from widevalley.valley.hessian.curvature import Hessian
from widevalley.valley.hessian.density import spectral_density
from widevalley.valley.hessian.lanczos import Lanczos
from widevalley.valley.objective import Progress


@dataclass(frozen=True)
class LaplaceApproximation:
    """-F at several scopes by the second-order expansion, with the part that has an error."""

    gammas: tuple[float, ...]
    values: tuple[Estimate, ...]
    """-F; the error is of the log-determinant's probes."""
    logdet_term: tuple[Estimate, ...]
    r"""What the curvature of f adds to -F, 1/(2\beta) \log\det(I + H/\gamma)."""
    excess: tuple[Estimate, ...]
    r"""-F above that of a flat loss with this f(x): the log-determinant term less 1/2 g^T A^{-1} g,
    what a slope at x takes off."""
    smallest_ritz_value: float
    """The expansion exists for gamma above its negative."""


def laplace(
    hessian: Hessian,
    gammas: Sequence[float],
    *,
    beta: float = 1.0,
    steps: int = 60,
    probes: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> LaplaceApproximation:
    """-F by Laplace's method at the weights of an objective, for several scopes at once.

    Costs steps x (probes + 1) products whatever the number of scopes; `progress` is called with
    products done and products in all.

    Raises ValueError for a scope not above 0, or at or below minus the least Ritz value.
    """
    for gamma in gammas:
        check_positive(gamma=gamma, beta=beta)
    objective = hessian.objective
    steps = min(steps, objective.size)
    total = steps * (probes + 1)

    def done(products: int, _: int) -> None:
        if progress:
            progress(products, total)

    density = spectral_density(hessian, steps=steps, probes=probes, seed=seed, progress=done)
    gradient = objective.gradient()
    nodes, weights, least = _along(hessian, gradient, steps)
    done(total, total)
    least = min(least, float(density.values.min()))
    if min(gammas) <= -least:
        raise ValueError(f"gamma={min(gammas)}: must be above {-least}, minus the least Ritz value")
    at, square, n = objective.value(), float(gradient.double().square().sum()), objective.size
    values, logdet_terms, excesses = [], [], []
    for gamma in gammas:
        mean_log, error = density.mean(partial(_log_one_plus, gamma))
        logdet_term, error = (n / (2 * beta) * part for part in (mean_log, error))
        excess = logdet_term - float((weights / (nodes + gamma)).sum()) * square / 2
        flat = at + n / (2 * beta) * math.log(beta * gamma / (2 * math.pi))
        logdet_terms.append(Estimate(logdet_term, error, probes - 1))
        excesses.append(Estimate(excess, error, probes - 1))
        values.append(Estimate(flat + excess, error, probes - 1))
    return LaplaceApproximation(
        tuple(gammas), tuple(values), tuple(logdet_terms), tuple(excesses), least
    )


def _log_one_plus(gamma: float, values: np.ndarray) -> np.ndarray:
    logs: np.ndarray = np.log1p(values / gamma)
    return logs


def _along(hessian: Hessian, gradient: Tensor, steps: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Quadrature of the Hessian along the gradient."""
    if not bool(torch.any(gradient)):
        return np.zeros(1), np.zeros(1), math.inf
    run = Lanczos(hessian, gradient, steps)
    while not run.exhausted:
        run.step()
    nodes, weights, _ = run.tridiagonal().ritz()
    return nodes, weights, float(nodes[0])
