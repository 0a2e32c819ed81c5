"""The verb that measures how flat the loss is: flatness."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from widevalley.cli.terminal import show
from widevalley.cli.verb import CONFIG, Verb, command
from widevalley.experiments import FlatnessConfig, load_flatness, measure_flatness
from widevalley.report import (
    draw_flatness,
    draw_traces,
    find_runs,
    flatness_cells,
    markdown_table,
    rich_table,
)


@dataclass(frozen=True, kw_only=True)
class MeasureFlatness(Verb):
    """Every measure of flatness at the ends of runs, side by side."""

    name: ClassVar[str] = "flatness"
    needs: ClassVar[str] = "RUN FOLDERS"

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run folders, or folders with run folders inside; all of one recipe."""
    config: Annotated[FlatnessConfig, *CONFIG] = field(default_factory=FlatnessConfig)
    to: Path = Path("runs/flatness")
    """Folder for numbers, traces, table and pictures; measures that stand there are not made
    again."""

    def run(self) -> None:
        """Measure, then show and draw."""
        if not self.runs:
            raise self.incomplete()
        folders = [folder for name in self.runs for folder in find_runs(Path(name))]
        file = measure_flatness(folders, self.config, self.to, progress=print, command=command())
        cells = flatness_cells(load_flatness(file))
        show(rich_table(cells, "Flatness"))
        table = file.with_name("table.md")
        table.write_text(markdown_table(cells))
        pictures = draw_flatness(file)
        # All walks of the folder, those of earlier calls too.
        for walks in sorted({trace.parent for trace in self.to.glob("traces/*/*.npz")}):
            pictures += draw_traces(sorted(walks.glob("*.npz")), walks)
        print("\n".join(f"written: {path}" for path in [file, table, *pictures]))
