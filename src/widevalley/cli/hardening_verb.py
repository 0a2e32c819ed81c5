"""The verb that measures what weights withstand: harden."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from widevalley.cli.terminal import show
from widevalley.cli.verb import CONFIG, Verb, command
from widevalley.experiments import HardeningConfig, measure_hardening
from widevalley.report import find_runs, hardening_cells, rich_table, write_hardening


@dataclass(frozen=True, kw_only=True)
class Harden(Verb):
    """What the ends of runs withstand: rounding to few bits, noise, training on other data."""

    name: ClassVar[str] = "harden"
    needs: ClassVar[str] = "RUN FOLDERS"

    ends: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run folders, or folders with run folders inside; all of one recipe."""
    config: Annotated[HardeningConfig, *CONFIG] = field(default_factory=HardeningConfig)
    to: Path = Path("runs/hardening")
    """Folder for numbers and table; measures that stand there are not made again."""

    def run(self) -> None:
        """Measure, then show."""
        if not self.ends:
            raise self.incomplete()
        folders = [folder for name in self.ends for folder in find_runs(Path(name))]
        file = measure_hardening(folders, self.config, self.to, progress=print, command=command())
        show(rich_table(hardening_cells(file), "What the ends of runs withstand"))
        print(f"written: {file}\nwritten: {write_hardening(file)}")
