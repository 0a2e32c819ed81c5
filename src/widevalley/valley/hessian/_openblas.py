"""LAPACK's `syevd_2stage` with 64-bit integers, out of the OpenBLAS that NumPy's wheels bring."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROUTINES = {torch.float64: "scipy_dsyevd_2stage_64_", torch.float32: "scipy_ssyevd_2stage_64_"}


def syevd_2stage(matrix: Tensor) -> tuple[Tensor, int] | None:
    """Eigenvalues of a matrix in its own memory and LAPACK's `info`; None where NumPy has no such.

    Why private symbols, by ctypes: this is the one routine at hand that reduces a symmetric matrix
    of more than 46,340 rows (2^31 entries) without a copy. SciPy and torch bind LAPACK with 32-bit
    integers, and NumPy binds the one-stage routine alone, through a copy. The symbols are no
    interface of NumPy's and may go with any release: every caller needs a second way, and takes it
    on None.
    """
    routine = _symbol(ROUTINES[matrix.dtype])
    if routine is None:
        return None
    set_threads = _symbol("scipy_openblas_set_num_threads64_")
    if set_threads:
        set_threads(torch.get_num_threads())
    n = len(matrix)
    values = torch.empty(n, dtype=matrix.dtype)
    # A call with sizes of -1 asks how much work space the next one needs.
    size_query = torch.empty(1, dtype=matrix.dtype)
    integer_query = torch.empty(1, dtype=torch.int64)
    _call(routine, matrix, values, size_query, -1, integer_query, -1)
    # The optimal size comes back as a number of the matrix's type, which may round it down.
    size, integers = int(size_query.item() * 1.001) + 64, int(integer_query.item())
    work = torch.empty(size, dtype=matrix.dtype)
    integer_work = torch.empty(max(integers, 1), dtype=torch.int64)
    return values, _call(routine, matrix, values, work, size, integer_work, integers)


@cache
def _symbol(name: str) -> Any:
    folder = Path(np.__file__).parent
    for home in (folder.with_name("numpy.libs"), folder / ".dylibs"):
        for file in sorted(home.glob("*openblas64*")):
            found = getattr(ctypes.CDLL(str(file)), name, None)
            if found:
                return found
    return None


def _call(
    routine: Any,
    matrix: Tensor,
    values: Tensor,
    work: Tensor,
    size: int,
    integer_work: Tensor,
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
        *(integer(len(matrix)), data(values), data(work), integer(size), data(integer_work)),
        *(integer(integer_size), ctypes.byref(info), ctypes.c_size_t(1), ctypes.c_size_t(1)),
    )
    return info.value
