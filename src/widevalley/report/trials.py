"""The table of a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from widevalley.experiments import Trial
from widevalley.report.groups import summarise


def trial_table(trials: Sequence[Trial], title: str) -> Table:
    """One row a trial, in the order given: its values, validation error and loss."""
    table = Table(title=title, box=SIMPLE_HEAD)
    for name in trials[0].point:
        table.add_column(name.removeprefix("optimizer."), overflow="fold")
    table.add_column("validation error, %", justify="right")
    table.add_column("validation loss, nats", justify="right")
    for trial in trials:
        table.add_row(*map(str, trial.point.values()), *_judged(trial))
    return table


def _judged(trial: Trial) -> tuple[str, str]:
    if math.isinf(trial.error):
        return "diverged", ""
    return summarise(trial.errors).shown(2), f"{trial.loss:.4f}"
