"""Every picture of a folder, drawn again from the numbers that stand beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from widevalley.experiments import PAPER
from widevalley.report.curves import draw_curves
from widevalley.report.flatness_figures import draw_flatness
from widevalley.report.groups import find_groups
from widevalley.report.landscape_figures import (
    draw_line,
    draw_planes,
    draw_slices,
    draw_toy,
    draw_traces,
)
from widevalley.report.paper_tables import draw_paper_figures
from widevalley.report.spectrum_figures import draw_density, draw_fisher, draw_spectrum
from widevalley.report.tournament_table import draw_tournament_of

BY_NAME: dict[str, Callable[[Path], list[Path]]] = {
    "spectrum.npz": draw_spectrum,
    "density.npz": draw_density,
    "fisher.npz": draw_fisher,
    "slices.npz": draw_slices,
    "line.npz": draw_line,
    "plane.npz": lambda file: draw_planes([file], file),
    "toy.npz": draw_toy,
    "flatness.json": draw_flatness,
    "tournament.json": lambda file: draw_tournament_of(file.parent),
    "curves.png": lambda file: _learning_curves(file),
    "figure-4.png": lambda file: draw_paper_figures(file.parent, list(PAPER.values())),
}
"""What a file's name says of what is in it, or beside it."""


def redraw(root: Path) -> tuple[list[Path], list[Path]]:
    """Draw again what has its numbers in `root` or below; returns those pictures, and the others.

    Raises ValueError naming a file that holds something else than its name says.
    """
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir())]
    drawn = {path for folder in folders for path in _redraw(folder)}
    every = {path for suffix in ("png", "svg") for path in root.rglob(f"*.{suffix}")}
    return sorted(drawn), sorted(every - drawn)


def _redraw(folder: Path) -> list[Path]:
    drawn = []
    for name, draw in BY_NAME.items():
        # A tournament's curves are of all methods, drawn by its own rule.
        if name == "curves.png" and (folder / "tournament.json").exists():
            continue
        if (folder / name).exists():
            drawn += draw(folder / name)
    around, walks = (sorted(folder.glob(f"{name}-*.npz")) for name in ("around", "gamma"))
    if around:
        drawn += draw_planes(around, folder / "around.npz")
    if walks:
        drawn += draw_traces(walks, folder)
    return drawn


def _learning_curves(file: Path) -> list[Path]:
    """The curves of the runs in the table beside them, in its order and under its title."""
    title, *lines = (file.parent / "table.md").read_text().splitlines()
    names = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    groups = [g for g in find_groups(file.parent, unfinished=True) if g.name in names]
    groups.sort(key=lambda group: names.index(group.name))
    draw_curves(groups, title.removeprefix("# "), file)
    return [file]
