"""The table of a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from widevalley.experiments import Trial
from widevalley.report.groups import summarise
from widevalley.training import metric_of


def trial_table(trials: Sequence[Trial], title: str) -> Table:
    """One row a trial, in the order given: its values, metric and loss on validation samples."""
    # The metric is named by any run that came to its end; all are of one task.
    finished = [f for trial in trials for f in trial.folders if f.finished]
    metric = metric_of(finished[0].records[-1]) if finished else None
    table = Table(title=title, box=SIMPLE_HEAD)
    for name in trials[0].point:
        table.add_column(name.removeprefix("optimizer."), overflow="fold")
    table.add_column(f"validation {metric.title if metric else 'error'}", justify="right")
    table.add_column("validation loss, nats", justify="right")
    for trial in trials:
        results = ["diverged", ""]
        if metric and not math.isinf(trial.result):
            shown = summarise(trial.results).shown(metric.digits)
            results = [shown, f"{trial.loss:.4f}"]
        table.add_row(*map(str, trial.point.values()), *results)
    return table
