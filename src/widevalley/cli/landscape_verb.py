"""The verb that draws the loss around weights: landscape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from widevalley.cli.verb import CONFIG, Verb, command
from widevalley.experiments import LandscapeConfig, around, between, finished_run, slices_through
from widevalley.plot import progress_bar
from widevalley.report import draw_line, draw_planes, draw_slices, draw_toy
from widevalley.training import RunFolder
from widevalley.valley.landscape import TOY_GAMMAS, Slice, toy_landscape

MOST = 3
"""Runs that a plane goes through."""


@dataclass(frozen=True, kw_only=True)
class DrawLandscape(Verb):
    """The loss around and between the ends of runs, drawn; or the toy landscape of Fig. 2.

    One RUN: 1-D slices along random directions and the top eigenvector. Two: the line between them,
    and a random plane around each. Three: the plane through them.
    """

    name: ClassVar[str] = "landscape"
    needs: ClassVar[str] = "toy, or one to three RUN FOLDERS,"

    ends: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="toy|RUN [RUN [RUN]]")
    ]
    """Each RUN is a run folder, or a recipe, of which the variant `paper` is taken, and trained
    where it is not yet."""
    config: Annotated[LandscapeConfig, *CONFIG] = field(default_factory=LandscapeConfig)
    runs: Path = Path("runs")
    """Where a recipe's run is, or is trained to."""
    to: Path = Path("runs/landscape")
    """Folder for numbers and pictures."""

    @classmethod
    def chosen(cls, arguments: Sequence[str]) -> type[Verb]:
        """The toy landscape has flags of its own."""
        return DrawToy if arguments[:1] == ["toy"] else cls

    def run(self) -> None:
        """Draw slices through a run, or the line or plane through two or three."""
        if not 1 <= len(self.ends) <= MOST:
            raise self.incomplete()
        runs = [finished_run(name, self.runs, command=command()) for name in self.ends]
        self.to.mkdir(parents=True, exist_ok=True)
        if len(runs) == 1:
            file = _save(
                lambda **how: slices_through(runs[0], self.config, **how), self.to / "slices.npz"
            )
            written = [file, *draw_slices(file)]
        else:
            through = self.to / ("line.npz" if len(runs) == 2 else "plane.npz")
            _save(lambda **how: between(runs, self.config, **how), through)
            written = [through]
            if len(runs) == 2:
                files = [self._around(run, k) for k, run in enumerate(runs, start=1)]
                pictures = draw_planes(files, self.to / "around.npz")
                written += [*draw_line(through), *files, *pictures]
            else:
                written += draw_planes([through], through)
        print("\n".join(f"written: {path}" for path in written))

    def _around(self, run: RunFolder, k: int) -> Path:
        return _save(lambda **how: around(run, self.config, **how), self.to / f"around-{k}.npz")


@dataclass(frozen=True, kw_only=True)
class DrawToy(Verb):
    """A line with a narrow deep valley and a wide one, and its negative local entropies."""

    name: ClassVar[str] = "landscape"

    toy: Annotated[Literal["toy"], tyro.conf.Positional]
    gammas: tuple[float, ...] = TOY_GAMMAS
    """Scopes; the smaller, the wider the view."""
    seed: int = 0
    """Keys the noise."""
    to: Path = Path("runs/landscape")
    """Folder for numbers and pictures."""

    def run(self) -> None:
        """Compute and draw the toy landscape."""
        found = toy_landscape(self.gammas, seed=self.seed)
        file = self.to / "toy.npz"
        self.to.mkdir(parents=True, exist_ok=True)
        found.save(file)
        print("\n".join(f"written: {path}" for path in [file, *draw_toy(file)]))


def _save(compute: Callable[..., Slice], file: Path) -> Path:
    with progress_bar("points") as bar:
        compute(progress=bar, command=command()).save(file)
    return file
