"""Runs that differ by their seed alone, and the numbers they give together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from widevalley.training import RunFolder


@dataclass(frozen=True)
class Summary:
    """Mean over seeds and its standard error, which is NaN for a single seed."""

    mean: float
    error: float

    def __str__(self) -> str:
        return self.shown(2)

    def shown(self, digits: int) -> str:
        """The mean ± the standard error, or the mean alone for a single seed."""
        if math.isnan(self.error):
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} ± {self.error:.{digits}f}"


def summarise(values: Iterable[float]) -> Summary:
    """Mean and standard error of the mean (with n - 1 in the variance)."""
    values = list(values)
    if len(values) < 2:
        return Summary(values[0], math.nan)
    return Summary(statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values)))


@dataclass(frozen=True)
class Group:
    """Finished runs of one kind."""

    name: str
    folders: tuple[RunFolder, ...]

    @property
    def split(self) -> str:
        """What the runs are judged by: "test" or "validation"."""
        return "validation" if self.folders[0].config["holdout"] else "test"

    def final(self, field: str) -> Summary:
        """A number of the runs' last records."""
        return summarise(folder.records[-1][field] for folder in self.folders)


def group_runs(folders: Iterable[RunFolder]) -> list[Group]:
    """Group finished runs by the folder they share, in the order they come; skip the others."""
    groups: dict[Path, list[RunFolder]] = {}
    for folder in folders:
        if folder.finished:
            groups.setdefault(folder.path.parent, []).append(folder)
    return [Group(path.name, tuple(members)) for path, members in groups.items()]


def find_groups(root: Path) -> list[Group]:
    """The finished runs at ROOT/NAME/seed-N, best mean error first.

    Raises ValueError where there is none.
    """
    found = sorted(root.glob("*/seed-*/config.json"), key=lambda file: _seed(file.parent))
    groups = group_runs(RunFolder(file.parent) for file in found)
    if not groups:
        raise ValueError(f"{root}: no finished run at NAME/seed-N below it")
    return sorted(groups, key=lambda group: group.final(f"{group.split}_error").mean)


def _seed(folder: Path) -> tuple[Path, int, str]:
    number = folder.name.removeprefix("seed-")
    return folder.parent, int(number) if number.isdigit() else -1, number
