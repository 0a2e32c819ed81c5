"""The verb that measures how flat the loss is: flatness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from widevalley.cli.own_model import OwnModelFlags, asks_for_own_model, incomplete
from widevalley.cli.terminal import show
from widevalley.cli.verb import CONFIG, UsageError, Verb, command
from widevalley.experiments import End, FlatnessConfig, load_flatness, measure_flatness
from widevalley.report import (
    draw_flatness,
    draw_traces,
    find_runs,
    flatness_cells,
    markdown_table,
    rich_table,
)


@dataclass(frozen=True, kw_only=True)
class _Flatness(Verb):
    config: Annotated[FlatnessConfig, *CONFIG] = field(default_factory=FlatnessConfig)
    to: Path = Path("runs/flatness")
    """Folder for numbers, traces, table and pictures; measures that stand there are not made
    again."""

    def measure(self, ends: Sequence[End]) -> None:
        """Measure, then show and draw."""
        file = measure_flatness(ends, self.config, self.to, progress=print, command=command())
        cells = flatness_cells(load_flatness(file))
        show(rich_table(cells, "Flatness"))
        table = file.with_name("table.md")
        table.write_text(markdown_table(cells))
        pictures = draw_flatness(file)
        # All walks of the folder, those of earlier calls too.
        for walks in sorted({trace.parent for trace in self.to.glob("traces/*/*.npz")}):
            pictures += draw_traces(sorted(walks.glob("*.npz")), walks)
        print("\n".join(f"written: {path}" for path in [file, table, *pictures]))


@dataclass(frozen=True, kw_only=True)
class MeasureFlatness(_Flatness):
    """Every measure of flatness at the ends of runs, side by side.

    With --model PKG.MODULE:FACTORY --data PKG.MODULE:LOADER [--checkpoint FILE ...] in the place of
    RUN, of the checkpoints of a model of your own.
    """

    name: ClassVar[str] = "flatness"
    needs: ClassVar[str] = "RUN FOLDERS"

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run folders, or folders with run folders inside; all of one recipe."""

    @classmethod
    def chosen(cls, arguments: Sequence[str]) -> type[Verb]:
        """A model of one's own has flags of its own."""
        return FlatnessOfModel if asks_for_own_model(arguments) else cls

    def run(self) -> None:
        """Measure the ends of runs."""
        if not self.runs:
            raise self.incomplete()
        self.measure([folder for name in self.runs for folder in find_runs(Path(name))])


@dataclass(frozen=True, kw_only=True)
class FlatnessOfModel(_Flatness):
    """Every measure of flatness of a model of your own, its checkpoints side by side."""

    name: ClassVar[str] = "flatness"

    own: Annotated[OwnModelFlags, *CONFIG]

    @classmethod
    def incomplete(cls) -> UsageError:
        """The error of `--model` alone."""
        return incomplete(cls.name)

    def run(self) -> None:
        """Measure the model with the weights of each checkpoint."""
        self.measure(self.own.ends())
