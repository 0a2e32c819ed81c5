"""The verb that draws the loss around weights: landscape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from widevalley.cli.flags import UsageError, command, leading, parse
from widevalley.cli.terminal import progress_bar
from widevalley.experiments import LandscapeConfig, around, between, finished_run, slices
from widevalley.report import draw_line, draw_planes, draw_slices, draw_toy
from widevalley.training import RunFolder
from widevalley.valley.landscape import TOY_GAMMAS, Slice, toy_landscape

Written = list[Path]
MOST = 3
"""Runs that a plane goes through."""


@dataclass(frozen=True)
class LandscapeFlags:
    """Flags of `landscape`."""

    config: Annotated[LandscapeConfig, tyro.conf.arg(name="")]
    runs: Path = Path("runs")
    """Where a recipe's run is, or is trained to."""
    to: Path = Path("runs/landscape")
    """Folder for numbers and pictures."""


@dataclass(frozen=True)
class ToyFlags:
    """Flags of `landscape toy`."""

    gammas: tuple[float, ...] = TOY_GAMMAS
    """Scopes; the smaller, the wider the view."""
    seed: int = 0
    """Keys the noise."""
    to: Path = Path("runs/landscape")
    """Folder for numbers and pictures."""


def landscape(arguments: list[str]) -> None:
    """Draw the toy landscape, slices through a run, or the line or plane through two or three."""
    names, flags = leading(arguments)
    written = _toy(flags) if names == ["toy"] else _runs(names, flags)
    print("\n".join(f"written: {path}" for path in written))


def _toy(flags: list[str]) -> Written:
    about = "A line with a narrow deep valley and a wide one, and its negative local entropies."
    told = parse(ToyFlags, ToyFlags(), flags, "landscape toy", about)
    found = toy_landscape(told.gammas, seed=told.seed)
    file = told.to / "toy.npz"
    told.to.mkdir(parents=True, exist_ok=True)
    found.save(file)
    return [file, *draw_toy(file)]


def _runs(names: list[str], flags: list[str]) -> Written:
    about = (
        "Each RUN is a run folder or a RECIPE, of which the variant `paper` is taken, and trained "
        "where it is not yet. One RUN: 1-D slices along random directions and the top eigenvector. "
        "Two: the line between them, and a random plane around each. Three: the plane through them."
    )
    default = LandscapeFlags(LandscapeConfig())
    told = parse(LandscapeFlags, default, flags, "landscape toy|RUN [RUN [RUN]]", about)
    if not 1 <= len(names) <= MOST:
        raise UsageError("landscape needs toy, or one to three RUN FOLDERS, right after it")
    runs = [finished_run(name, told.runs, command=command()) for name in names]
    told.to.mkdir(parents=True, exist_ok=True)
    if len(runs) == 1:
        file = _made(lambda **how: slices(runs[0], told.config, **how), told.to / "slices.npz")
        return [file, *draw_slices(file)]
    through = told.to / ("line.npz" if len(runs) == 2 else "plane.npz")
    _made(lambda **how: between(runs, told.config, **how), through)
    if len(runs) == MOST:
        return [through, *draw_planes([through], through)]
    files = [_around(run, told, k) for k, run in enumerate(runs, start=1)]
    pictures = draw_planes(files, told.to / "around.npz")
    return [through, *draw_line(through), *files, *pictures]


def _around(run: RunFolder, told: LandscapeFlags, k: int) -> Path:
    return _made(lambda **how: around(run, told.config, **how), told.to / f"around-{k}.npz")


def _made(make: Callable[..., Slice], file: Path) -> Path:
    with progress_bar("points") as bar:
        make(progress=bar, command=command()).save(file)
    return file
