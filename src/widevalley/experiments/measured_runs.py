"""Measures of several runs in one JSON file: each is written as soon as it is made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

from filelock import FileLock

from widevalley._files import atomic_write


class Measured(Protocol):
    """What is measured of one run, a dataclass."""

    @property
    def run(self) -> str:
        """Its name and seed."""

    @property
    def facts(self) -> dict[str, Any]:
        """What it depends on."""


M = TypeVar("M", bound=Measured)
R = TypeVar("R")
Progress = Callable[[str], None]


def rewriting(file: Path) -> FileLock:
    """A block that reads a file and writes it anew, one process after another."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(file.with_name(f".{file.name}.lock"))


def write_measures(found: Sequence[Any], file: Path) -> None:
    """Write dataclasses to a file which others may be reading."""
    with atomic_write(file) as out:
        out.write((json.dumps([asdict(one) for one in found], indent=1) + "\n").encode())


def load_measures(kind: type[M], file: Path) -> list[M]:
    """What `write_measures` wrote. Raises ValueError naming the file where it is not that."""
    try:
        return [kind(**each) for each in json.loads(file.read_text())]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: not a file of such measures ({error!r})") from error


def plain_settings(config: Any) -> dict[str, Any]:
    """Settings as a file has them: JSON has lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain


def by_name(names: Sequence[str], runs: Sequence[R]) -> dict[str, R]:
    """Runs by the names that tell their measures apart; ValueError where two have one."""
    if len(set(names)) < len(names):
        raise ValueError(f"runs: two have one name and seed, {', '.join(sorted(names))}")
    return dict(zip(names, runs, strict=True))


def measure_missing(
    names: Sequence[str],
    measure: Callable[[str], M],
    file: Path,
    facts: Mapping[str, Any],
    load: Callable[[Path], list[M]],
    *,
    write: Callable[[Sequence[M], Path], None] = write_measures,
    progress: Progress | None = None,
) -> Path:
    """Measure the runs that are not in the file yet, and return it.

    Processes that measure different runs may do so into one file at the same time. `progress` is
    told each run as it begins, and about how long the rest will take.

    Raises ValueError where the file holds measures with other `facts`.
    """

    def found() -> list[M]:
        return load(file) if file.exists() else []

    there = found()
    for each in there:
        if {name: each.facts[name] for name in facts} != facts:
            raise ValueError(f"{file}: holds measures by other settings or of another recipe")
    missing = [name for name in names if name not in {each.run for each in there}]
    began = time.monotonic()
    for k, name in enumerate(missing):
        if progress:
            left = (time.monotonic() - began) / max(k, 1) * (len(missing) - k)
            time_left = f", about {timedelta(seconds=round(left))} left" if k else ""
            progress(f"{name} ({k + 1} of {len(missing)}{time_left})")
        one = measure(name)
        with rewriting(file):  # read again: another process may have added its runs meanwhile
            write([*(each for each in found() if each.run != name), one], file)
    return file
