"""Arrays that take long to compute, stored in the user cache."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from widevalley._files import atomic_write
from widevalley.data.files import user_cache

Arrays = dict[str, NDArray[np.float32]]


def cached_arrays(name: str, compute: Callable[[], Arrays]) -> Arrays:
    """The arrays of `name`.npz in the user cache, else what `compute` returns, stored there.

    `name` must tell apart everything that `compute` depends on. A file that does not fit the
    checksum inside it is computed again and replaced. Where the cache cannot be written the
    arrays are returned all the same, with a warning.
    """
    path = user_cache() / f"{name}.npz"
    stored = _read(path)
    if stored is not None:
        return stored
    arrays = compute()
    try:
        with atomic_write(path) as file:
            np.savez(file, checksum=_checksum(arrays), **arrays)  # type: ignore[arg-type]
    except OSError as error:
        warnings.warn(f"{path} cannot be stored for the next run: {error}", stacklevel=2)
    return arrays


def _read(path: Path) -> Arrays | None:
    try:
        with path.open("rb") as file, np.load(file) as stored:
            arrays = dict(stored)
            checksum = arrays.pop("checksum")
    except Exception:  # np.load raises anything on a damaged file
        return None
    return arrays if np.array_equal(checksum, _checksum(arrays)) else None


def _checksum(arrays: Arrays) -> NDArray[np.uint8]:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return np.frombuffer(digest.digest(), dtype=np.uint8)
