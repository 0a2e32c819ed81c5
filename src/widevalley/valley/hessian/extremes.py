"""Eigenvalues at both ends of the spectrum by Lanczos, and the top eigenvector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from widevalley.valley.hessian.lanczos import Lanczos, gaussian_start
from widevalley.valley.hessian.operators import SymmetricOperator
from widevalley.valley.objective import Progress

CHECK_EVERY = 10
"""Steps between checks of the bounds."""


@dataclass(frozen=True)
class ExtremeEigenvalues:
    """Eigenvalues at both ends, each within its bound of an eigenvalue of the matrix."""

    largest: np.ndarray
    """Descending."""
    smallest: np.ndarray
    """Ascending, so the most negative first."""
    largest_bounds: np.ndarray
    smallest_bounds: np.ndarray
    steps: int
    """Products spent."""


def extreme_eigenvalues(
    operator: SymmetricOperator,
    count: int = 1,
    *,
    tolerance: float = 1e-6,
    steps: int = 300,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExtremeEigenvalues:
    """The `count` largest and smallest eigenvalues by Lanczos, with bounds of their error.

    Stops when all bounds are below `tolerance` times the largest magnitude, or after `steps`
    products; the bounds say how far it came.

    Raises:
        ValueError: a count outside 1 to n, or steps below it.
    """
    if not 1 <= count <= operator.size:
        raise ValueError(f"count={count}: must be from 1 to {operator.size}")
    if steps < count:
        raise ValueError(f"steps={steps}: must be at least count={count}")
    start = gaussian_start(operator, torch.Generator().manual_seed(seed))
    run = Lanczos(operator, start, steps)
    while True:
        run.step()
        if progress:
            progress(run.steps, steps)
        if run.exhausted or (run.steps >= count and run.steps % CHECK_EVERY == 0):
            found = _ends(run, count)
            bounds = np.concatenate([found.largest_bounds, found.smallest_bounds])
            scale = max(abs(found.largest[0]), abs(found.smallest[0]))
            if run.exhausted or bounds.max() <= tolerance * scale:
                return found


def top_eigenvector(
    operator: SymmetricOperator, *, tolerance: float = 1e-3, steps: int = 300, seed: int = 0
) -> tuple[float, Tensor]:
    """The largest eigenvalue and its unit eigenvector (n,), in float64, by Lanczos.

    Stops when the norm of A v - lambda v is below `tolerance` times lambda, or after `steps`
    products.
    """
    start = gaussian_start(operator, torch.Generator().manual_seed(seed))
    run = Lanczos(operator, start, steps)
    while True:
        run.step()
        if run.exhausted or run.steps % CHECK_EVERY == 0:
            values, _, bounds = run.tridiagonal().ritz()
            if run.exhausted or bounds[-1] <= tolerance * abs(values[-1]):
                return float(values[-1]), run.vector(-1)


def _ends(run: Lanczos, count: int) -> ExtremeEigenvalues:
    values, _, bounds = run.tridiagonal().ritz()
    top, bottom = slice(None, -count - 1, -1), slice(None, count)
    return ExtremeEigenvalues(values[top], values[bottom], bounds[top], bounds[bottom], run.steps)
