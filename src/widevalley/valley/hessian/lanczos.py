"""Lanczos: a matrix known by its products, made tridiagonal from a start vector on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from widevalley.valley._memory import check_room
from widevalley.valley.hessian.operators import SymmetricOperator

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

    def __init__(self, operator: SymmetricOperator, start: Tensor, capacity: int) -> None:
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

    def tridiagonal(self) -> Tridiagonal:
        """What there is so far."""
        inner, last = self._off_diagonal[:-1], self._remainder
        rounding = ROUNDING * torch.finfo(self._operator.precision).eps * self._scale
        return Tridiagonal(np.array(self._diagonal), np.array(inner), last, rounding)

    @property
    def _scale(self) -> float:
        return max(map(abs, [*self._diagonal, *self._off_diagonal]))


def gaussian_start(operator: SymmetricOperator, generator: torch.Generator) -> Tensor:
    """A random direction (n,), in float64."""
    return torch.randn(operator.size, generator=generator, dtype=torch.float64)
