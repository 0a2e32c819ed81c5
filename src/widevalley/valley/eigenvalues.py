"""Eigenvalues of a symmetric matrix in its own memory, for matrices that fill the machine.

LAPACK's two-stage reduction with 64-bit integers, `syevd_2stage`, works in place with a few MB
beside the matrix. NumPy's wheels carry it in their OpenBLAS but bind only the one-stage form
through a copy, so it is called there; SciPy's and torch's, which copy or index by 32 bits, follow
where it is not found.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

NAMES = {torch.float64: "scipy_dsyevd_2stage_64_", torch.float32: "scipy_ssyevd_2stage_64_"}
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
    if not (square and matrix.dtype in NAMES and matrix.is_contiguous()):
        raise ValueError(
            f"matrix: must be square, contiguous, float32 or float64, not {tuple(matrix.shape)} "
            f"of {matrix.dtype}"
        )
    if matrix.device.type != "cpu":
        return _by_torch(matrix)
    if len(matrix) == 0:
        return matrix.new_empty(0)
    routine = lapack_routine(NAMES[matrix.dtype])
    set_threads = lapack_routine("scipy_openblas_set_num_threads64_")
    if set_threads:
        set_threads(torch.get_num_threads())
    if routine:
        return _in_place(matrix, routine)
    return _by_scipy(matrix)


@cache
def lapack_routine(name: str) -> Any:
    """The routine of this name in NumPy's OpenBLAS, or None."""
    folder = Path(np.__file__).parent
    for home in (folder.with_name("numpy.libs"), folder / ".dylibs"):
        for file in sorted(home.glob("*openblas64*")):
            routine = getattr(ctypes.CDLL(str(file)), name, None)
            if routine:
                return routine
    return None


def _in_place(matrix: Tensor, routine: Any) -> Tensor:
    n = len(matrix)
    values = torch.empty(n, dtype=matrix.dtype)
    ask, ask_integers = torch.empty(1, dtype=matrix.dtype), torch.empty(1, dtype=torch.int64)
    _call(routine, matrix, values, ask, -1, ask_integers, -1)
    # The optimal size comes back as a number of the matrix's type, which may round it down.
    size, integers = int(ask.item() * 1.001) + 64, int(ask_integers.item())
    work = torch.empty(size, dtype=matrix.dtype)
    work_integers = torch.empty(max(integers, 1), dtype=torch.int64)
    failed = _call(routine, matrix, values, work, size, work_integers, integers)
    if failed or not bool(torch.isfinite(values).all()):
        raise SpectrumError(f"syevd_2stage: info {failed}; the matrix of {n} has no eigenvalues")
    return values


def _call(
    routine: Any,
    matrix: Tensor,
    values: Tensor,
    work: Tensor,
    size: int,
    integers: Tensor,
    integer_size: int,
) -> int:
    info = ctypes.c_int64(0)

    def integer(value: int) -> Any:
        return ctypes.byref(ctypes.c_int64(value))

    def data(tensor: Tensor) -> Any:
        return ctypes.c_void_p(tensor.data_ptr())

    # Fortran reads by columns: its upper triangle is our lower one. The lengths of the two
    # strings come last.
    routine(
        *(ctypes.c_char_p(b"N"), ctypes.c_char_p(b"U"), integer(len(matrix)), data(matrix)),
        *(integer(len(matrix)), data(values), data(work), integer(size), data(integers)),
        *(integer(integer_size), ctypes.byref(info), ctypes.c_size_t(1), ctypes.c_size_t(1)),
    )
    return info.value


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
