"""Runs as they train: how far each has come, what it said last, and how long it will take."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from widevalley.report.table import Cells
from widevalley.training import RunFolder, summary

PATIENCE = 3.0
"""A run is silent when it has written nothing for that many times what a record or a checkpoint
takes."""


def running_cells(root: Path) -> tuple[Cells, bool]:
    """One row a run, those that train first, and whether all are at their end.

    The runs are at seed-N in any folder below `root`, or it is one. Raises ValueError where there
    are none.
    """
    files = [root / "config.json"] if RunFolder(root).begun else root.rglob("seed-*/config.json")
    found = [RunFolder(file.parent) for file in files]
    if not found:
        raise ValueError(f"{root}: neither a run folder nor one with runs at seed-N below")
    ended = {f.path: f.finished or f.diverged for f in found}
    folders = sorted(found, key=lambda f: (ended[f.path], f.path))
    rows = [
        [str(f.path.relative_to(root.parent if root == f.path else root)), *_said(f)]
        for f in folders
    ]
    return (["run", "last record", "epochs", ""], rows), all(ended.values())


def _said(folder: RunFolder) -> list[str]:
    records, epochs = folder.records, folder.config["epochs"]
    last = records[-1] if records else {"epoch": 0.0, "seconds": 0.0}
    if folder.diverged:
        state = "diverged"
    elif last.get("final"):
        state = f"finished after {_time(last['seconds'])}"
    else:
        since = _age(folder.path / ("metrics.jsonl" if records else "config.json"))
        checkpoint = folder.path / "checkpoint.pt"  # written between records
        silent = min(since, _age(checkpoint)) if checkpoint.exists() else since
        record = last["seconds"] / max(1, len(records))
        # From outside, silence is all that tells a run that hangs, or was killed.
        if silent > PATIENCE * max(record, folder.config.get("checkpoint_every", 0.0)):
            state = f"silent {_time(silent)}"
        elif records:
            state = f"{_time(last['seconds'] * (epochs / last['epoch'] - 1) - since)} left"
        else:
            state = f"begun {_time(since)} ago"
    return [summary(last) if records else "", f"{last['epoch']:.1f}/{epochs:.4g}", state]


def _age(file: Path) -> float:
    return time.time() - file.stat().st_mtime


def _time(seconds: float) -> str:
    return str(timedelta(seconds=max(0, round(seconds))))
