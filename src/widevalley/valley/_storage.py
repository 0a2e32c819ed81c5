"""Results of an instrument in one .npz file: arrays by name, and plain values as JSON."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from widevalley._files import atomic_write

PLAIN_VALUES = "told"
"""The array that holds the JSON. Files of every version have it under this name."""


T = TypeVar("T")


def write_arrays(file: Path, plain: dict[str, Any], **arrays: np.ndarray) -> None:
    """Write arrays and plain values; nothing needs executing to read them."""
    every: dict[str, Any] = {PLAIN_VALUES: np.array(json.dumps(plain)), **arrays}
    with atomic_write(Path(file)) as out:
        np.savez_compressed(out, **every)


def read_arrays(file: Path) -> dict[str, Any]:
    """The plain values and the arrays of `write_arrays`, by name.

    Raises ValueError naming the file where it is not one.
    """
    try:
        with np.load(file) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
        plain: dict[str, Any] = json.loads(str(arrays.pop(PLAIN_VALUES)))
    except (EOFError, KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file}: not a file of numbers written here ({error})") from error
    return arrays | plain


def read_as(kind: type[T], file: Path) -> T:
    """The result of this kind in a file of `write_arrays`, which has its fields.

    Raises ValueError naming the file where it holds none.
    """
    found = read_arrays(file)
    try:
        return kind(**found)
    except TypeError as error:
        raise ValueError(f"{file}: holds no {kind.__name__}, but {', '.join(found)}") from error
