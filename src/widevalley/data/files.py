"""Where data files are: the folder WIDEVALLEY_DATA names, else the user cache and the network.

Every file is checked against its SHA-256 each time it is asked for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "WIDEVALLEY_DATA"


class DataUnavailable(RuntimeError):
    """A data file is absent or fails its checksum; the message is one line saying what to do."""


@dataclass(frozen=True)
class RemoteFile:
    """A public file: `path` below the data folder, `url` to get it from, its `sha256`."""

    path: str
    url: str
    sha256: str


def fetch(file: RemoteFile) -> Path:
    """The checked local copy of `file`.

    With WIDEVALLEY_DATA set, only that folder is looked at. Otherwise the user cache is, and
    what it lacks is downloaded into it (to a temporary name, renamed once its checksum fits).
    Raises DataUnavailable where the file is absent or is not what its checksum says.
    """
    folder = os.environ.get(VARIABLE)
    return _in_folder(file, Path(folder)) if folder else _in_cache(file)


def _in_folder(file: RemoteFile, folder: Path) -> Path:
    import pooch

    path = folder / file.path
    if not path.is_file():
        raise DataUnavailable(
            f"{path} is missing; it can be had from {file.url}, or unset {VARIABLE} to let "
            "widevalley download it"
        )
    if pooch.file_hash(str(path), alg="sha256") != file.sha256:
        raise DataUnavailable(
            f"{path} fails its checksum; replace it by the file from {file.url}, or unset "
            f"{VARIABLE} to let widevalley download it"
        )
    return path


def _in_cache(file: RemoteFile) -> Path:
    import pooch
    from requests.exceptions import RequestException

    path = Path(pooch.os_cache("widevalley")) / file.path
    try:
        pooch.retrieve(file.url, f"sha256:{file.sha256}", fname=path.name, path=path.parent)
    except RequestException as error:
        raise DataUnavailable(
            f"{path} is missing and {file.url} cannot be reached ({type(error).__name__}); "
            f"connect to the network, or set {VARIABLE} to a folder that holds {file.path}"
        ) from error
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataUnavailable(f"{file.url} cannot be stored as {path}: {reason}") from error
    return path
