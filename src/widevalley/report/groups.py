"""Runs that differ by their seed alone, and the numbers they give together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from widevalley.training import Metric, RunFolder, metric_of, result_of, split_of


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
    # One value has no standard error, and says so by NaN.
    if len(values) < 2:
        return Summary(values[0], math.nan)
    return Summary(statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values)))


PARTIAL = " (partial)"
"""Follows the name of runs that are not at their end."""


@dataclass(frozen=True)
class Group:
    """Runs of one kind, each with a record at the least."""

    name: str
    folders: tuple[RunFolder, ...]
    chosen_split: str = ""

    @property
    def split(self) -> str:
        """The split of the last records: the one chosen, or the test set if they have it.

        Raises ValueError where they were not evaluated on the one chosen.
        """
        if not self.chosen_split:
            return split_of(self.folders[0].records[-1])
        if f"{self.chosen_split}_loss" not in self.folders[0].records[-1]:
            raise ValueError(f"split={self.chosen_split}: {self.name} was not evaluated on it")
        return self.chosen_split

    @property
    def monitored_split(self) -> str:
        """The split that every record has."""
        return split_of(self.folders[0].records[0])

    @property
    def metric(self) -> Metric:
        """What they are evaluated by."""
        return metric_of(self.folders[0].records[-1])

    def final(self, field: str) -> Summary:
        """A number of the runs' last records."""
        return summarise(folder.records[-1][field] for folder in self.folders)

    def part_of(self, whole: float) -> str:
        """Epochs given and the `whole` of the recipe, as 8 of 200; "" where they agree."""
        given = self.folders[0].config.get("epochs", whole)
        return f"{given:,.4g} of {whole:,.4g}" if given < whole else ""

    def result(self, split: str | None = None) -> Summary:
        """Their metric, at the last records."""
        return summarise(result_of(f.records[-1], split or self.split) for f in self.folders)


def group_runs(folders: Iterable[RunFolder], *, unfinished: bool = False) -> list[Group]:
    """Group finished runs by the folder they share, in the order they come; skip the others.

    With `unfinished`, those that have a record make groups of their own, marked as partial.
    """
    groups: dict[tuple[Path, bool], list[RunFolder]] = {}
    for folder in folders:
        # Partial runs stand apart: a mean over them and finished ones would be of nothing.
        if folder.finished or (unfinished and folder.records):
            groups.setdefault((folder.path.parent, folder.finished), []).append(folder)
    return [
        Group(path.name + ("" if finished else PARTIAL), tuple(members))
        for (path, finished), members in groups.items()
    ]


def folders_in(root: Path) -> list[RunFolder]:
    """The runs at ROOT/seed-N, by seed."""

    def seed(folder: Path) -> tuple[int, str]:
        # As a number, so that seed-10 follows seed-9; other names come first.
        number = folder.name.removeprefix("seed-")
        return int(number) if number.isdigit() else -1, number

    found = (file.parent for file in root.glob("seed-*/config.json"))
    return [RunFolder(path) for path in sorted(found, key=seed)]


def find_runs(path: Path) -> list[RunFolder]:
    """The run of a folder, or those at seed-N below it. Raises ValueError where there is none."""
    folder = RunFolder(path)
    folders = [folder] if folder.begun else folders_in(path)
    if not folders:
        raise ValueError(f"{path}: neither a run folder nor one with runs at seed-N")
    return folders


def diverged_in(root: Path) -> list[RunFolder]:
    """The runs at ROOT/NAME/seed-N that diverged."""
    kinds = sorted(path for path in root.glob("*") if path.is_dir())
    return [folder for path in kinds for folder in folders_in(path) if folder.diverged]


def find_groups(root: Path, *, unfinished: bool = False, split: str = "") -> list[Group]:
    """The finished runs at ROOT/NAME/seed-N, the best mean first; with `unfinished` all others too.

    They are evaluated on `split`, or where it is empty on the test set if they have it. Raises
    ValueError where there is no run, or one was not evaluated on that split.
    """
    kinds = sorted(path for path in root.glob("*") if path.is_dir())
    groups = group_runs((f for path in kinds for f in folders_in(path)), unfinished=unfinished)
    if not groups:
        raise ValueError(f"{root}: no finished run at NAME/seed-N below it")
    groups = [replace(group, chosen_split=split) for group in groups]
    return sorted(groups, key=lambda group: group.result().mean)
