"""The verb that draws the loss around weights: landscape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from widevalley.cli.own_model import OwnModelFlags, asks_for_own_model, incomplete
from widevalley.cli.verb import CONFIG, UsageError, Verb, command
from widevalley.experiments import (
    End,
    LandscapeConfig,
    around,
    between,
    finished_run,
    slices_through,
)
from widevalley.plot import progress_bar
from widevalley.report import draw_line, draw_planes, draw_slices, draw_toy
from widevalley.valley.landscape import TOY_GAMMAS, Slice, toy_landscape

MOST = 3
"""Runs that a plane goes through."""


@dataclass(frozen=True, kw_only=True)
class _Landscape(Verb):
    config: Annotated[LandscapeConfig, *CONFIG] = field(default_factory=LandscapeConfig)
    to: Path = Path("runs/landscape")
    """Folder for numbers and pictures."""

    def draw(self, ends: Sequence[End]) -> None:
        """Draw slices through weights, or the line or plane through two or three."""
        self.to.mkdir(parents=True, exist_ok=True)
        if len(ends) == 1:
            file = _save(
                lambda **how: slices_through(ends[0], self.config, **how), self.to / "slices.npz"
            )
            written = [file, *draw_slices(file)]
        else:
            through = self.to / ("line.npz" if len(ends) == 2 else "plane.npz")
            _save(lambda **how: between(ends, self.config, **how), through)
            written = [through]
            if len(ends) == 2:
                files = [self._around(end, k) for k, end in enumerate(ends, start=1)]
                pictures = draw_planes(files, self.to / "around.npz")
                written += [*draw_line(through), *files, *pictures]
            else:
                written += draw_planes([through], through)
        print("\n".join(f"written: {path}" for path in written))

    def _around(self, end: End, k: int) -> Path:
        return _save(lambda **how: around(end, self.config, **how), self.to / f"around-{k}.npz")


@dataclass(frozen=True, kw_only=True)
class DrawLandscape(_Landscape):
    """The loss around and between ends of runs, drawn; or the toy landscape of Fig. 2.

    One RUN: 1-D slices along random directions and the top eigenvector. Two: the line between them,
    and a random plane around each. Three: the plane through them. With --model PKG.MODULE:FACTORY
    --data PKG.MODULE:LOADER [--checkpoint FILE ...] in the place of RUN, of checkpoints of a model
    of your own.
    """

    name: ClassVar[str] = "landscape"
    needs: ClassVar[str] = "toy, or one to three RUN FOLDERS,"

    ends: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="toy|RUN [RUN [RUN]]")
    ]
    """Each RUN is a run folder, or a recipe, of which the variant `paper` is taken, and trained
    where it is not yet."""
    runs: Path = Path("runs")
    """Where a recipe's run is, or is trained to."""

    @classmethod
    def chosen(cls, arguments: Sequence[str]) -> type[Verb]:
        """The toy landscape, and a model of one's own, have flags of their own."""
        if arguments[:1] == ["toy"]:
            return DrawToy
        return LandscapeOfModel if asks_for_own_model(arguments) else cls

    def run(self) -> None:
        """Draw what lies around and between the ends of runs."""
        if not 1 <= len(self.ends) <= MOST:
            raise self.incomplete()
        self.draw([finished_run(name, self.runs, command=command()) for name in self.ends])


@dataclass(frozen=True, kw_only=True)
class LandscapeOfModel(_Landscape):
    """The loss around and between one to three checkpoints of a model of your own, drawn.

    One: 1-D slices along random directions and the top eigenvector. Two: the line between them, and
    a random plane around each. Three: the plane through them.
    """

    name: ClassVar[str] = "landscape"

    own: Annotated[OwnModelFlags, *CONFIG]

    @classmethod
    def incomplete(cls) -> UsageError:
        """The error of `--model` alone."""
        return incomplete(cls.name)

    def run(self) -> None:
        """Draw what lies around and between checkpoints."""
        ends = self.own.ends()
        if len(ends) > MOST:
            raise ValueError(f"checkpoint: must be one to three, not {len(ends)}")
        self.draw(ends)


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
