"""The verb that measures how flat the loss is: flatness."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from widevalley.cli.flags import UsageError, command, leading, parse
from widevalley.cli.terminal import show
from widevalley.experiments import FlatnessConfig, load_flatness, measure_flatness
from widevalley.report import (
    draw_flatness,
    draw_traces,
    flatness_cells,
    folders_in,
    markdown_table,
    rich_table,
)
from widevalley.training import RunFolder


@dataclass(frozen=True)
class FlatnessFlags:
    """Flags of `flatness`."""

    config: Annotated[FlatnessConfig, tyro.conf.arg(name="")]
    to: Path = Path("runs/flatness")
    """Folder for numbers, traces, table and pictures; measures that stand there are not made
    again."""


def flatness(arguments: list[str]) -> None:
    """Measure how flat the loss is at the ends of runs, and show them side by side."""
    names, flags = leading(arguments)
    about = "Each RUN is a run folder, or one with run folders inside; all of one recipe."
    default = FlatnessFlags(FlatnessConfig())
    told = parse(FlatnessFlags, default, flags, "flatness RUN [RUN ...]", about)
    if not names:
        raise UsageError("flatness needs RUN FOLDERS right after it")
    folders = [folder for name in names for folder in _runs(Path(name))]
    file = measure_flatness(folders, told.config, told.to, progress=print, command=command())
    cells = flatness_cells(load_flatness(file))
    show(rich_table(cells, "Flatness"))
    table = file.with_name("table.md")
    table.write_text(markdown_table(cells))
    pictures = draw_flatness(file)
    for walks in sorted({trace.parent for trace in told.to.glob("traces/*/*.npz")}):
        pictures += draw_traces(sorted(walks.glob("*.npz")), walks)
    print("\n".join(f"written: {path}" for path in [file, table, *pictures]))


def _runs(path: Path) -> list[RunFolder]:
    folder = RunFolder(path)
    folders = [folder] if folder.begun else folders_in(path)
    if not folders:
        raise ValueError(f"{path}: neither a run folder nor one with runs at seed-N")
    return folders
