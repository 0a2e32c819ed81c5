"""Restarted Lanczos: both ends of a spectrum in memory that does not grow with the steps.

Where the space is full, the Ritz vectors nearest both ends are kept, with the remainder they share,
and the rest is dropped (thick restart: Wu and Simon, 2000; for symmetric matrices the same as
Krylov-Schur: Stewart, 2001). The projected matrix comes from the full orthogonalisation, so nothing
depends on its structure.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from widevalley.valley._memory import check_room
from widevalley.valley.hessian.lanczos import EXHAUSTED, ROUNDING, gaussian_start
from widevalley.valley.hessian.operators import SymmetricOperator

CHUNK = 2**20
"""Entries of a vector that are rotated at once, so that a restart needs no second space."""


class RestartedLanczos:
    """Lanczos from a vector in a space of bounded size, in float64 with full reorthogonalisation.

    Args:
        operator: any symmetric operator.
        start: (n,), not zero.
        capacity: vectors there is room for; more than n are never needed.
        kept: Ritz vectors at each end that survive a restart; twice that must be below capacity.
    """

    def __init__(
        self, operator: SymmetricOperator, start: Tensor, capacity: int, kept: int
    ) -> None:
        self._operator = operator
        capacity = min(capacity, operator.size)
        check_room(8 * (capacity + 2) * operator.size, operator.device)
        self._basis = torch.empty(
            capacity, operator.size, dtype=torch.float64, device=operator.device
        )
        start = start.to(self._basis)
        self._next = start / torch.linalg.vector_norm(start)
        self._projected = np.zeros((capacity, capacity))
        self._filled, self._kept, self._remainder = 0, kept, 1.0
        self._scale = 0.0
        self.steps = 0
        """Products spent."""

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to find from this start."""
        return self._remainder == 0 or self.complete

    @property
    def complete(self) -> bool:
        """Whether nothing is left to find at all."""
        return self._filled == self._operator.size

    def begin_anew(self) -> None:
        """Go on from a random vector where this start has nothing left to find.

        A start finds an eigenvalue of several dimensions once; one orthogonal to all that was found
        finds it once more.
        """
        generator = torch.Generator().manual_seed(self.steps)
        start = gaussian_start(self._operator, generator).to(self._basis)
        basis = self._basis[: self._filled]
        for _ in range(2):
            start -= basis.T @ (basis @ start)
        self._next, self._remainder = start / torch.linalg.vector_norm(start), 1.0

    def step(self) -> None:
        """Spend one product; where the space is full, restart first."""
        if self._filled == len(self._basis):
            self._restart()
        j = self._filled
        self._basis[j] = self._next
        basis = self._basis[: j + 1]
        w = (self._operator @ self._next.to(self._operator.dtype)).to(torch.float64)
        column = torch.zeros(j + 1, dtype=torch.float64, device=w.device)
        for _ in range(2):
            part = basis @ w
            w -= basis.T @ part
            column += part
        # Above the diagonal stands what the restart left, which is the same to rounding.
        self._projected[: j + 1, j] = self._projected[j, : j + 1] = column.cpu().numpy()
        norm = float(torch.linalg.vector_norm(w))
        self._scale = max(self._scale, float(column.abs().max()), norm)
        self._remainder = norm if norm > EXHAUSTED * self._scale else 0.0
        self._next = w / norm if norm else w
        self._filled, self.steps = j + 1, self.steps + 1

    def ritz(self) -> tuple[np.ndarray, np.ndarray]:
        """Ritz values ascending, and how far an eigenvalue may be from each."""
        values, vectors = self._eigen()
        rounding = ROUNDING * torch.finfo(self._operator.precision).eps * self._scale
        return values, rounding + self._remainder * np.abs(vectors[-1])

    def vectors(self, chosen: list[int]) -> Tensor:
        """Unit vectors (n, k) of the Ritz values with these numbers, ascending."""
        _, vectors = self._eigen()
        rotation = torch.from_numpy(vectors[:, chosen].copy()).to(self._basis)
        return self._basis[: self._filled].T @ rotation

    def _eigen(self) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = np.linalg.eigh(self._projected[: self._filled, : self._filled])
        return values, vectors

    def _restart(self) -> None:
        values, vectors = self._eigen()
        ends = [*range(self._kept), *range(len(values) - self._kept, len(values))]
        rotation = torch.from_numpy(vectors[:, ends].copy()).to(self._basis)
        for part in torch.split(self._basis, CHUNK, dim=1):
            part[: len(ends)] = rotation.T @ part
        self._filled = len(ends)
        self._projected[:] = 0
        self._projected[range(len(ends)), range(len(ends))] = values[ends]
