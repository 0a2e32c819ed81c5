"""Table and picture beside the runs, or beside a copy of them without checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from widevalley.report.curves import draw_curves
from widevalley.report.groups import Group
from widevalley.report.table import markdown_table, run_cells
from widevalley.training import RunFolder

COPIED = ("config.json", "environment.json", "metrics.jsonl", "diverged.json")
"""What is copied of a run: everything but the checkpoint."""


def write_report(
    groups: Sequence[Group], title: str, folder: Path, diverged: Sequence[RunFolder] = ()
) -> tuple[Path, Path]:
    """Write table.md (with commands and environment) and curves.png; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    table, curves = folder / "table.md", folder / "curves.png"
    table.write_text(
        f"# {title}\n\n{markdown_table(run_cells(groups, diverged))}\n"
        "Mean over seeds ± standard error of the mean, at the last gradient evaluation; "
        f"seconds are those of the whole run, evaluations included.\n\n{provenance(groups)}"
    )
    draw_curves(groups, title, curves)
    return table, curves


def write_results(
    groups: Sequence[Group], title: str, folder: Path, diverged: Sequence[RunFolder] = ()
) -> tuple[Path, Path]:
    """Copy the runs into `folder`/NAME/seed-N without checkpoints, and report on them there.

    Raises ValueError, before anything is written, where `folder` already holds other runs.
    """
    runs = [*(run for group in groups for run in group.folders), *diverged]
    copy_runs({run: folder / run.path.parent.name / run.path.name for run in runs})
    return write_report(groups, title, folder, diverged)


def copy_runs(targets: Mapping[RunFolder, Path]) -> None:
    """Copy each run to its target without its checkpoint, in place of what is there of it.

    Raises ValueError, before anything is written, where a target holds another run.
    """
    # All are compared before the first is copied.
    for run, target in targets.items():
        config = target / "config.json"
        if config.exists() and config.read_bytes() != (run.path / "config.json").read_bytes():
            raise ValueError(f"{target} holds a run of other settings than {run.path}")
    for run, target in targets.items():
        target.mkdir(parents=True, exist_ok=True)
        if run.path.resolve() == target.resolve():
            continue
        for name in COPIED:
            (target / name).unlink(missing_ok=True)  # a run that was made again is no longer so
            if (run.path / name).exists():
                shutil.copyfile(run.path / name, target / name)


def provenance(groups: Sequence[Group]) -> str:
    """The commands that made the runs, and what they ran on, for a text file."""
    starts = [start for group in groups for run in group.folders for start in run.environments]
    sections = []
    for head, lines in (
        ("Commands", [start["command"] for start in starts]),
        ("Environment", map(_described, starts)),
    ):
        # Each once, in the order they come: seeds of one command share it.
        distinct = [line for line in dict.fromkeys(lines) if line]
        sections.append(f"## {head}\n\n" + "".join(f"    {line}\n" for line in distinct))
    return "\n".join(sections)


def _described(start: dict[str, Any]) -> str:
    # A commit's first twelve digits; "+" says that tracked files differed from it.
    source = f"widevalley {start['widevalley']}"
    if start["commit"]:
        source += f" ({start['commit'][:12]}{'+' if start['commit'].endswith('+') else ''})"
    return (
        f"{source}, python {start['python']}, torch {start['torch']}, {start['device']}, "
        f"{start['threads']} thread(s), {start['platform']}"
    )
