"""Eigenvalues of a symmetric matrix in its own memory, for matrices that fill the machine.

LAPACK's two-stage reduction with 64-bit integers works in place with a few MB beside the matrix;
SciPy's and torch's routines, which copy or index by 32 bits, follow where it is not found.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from widevalley.valley.hessian._openblas import syevd_2stage

LARGEST_32_BIT = 46_340
"""Side of the largest matrix whose entries 32-bit integers count."""


class SpectrumError(ArithmeticError):
    """The eigenvalues of a matrix could not be had, or what came out is not to be believed."""


def eigenvalues_(matrix: Tensor) -> Tensor:
    """All eigenvalues of a symmetric matrix, ascending; the matrix is destroyed.

    Args:
        matrix: (n, n), float32 or float64, contiguous; only its lower triangle is read.

    Raises:
        ValueError: another shape, dtype or layout.
        SpectrumError: no convergence, or the matrix is not finite.
    """
    square = matrix.dim() == 2 and matrix.shape[0] == matrix.shape[1]
    numbers = matrix.dtype in (torch.float32, torch.float64)
    if not (square and numbers and matrix.is_contiguous()):
        raise ValueError(
            f"matrix: must be square, contiguous, float32 or float64, not {tuple(matrix.shape)} "
            f"of {matrix.dtype}"
        )
    if matrix.device.type != "cpu":
        return _by_torch(matrix)
    if len(matrix) == 0:
        return matrix.new_empty(0)
    found = syevd_2stage(matrix)
    if found is None:
        return _by_scipy(matrix)
    values, info = found
    if info or not bool(torch.isfinite(values).all()):
        raise SpectrumError(f"syevd_2stage: info {info}; {len(matrix)} rows have no eigenvalues")
    return values


def _by_scipy(matrix: Tensor) -> Tensor:
    try:
        from scipy.linalg import eigvalsh
    except ModuleNotFoundError:
        return _by_torch(matrix)
    if len(matrix) > LARGEST_32_BIT:
        raise SpectrumError(
            f"a matrix of {len(matrix)} needs LAPACK with 64-bit integers, which this NumPy lacks; "
            "NumPy's own wheels have it"
        )
    try:
        values = eigvalsh(matrix.numpy().T, lower=False, overwrite_a=True)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise SpectrumError(str(error)) from None
    return torch.from_numpy(values)


def _by_torch(matrix: Tensor) -> Tensor:
    try:
        values: Tensor = torch.linalg.eigvalsh(matrix)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise SpectrumError(str(error)) from None
    return values
