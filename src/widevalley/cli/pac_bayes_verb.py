"""The verb that bounds the risk of what runs end in: pac-bayes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from widevalley.cli.terminal import show
from widevalley.cli.verb import CONFIG, Verb, command
from widevalley.experiments import PacBayesConfig, measure_pac_bayes
from widevalley.report import find_runs, pac_bayes_cells, rich_table, write_pac_bayes


@dataclass(frozen=True, kw_only=True)
class BoundRisk(Verb):
    """PAC-Bayes bounds at the ends of runs at a temperature, beside the errors they bound."""

    name: ClassVar[str] = "pac-bayes"
    needs: ClassVar[str] = "RUN FOLDERS"

    ends: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run folders, or folders with run folders inside, of recipes whose loss is bounded."""
    config: Annotated[PacBayesConfig, *CONFIG] = field(default_factory=PacBayesConfig)
    to: Path = Path("runs/pac-bayes")
    """Folder for numbers and table; bounds that stand there are not computed again."""

    def run(self) -> None:
        """Bound, then show."""
        if not self.ends:
            raise self.incomplete()
        folders = [folder for name in self.ends for folder in find_runs(Path(name))]
        file = measure_pac_bayes(folders, self.config, self.to, progress=print, command=command())
        show(rich_table(pac_bayes_cells(file), "PAC-Bayes bounds"))
        print(f"written: {file}\nwritten: {write_pac_bayes(file)}")
