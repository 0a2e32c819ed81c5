"""The verb that draws pictures again: pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from widevalley.cli.verb import Verb
from widevalley.report import redraw


@dataclass(frozen=True)
class Pictures(Verb):
    """Every picture of a folder, drawn again from the numbers that stand beside it."""

    name: ClassVar[str] = "pictures"
    needs: ClassVar[str] = "a FOLDER"

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Results or runs, with folders in it."""

    def run(self) -> None:
        """Draw, and say which pictures have no numbers."""
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder}: no such folder")
        drawn, others = redraw(self.folder)
        print("\n".join(f"drawn: {path}" for path in drawn))
        for path in others:
            print(f"left as it was, without numbers beside it: {path}")
