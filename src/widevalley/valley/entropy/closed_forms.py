r"""Local entropy where it is exact: by quadrature in one or two dimensions, and of quadratics.

With an inverse temperature \beta (the paper's is 1),

    F(x, \gamma) = (1/\beta) \log \int \exp(-\beta [f(x') + \gamma/2 \|x - x'\|^2]) dx',

whose gradient is -\gamma (x - <x'>).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from widevalley.valley._validation import check_positive


def local_entropy_on_grid(
    values: Tensor, axes: Sequence[Tensor], gamma: float, *, beta: float = 1.0
) -> Tensor:
    r"""F at every point of a grid, by summing over the grid.

    The integral is over the grid's box, so points nearer to its edge than a few
    1/\sqrt{\beta \gamma} miss what lies outside. The Gaussian separates, so d axes of m points
    cost d m^{d+1}.

    Args:
        values: f on the grid, shape (len(axes[0]), ...), one or two dimensions.
        axes: the evenly spaced coordinates of each dimension, ascending.
        gamma: the scope.
        beta: the inverse temperature.

    Returns:
        F, of the shape of `values`, float64.

    Raises:
        ValueError: shapes that do not match, uneven axes, gamma or beta not above 0.
    """
    check_positive(gamma=gamma, beta=beta)
    if values.dim() not in (1, 2) or values.shape != tuple(len(axis) for axis in axes):
        raise ValueError(
            f"values: must be of shape {tuple(len(axis) for axis in axes)} in one or two "
            f"dimensions, not {tuple(values.shape)}"
        )
    total = -beta * values.double()
    for dimension, axis in enumerate(axes):
        axis = axis.double()
        spacing = axis.diff()
        even = len(spacing) and torch.allclose(spacing, spacing[:1].expand_as(spacing), rtol=1e-6)
        if not even or spacing[0] <= 0:
            raise ValueError(f"axes[{dimension}]: must be evenly spaced, ascending, of two or more")
        kernel = -0.5 * beta * gamma * (axis[:, None] - axis[None, :]).square()
        moved = total.movedim(dimension, -1)
        summed = torch.logsumexp(moved[..., None, :] + kernel, dim=-1) + spacing[0].log()
        total = summed.movedim(-1, dimension)
    return total / beta


class QuadraticLoss:
    r"""f(x) = c + 1/2 (x - m)^T H (x - m), whose local entropy is closed.

    With A = H + \gamma I, F is

        -c - \gamma/2 d^T H A^{-1} d - (1/2\beta) \log\det A + (n/2\beta) \log(2\pi/\beta)

    at d = x - m, and <x'> = m + \gamma A^{-1} d.

    Args:
        hessian: H, (n, n), symmetric; it may have negative eigenvalues above -gamma.
        minimum: m, (n,).
        value: c.
    """

    def __init__(self, hessian: Tensor, minimum: Tensor, value: float = 0.0) -> None:
        self.hessian, self.minimum, self.value = hessian.double(), minimum.double(), value

    def __call__(self, x: Tensor) -> Tensor:
        """f at points (..., n)."""
        away = x.double() - self.minimum
        return self.value + 0.5 * ((away @ self.hessian) * away).sum(dim=-1)

    def local_entropy(self, x: Tensor, gamma: float, *, beta: float = 1.0) -> float:
        """F at a point.

        Raises ValueError where an eigenvalue of H is at or below -gamma: the integral diverges.
        """
        check_positive(beta=beta)
        away, n = x.double() - self.minimum, len(self.minimum)
        eigenvalues, vectors = torch.linalg.eigh(self.hessian)
        self._check_scope(gamma, eigenvalues)
        along = vectors.T @ away
        pull = 0.5 * gamma * (eigenvalues / (eigenvalues + gamma) * along.square()).sum()
        volume = (eigenvalues + gamma).log().sum() - n * math.log(2 * math.pi / beta)
        return float(-self.value - pull - volume / (2 * beta))

    def mean(self, x: Tensor, gamma: float) -> Tensor:
        """<x'>, at any temperature. Raises ValueError where `local_entropy` does."""
        self._check_scope(gamma, torch.linalg.eigvalsh(self.hessian))
        scope = gamma * torch.eye(len(self.minimum), dtype=torch.float64)
        pulled = gamma * (x.double() - self.minimum)
        away: Tensor = torch.linalg.solve(self.hessian + scope, pulled)
        return self.minimum + away

    def _check_scope(self, gamma: float, eigenvalues: Tensor) -> None:
        check_positive(gamma=gamma)
        if eigenvalues[0] <= -gamma:
            raise ValueError(
                f"gamma={gamma}: must be above {-float(eigenvalues[0])}, minus the least eigenvalue"
            )

    def gradient(self, x: Tensor, gamma: float) -> Tensor:
        """The gradient of F: -gamma (x - <x'>)."""
        return -gamma * (x.double() - self.mean(x, gamma))
