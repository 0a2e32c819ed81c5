"""Arrays that take long to compute, stored in the user cache."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Callable

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
    # Anything may be wrong with the file, which is then as good as absent.
    with contextlib.suppress(Exception), path.open("rb") as raw, np.load(raw) as stored:
        arrays = dict(stored)
        if np.array_equal(arrays.pop("checksum"), _checksum(arrays)):
            return arrays
    arrays = compute()
    try:
        with atomic_write(path) as file:
            np.savez(file, checksum=_checksum(arrays), **arrays)  # type: ignore[arg-type]
    except OSError as error:
        warnings.warn(f"{path} cannot be stored for the next run: {error}", stacklevel=2)
    return arrays


def _checksum(arrays: Arrays) -> NDArray[np.uint8]:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return np.frombuffer(digest.digest(), dtype=np.uint8)
