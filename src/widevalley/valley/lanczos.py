r"""Stochastic Lanczos quadrature: the spectral density of a matrix known by its products.

From a random unit vector v, m steps of Lanczos give a tridiagonal matrix whose eigenvalues
\theta_k (Ritz values) and squared first components w_k of its eigenvectors are a Gauss quadrature:
\sum_k w_k g(\theta_k) is v^T g(A) v exactly for polynomials of degree below 2m, and its mean over v
is tr g(A) / n. Recurrences are in float64 with full reorthogonalisation, whatever the products are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from widevalley.valley.memory import check_room
from widevalley.valley.objective import Progress
from widevalley.valley.operators import Symmetric
from widevalley.valley.store import read_arrays, write_arrays

LOOK = 10
"""Steps between looks at the bounds."""
ROUNDING = 4
"""Error of a product beside the matrix, in units of the last place."""
EXHAUSTED = 1e-12
"""A remainder this small beside the matrix is rounding."""


@dataclass(frozen=True)
class Tridiagonal:
    """What Lanczos leaves: diagonals, and the last remainder's norm."""

    diagonal: np.ndarray
    """(m,)."""
    off_diagonal: np.ndarray
    """(m - 1,)."""
    remainder: float
    """Norm of what step m + 1 would start from; 0 where the space is exhausted."""
    rounding: float = 0.0
    """Error of the products, which no bound is below."""

    def eigen(self) -> tuple[np.ndarray, np.ndarray]:
        """Ritz values ascending, and the matrix's eigenvectors as columns."""
        upper = np.diag(self.off_diagonal, 1)
        values, vectors = np.linalg.eigh(np.diag(self.diagonal) + upper + upper.T)
        return values, vectors

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ritz values ascending, their quadrature weights, and how far an eigenvalue may be."""
        values, vectors = self.eigen()
        bounds = self.rounding + self.remainder * np.abs(vectors[-1])
        return values, vectors[0] ** 2, bounds


class Lanczos:
    """Lanczos from a vector, in float64 with full reorthogonalisation; goes on where it stopped.

    Args:
        operator: any symmetric operator.
        start: (n,), not zero.
        capacity: steps there is room for; more than n are never needed.
    """

    def __init__(self, operator: Symmetric, start: Tensor, capacity: int) -> None:
        self._operator = operator
        capacity = min(capacity, operator.size)
        check_room(8 * capacity * operator.size, operator.device)
        self._basis = torch.empty(
            capacity, operator.size, dtype=torch.float64, device=operator.device
        )
        start = start.to(self._basis)
        self._next = start / torch.linalg.vector_norm(start)
        self._diagonal: list[float] = []
        self._off_diagonal: list[float] = []

    @property
    def steps(self) -> int:
        """Products spent."""
        return len(self._diagonal)

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to find from this start, or there is no more room."""
        return self.steps == len(self._basis) or self._remainder == 0

    @property
    def _remainder(self) -> float:
        return self._off_diagonal[-1] if self.steps else 1.0

    def step(self) -> None:
        """Spend one product."""
        basis, v = self._basis[: self.steps + 1], self._next
        basis[-1] = v
        w = (self._operator @ v.to(self._operator.dtype)).to(torch.float64)
        self._diagonal.append(float(w @ v))
        for _ in range(2):
            w -= basis.T @ (basis @ w)
        norm = float(torch.linalg.vector_norm(w))
        self._off_diagonal.append(norm if norm > EXHAUSTED * self._scale else 0.0)
        self._next = w / norm if norm else w

    def vector(self, k: int) -> Tensor:
        """The unit vector (n,) that the k-th Ritz value, ascending, belongs to."""
        _, vectors = self.tridiagonal().eigen()
        weights = torch.from_numpy(vectors[:, k].copy()).to(self._basis)
        return weights @ self._basis[: self.steps]

    def tridiagonal(self) -> Tridiagonal:
        """What there is so far."""
        inner, last = self._off_diagonal[:-1], self._remainder
        rounding = ROUNDING * torch.finfo(self._operator.dtype).eps * self._scale
        return Tridiagonal(np.array(self._diagonal), np.array(inner), last, rounding)

    @property
    def _scale(self) -> float:
        return max(map(abs, [*self._diagonal, *self._off_diagonal]))


@dataclass(frozen=True)
class Density:
    """A spectral density by quadrature: raw Ritz values and weights, a row a probe.

    It says how much of the spectrum lies where, at the resolution of the steps; it cannot tell an
    eigenvalue of zero from one that is near zero, so it states no share of them.
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
        told = {"size": self.size, "facts": self.facts}
        arrays = {"values": self.values, "weights": self.weights, "bounds": self.bounds}
        write_arrays(file, told, **arrays)

    @classmethod
    def load(cls, file: Path) -> Density:
        """Read what `save` wrote. Raises ValueError naming the file where it is not that."""
        return cls(**read_arrays(file))

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
        shares = (self.weights / len(self.weights)).ravel()
        z = (grid[:, None] - self.values.ravel()) / width
        kernel = np.exp(-0.5 * z**2) / (width * math.sqrt(2 * math.pi))
        blurred: np.ndarray = kernel @ shares
        return blurred


def spectral_density(
    operator: Symmetric,
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
    for name, number in (("steps", steps), ("probes", probes)):
        if number < 1:
            raise ValueError(f"{name}={number}: must be at least 1")
    generator = torch.Generator().manual_seed(seed)
    steps = min(steps, operator.size)
    values, weights, bounds = np.zeros((3, probes, steps))
    for k in range(probes):
        run = Lanczos(operator, _gaussian(operator, generator), steps)
        while not run.exhausted:
            run.step()
            if progress:
                progress(k * steps + run.steps, steps * probes)
        ritz, share, bound = run.tridiagonal().ritz()
        values[k, : len(ritz)], weights[k, : len(ritz)], bounds[k, : len(ritz)] = ritz, share, bound
        values[k, len(ritz) :], bounds[k, len(ritz) :] = ritz[-1], bound[-1]  # of weight 0
    return Density(values, weights, bounds, operator.size)


def _gaussian(operator: Symmetric, generator: torch.Generator) -> Tensor:
    return torch.randn(operator.size, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Extremes:
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
    operator: Symmetric,
    count: int = 1,
    *,
    tolerance: float = 1e-6,
    steps: int = 300,
    seed: int = 0,
    progress: Progress | None = None,
) -> Extremes:
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
    start = _gaussian(operator, torch.Generator().manual_seed(seed))
    run = Lanczos(operator, start, steps)
    while True:
        run.step()
        if progress:
            progress(run.steps, steps)
        if run.exhausted or (run.steps >= count and run.steps % LOOK == 0):
            found = _ends(run, count)
            bounds = np.concatenate([found.largest_bounds, found.smallest_bounds])
            scale = max(abs(found.largest[0]), abs(found.smallest[0]))
            if run.exhausted or bounds.max() <= tolerance * scale:
                return found


def top_eigenvector(
    operator: Symmetric, *, tolerance: float = 1e-3, steps: int = 300, seed: int = 0
) -> tuple[float, Tensor]:
    """The largest eigenvalue and its unit eigenvector (n,), in float64, by Lanczos.

    Stops when the norm of A v - lambda v is below `tolerance` times lambda, or after `steps`
    products.
    """
    start = _gaussian(operator, torch.Generator().manual_seed(seed))
    run = Lanczos(operator, start, steps)
    while True:
        run.step()
        if run.exhausted or run.steps % LOOK == 0:
            values, _, bounds = run.tridiagonal().ritz()
            if run.exhausted or bounds[-1] <= tolerance * abs(values[-1]):
                return float(values[-1]), run.vector(-1)


def _ends(run: Lanczos, count: int) -> Extremes:
    values, _, bounds = run.tridiagonal().ritz()
    top, bottom = slice(None, -count - 1, -1), slice(None, count)
    return Extremes(values[top], values[bottom], bounds[top], bounds[bottom], run.steps)
