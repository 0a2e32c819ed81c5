"""Arrays that take long to compute, kept in the user cache."""

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


def remembered(name: str, compute: Callable[[], Arrays]) -> Arrays:
    """The arrays kept as `name`.npz in the user cache, else what `compute` returns, kept there.

    `name` must tell apart everything that `compute` depends on. A file that does not fit the
    checksum inside it is computed again and replaced. Where the cache cannot be written the
    arrays are returned all the same, with a warning.
    """
    path = user_cache() / f"{name}.npz"
    kept = _read(path)
    if kept is not None:
        return kept
    arrays = compute()
    try:
        with atomic_write(path) as file:
            np.savez(file, checksum=_checksum(arrays), **arrays)  # type: ignore[arg-type]
    except OSError as error:
        warnings.warn(f"{path} cannot be kept for the next run: {error}", stacklevel=2)
    return arrays


def _read(path: Path) -> Arrays | None:
    try:
        with path.open("rb") as file, np.load(file) as kept:
            arrays = dict(kept)
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
