"""The table of a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from widevalley.experiments import Trial
from widevalley.report.groups import summarise
from widevalley.training import Measure, measure_of


def trial_table(trials: Sequence[Trial], title: str) -> Table:
    """One row a trial, in the order given: its values, what it is judged by, validation loss."""
    finished = [f for trial in trials for f in trial.folders if f.finished]
    measure = measure_of(finished[0].records[-1]) if finished else None
    table = Table(title=title, box=SIMPLE_HEAD)
    for name in trials[0].point:
        table.add_column(name.removeprefix("optimizer."), overflow="fold")
    table.add_column(f"validation {measure.title if measure else 'error'}", justify="right")
    table.add_column("validation loss, nats", justify="right")
    for trial in trials:
        table.add_row(*map(str, trial.point.values()), *_judged(trial, measure))
    return table


def _judged(trial: Trial, measure: Measure | None) -> tuple[str, str]:
    if measure is None or math.isinf(trial.result):
        return "diverged", ""
    return summarise(trial.results).shown(measure.digits), f"{trial.loss:.4f}"
