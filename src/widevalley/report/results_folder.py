"""Where the runs lie that the claims are tested with.

ROOT holds `paper` (runs of `reproduce`: RECIPE/VARIANT/seed-N) and `studies` (runs of `sweep`:
RECIPE/sweeps/OPTIMIZER/SETTING=VALUE/seed-N; and of `flatness`: flatness/RECIPE).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from widevalley.experiments import PAPER, Flatness, load_flatness
from widevalley.report.groups import Group, diverged_in, folders_in, group_runs

PAIRS = (("paper", "baseline"), ("best", "tuned"))
"""Variants of Entropy-SGD or Entropy-Adam, each with the SGD or Adam it is compared with."""


@dataclass(frozen=True)
class ResultsFolder:
    """Finished runs of a results folder, found by what they are for."""

    root: Path

    def variant(self, recipe: str, name: str) -> Group | None:
        """The runs of a variant, if there are any."""
        groups = group_runs(folders_in(self.root / "paper" / recipe / name))
        return groups[0] if groups else None

    def pairs(self) -> Iterator[tuple[str, Group, Group]]:
        """Recipe, ours and the baseline it is compared with, where there are runs of both.

        Runs of a part of the recipe's epochs are named so: allcnn, 8 of 200 epochs.
        """
        for recipe in PAPER:
            for ours, theirs in PAIRS:
                a, b = self.variant(recipe, ours), self.variant(recipe, theirs)
                if a and b:
                    part = a.part_of(PAPER[recipe].variant(ours).epochs)
                    yield f"{recipe}, {part} epochs" if part else recipe, a, b

    def study(
        self, setting: str, optimizer: str = "entropy-sgd"
    ) -> Iterator[tuple[str, list[Group]]]:
        """By recipe, the groups of a sweep over one setting, in the order of its values."""
        for recipe in PAPER:
            folder = self.root / "studies" / recipe / "sweeps" / optimizer
            points = sorted(folder.glob(f"{setting}=*"), key=lambda p: value_of(p.name))
            groups = group_runs(run for point in points for run in folders_in(point))
            if groups:
                yield recipe, groups

    def flatness(self) -> Iterator[tuple[str, list[Flatness]]]:
        """By recipe, the measures at the ends of its runs."""
        for file in sorted(self.root.glob("studies/flatness/*/flatness.json")):
            yield file.parent.name, load_flatness(file)

    def every_run(self) -> list[Group]:
        """All finished runs of `paper` and `studies`."""
        parts = ("paper", "studies")
        files = [file for part in parts for file in self.root.glob(f"{part}/**/config.json")]
        kinds = sorted({file.parent.parent for file in files})
        return group_runs(folder for kind in kinds for folder in folders_in(kind))


def value_of(point: str) -> tuple[float, str]:
    """What points of a sweep, SETTING=VALUE, are ordered by: numbers, and the others after them."""
    text = point.partition("=")[2]
    try:
        return float(text), ""
    except ValueError:
        return math.inf, text


def diverged_points(groups: list[Group]) -> list[str]:
    """The points that diverged of the sweep that the groups are of, by value."""
    setting, _, _ = groups[0].name.partition("=")
    failed = diverged_in(groups[0].folders[0].path.parent.parent)
    names = {run.path.parent.name for run in failed}
    return sorted((name for name in names if name.startswith(f"{setting}=")), key=value_of)
