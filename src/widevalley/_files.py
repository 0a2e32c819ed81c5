"""Files that are whole or not there at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PARTIAL = ".part"
"""Ends the name of a file that is being written."""


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that becomes `path` at the block's end, or nothing if the block fails.

    A process killed meanwhile leaves `path` as it was, and beside it a hidden file that ends in
    `.part`; see `remove_partial`. An OSError of a write, as of a full disk, names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own for each writer: two processes may write one path, and the last one wins.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            # Without this, a power failure may leave the new name on data that never arrived.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        # torch.save complains of its own state where a write has failed.
        failed = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(failed, OSError) and failed.filename is None:
            raise OSError(failed.errno, failed.strerror, str(path)) from error
        raise


def remove_partial(folder: Path) -> None:
    """Delete what killed writers left in `folder`, into which nobody may be writing now."""
    for file in folder.glob(f".*{PARTIAL}"):
        file.unlink(missing_ok=True)
