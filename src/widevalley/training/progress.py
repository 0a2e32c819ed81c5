"""A progress bar a run; plain lines where the output is no terminal."""

from __future__ import annotations

import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from widevalley.training.folder import Record
from widevalley.training.metrics import metric_of, result_of

LINE_EVERY = 10.0
"""Seconds between plain lines of a run, its last line apart."""
BESIDES = 58
"""Columns of a terminal that a bar takes beside the name of its run."""


class RunProgress:
    """Called by a run as it goes; this base class shows nothing."""

    def start(self, done: int, total: int) -> None:
        """The run begins at gradient evaluation `done` of `total`."""

    def update(self, done: int) -> None:
        """`done` gradient evaluations are behind it; called several times a second."""

    def record(self, record: Record) -> None:
        """It has been evaluated."""


class Bars:
    """Shows one or several runs, as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=6, table_column=Column(min_width=6)),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[summary]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def run(self, name: str) -> RunProgress:
        """Follow a run under this name."""
        return _Bar(self._bars, name) if self.console.is_terminal else _Lines(self.console, name)


class _Bar(RunProgress):
    def __init__(self, bars: Progress, name: str) -> None:
        self._bars, self._name = bars, name

    def start(self, done: int, total: int) -> None:
        room = max(8, self._bars.console.width - BESIDES)
        # What tells the runs of a sweep apart stands at the end of their names.
        name = self._name if len(self._name) <= room else f"…{self._name[1 - room :]}"
        self._task = self._bars.add_task(name, total=total, completed=done, summary="")

    def update(self, done: int) -> None:
        self._bars.update(self._task, completed=done)

    def record(self, record: Record) -> None:
        self._bars.update(self._task, completed=record["gradients"], summary=summary(record))


class _Lines(RunProgress):
    def __init__(self, console: Console, name: str) -> None:
        self._console, self._name = console, name
        self._next = time.monotonic() + LINE_EVERY

    def start(self, done: int, total: int) -> None:
        self._total, self._done, self._began = total, done, time.monotonic()

    def record(self, record: Record) -> None:
        if time.monotonic() >= self._next or record.get("final"):
            self._next = time.monotonic() + LINE_EVERY  # a log wants few lines
            done, last = record["gradients"], bool(record.get("final"))
            pace = (time.monotonic() - self._began) / max(1, done - self._done)
            left = "" if last else f"  {timedelta(seconds=round(pace * (self._total - done)))} left"
            said = f"{done:,}/{self._total:,} gradients  {summary(record)}{left}"
            self._console.print(f"{self._name}  {said}", soft_wrap=True)


def summary(record: Record) -> str:
    """Running loss and metric, so short that a bar fits in 80 columns."""
    metric = metric_of(record)
    result = f"{metric.field} {result_of(record):.{metric.digits}f}{metric.unit}"
    return f"train {record['train_loss']:.3f} {result}"
