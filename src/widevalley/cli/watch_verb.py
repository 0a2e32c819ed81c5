"""The verb that follows runs from another terminal."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from rich.console import Console
from rich.live import Live

from widevalley.cli.terminal import show
from widevalley.cli.verb import UsageError, Verb
from widevalley.report import rich_table, running_cells


@dataclass(frozen=True)
class Watch(Verb):
    """Runs as they train, by whichever process: how far, at what loss, how long yet.

    Ends when they all have; Ctrl-C ends it before, and no run. Where the output is no terminal,
    one table is shown.
    """

    name: ClassVar[str] = "watch"
    needs: ClassVar[str] = "a FOLDER"

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Has runs in it, at any depth."""
    every: float = 2.0
    """Seconds between looks."""

    def run(self) -> None:
        """Show the runs until they are at their end."""
        if not self.every >= 0.1:
            raise UsageError(f"every={self.every}: must be at least 0.1 seconds")
        cells, ended = running_cells(self.folder)
        if not Console().is_terminal:
            show(rich_table(cells, str(self.folder)))
            return
        with Live(rich_table(cells, str(self.folder)), auto_refresh=False) as live:
            while not ended:
                time.sleep(self.every)
                cells, ended = running_cells(self.folder)
                live.update(rich_table(cells, str(self.folder)), refresh=True)
