r"""Stochastic Lanczos quadrature: the spectral density of a matrix known by its products.

From a random unit vector v, m steps of Lanczos give a tridiagonal matrix whose eigenvalues
\theta_k (Ritz values) and squared first components w_k of its eigenvectors are a Gauss quadrature:
\sum_k w_k g(\theta_k) is v^T g(A) v exactly for polynomials of degree below 2m, and its mean over v
is tr g(A) / n (Golub and Welsch, 1969; Ubaru, Chen and Saad, 2017). Recurrences are in float64 with
full reorthogonalisation, whatever the products are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from widevalley.valley._storage import read_as, write_arrays
from widevalley.valley._validation import check_at_least
from widevalley.valley.hessian.lanczos import Lanczos, gaussian_start
from widevalley.valley.hessian.operators import SymmetricOperator
from widevalley.valley.objective import Progress


@dataclass(frozen=True)
class Density:
    """A spectral density by quadrature: raw Ritz values and weights, a row a probe.

    It says how much of the spectrum lies where, at the resolution of the steps; it cannot tell an
    eigenvalue of zero from one that is near zero, so it states no fraction of them.
    """

    values: np.ndarray
    """Ritz values, (probes, steps)."""
    weights: np.ndarray
    """Their weights, each row's sum 1, (probes, steps)."""
    bounds: np.ndarray
    """How far an eigenvalue is from each Ritz value at the most, (probes, steps)."""
    size: int
    """n."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What it is of and how it was made, in plain values."""

    def save(self, file: Path) -> None:
        """Write everything to an .npz file."""
        arrays = {"values": self.values, "weights": self.weights, "bounds": self.bounds}
        write_arrays(file, {"size": self.size, "facts": self.facts}, **arrays)

    @classmethod
    def load(cls, file: Path) -> Density:
        """Read what `save` wrote. Raises ValueError naming the file where it is not that."""
        return read_as(cls, file)

    @property
    def largest(self) -> tuple[float, float]:
        """The largest Ritz value, and how far an eigenvalue is from it at the most."""
        return self._at(int(self.values.argmax()))

    @property
    def smallest(self) -> tuple[float, float]:
        """The smallest, likewise."""
        return self._at(int(self.values.argmin()))

    def _at(self, k: int) -> tuple[float, float]:
        return float(self.values.flat[k]), float(self.bounds.flat[k])

    def mean(self, g: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
        """tr g(A) / n and its standard error over probes (NaN for one probe)."""
        each = (self.weights * g(self.values)).sum(axis=1)
        error = each.std(ddof=1) / math.sqrt(len(each)) if len(each) > 1 else math.nan
        return float(each.mean()), float(error)

    def smoothed(self, grid: np.ndarray, width: float) -> np.ndarray:
        """The density on a grid, each Ritz value blurred to a Gaussian of this standard width."""
        mean: np.ndarray = self.smoothed_each(grid, width).mean(axis=0)
        return mean

    def smoothed_each(self, grid: np.ndarray, width: float) -> np.ndarray:
        """The same of every probe alone, (probes, points): how far it depends on the draw."""
        curves = []
        for values, weights in zip(self.values, self.weights, strict=True):
            z = (grid[:, None] - values) / width
            kernel = np.exp(-0.5 * z**2) / (width * math.sqrt(2 * math.pi))
            curves.append(kernel @ weights)
        return np.array(curves)


def spectral_density(
    operator: SymmetricOperator,
    *,
    steps: int = 100,
    probes: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> Density:
    """Density of the eigenvalues of `operator` by stochastic Lanczos quadrature.

    Costs steps x probes products. More probes sharpen it far more than more steps do.

    Args:
        operator: any symmetric operator.
        steps: of Lanczos from each probe.
        probes: random Gaussian directions.
        seed: keys them.
        progress: called with products done and products in all.

    Raises:
        ValueError: steps or probes below 1.
    """
    check_at_least(1, steps=steps, probes=probes)
    generator = torch.Generator().manual_seed(seed)
    steps = min(steps, operator.size)
    values, weights, bounds = np.zeros((3, probes, steps))
    for k in range(probes):
        run = Lanczos(operator, gaussian_start(operator, generator), steps)
        while not run.exhausted:
            run.step()
            if progress:
                progress(k * steps + run.steps, steps * probes)
        ritz, weight, bound = run.tridiagonal().ritz()
        values[k, : len(ritz)], weights[k, : len(ritz)], bounds[k, : len(ritz)] = (
            ritz,
            weight,
            bound,
        )
        values[k, len(ritz) :], bounds[k, len(ritz) :] = ritz[-1], bound[-1]  # of weight 0
    return Density(values, weights, bounds, operator.size)
