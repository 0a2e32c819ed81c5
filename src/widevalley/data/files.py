"""Where data files are: the folder WIDEVALLEY_DATA names, else the user cache and the network.

Every file is checked against its SHA-256 each time it is asked for.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from widevalley._files import atomic_write

VARIABLE = "WIDEVALLEY_DATA"


class DataUnavailable(RuntimeError):
    """A data file is absent or fails its checksum; the message is one line saying what to do."""


@dataclass(frozen=True)
class RemoteFile:
    """A public file: `path` below the data folder, `url` to get it from, its `sha256`."""

    path: str
    url: str
    sha256: str


@dataclass(frozen=True)
class RemoteArchive:
    """A public tar file: `url`, `checksum` ("md5:..."), and the `members` wanted from it.

    A member's `path` is its name in the archive and below the data folder, its `url` the
    archive's.
    """

    url: str
    checksum: str
    members: tuple[RemoteFile, ...]


def fetch(file: RemoteFile) -> Path:
    """The checked local copy of `file`.

    With WIDEVALLEY_DATA set, only that folder is looked at. Otherwise the user cache is, and
    what it lacks is downloaded into it (to a temporary name, renamed once its checksum fits).
    Raises DataUnavailable where the file is absent or is not what its checksum says.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        path = user_cache() / file.path
        _download(file.url, f"sha256:{file.sha256}", path, file.path)
        return path
    # A folder that was named is neither written to nor passed over for the network.
    path = Path(named) / file.path
    if _is_whole(path, file):
        return path
    wrong, remedy = "is missing", f"it can be had from {file.url}"
    if path.is_file():
        wrong, remedy = "fails its checksum", f"replace it by the file from {file.url}"
    raise DataUnavailable(
        f"{path} {wrong}; {remedy}, or unset {VARIABLE} to let widevalley download it"
    )


def fetch_members(archive: RemoteArchive) -> list[Path]:
    """The checked local copies of an archive's members, as `fetch` would give them.

    Where the user cache lacks one, the archive is downloaded, its members are put there each
    under its final name once its checksum fits, and the archive is deleted.
    """
    if os.environ.get(VARIABLE):
        return [fetch(member) for member in archive.members]
    cache = user_cache()
    missing = [m for m in archive.members if not _is_whole(cache / m.path, m)]
    if missing:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                path = Path(scratch) / "archive"
                _download(archive.url, archive.checksum, path, missing[0].path)
                _unpack(path, missing, cache)
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            reason = " ".join(str(error).split())
            raise DataUnavailable(
                f"{archive.url} cannot be unpacked into {cache}: {reason}"
            ) from error
    return [cache / member.path for member in archive.members]


def user_cache() -> Path:
    """The folder of downloads and of what is made from them."""
    import pooch

    return Path(pooch.os_cache("widevalley"))


def _is_whole(path: Path, file: RemoteFile) -> bool:
    import pooch

    return path.is_file() and pooch.file_hash(str(path), alg="sha256") == file.sha256


def _download(url: str, checksum: str, path: Path, wanted: str) -> None:
    # pooch writes to a temporary name and renames it once the checksum fits. Both are imported
    # here, as they are slow to import and mostly not needed.
    import pooch
    from requests.exceptions import RequestException

    try:
        pooch.retrieve(url, checksum, fname=path.name, path=path.parent)
    except RequestException as error:
        raise DataUnavailable(
            f"{wanted} is not in {user_cache()} and {url} cannot be reached "
            f"({type(error).__name__}); connect to the network, or set {VARIABLE} to a folder "
            "that holds it"
        ) from error
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataUnavailable(f"{url} cannot be stored as {path}: {reason}") from error


def _unpack(path: Path, members: Sequence[RemoteFile], folder: Path) -> None:
    wanted = {member.path: member for member in members}
    with tarfile.open(path) as tar:
        for entry in tar:
            member = wanted.pop(entry.name, None)
            if member is None:
                continue
            # Read whole before anything is written; extracting would trust the names in the tar.
            source = tar.extractfile(entry)
            content = source.read() if source else b""
            if hashlib.sha256(content).hexdigest() != member.sha256:
                raise DataUnavailable(f"{member.path} in {member.url} fails its checksum")
            with atomic_write(folder / member.path) as target:
                target.write(content)
    for member in wanted.values():
        raise DataUnavailable(f"{member.path} is not in {member.url}")
