"""How far a long computation has come."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY = 60.0
"""Seconds between lines where the output is no terminal."""


class progress_bar:  # noqa: N801 - called like a function, and its instance is one
    """A bar with the time left, or a line a minute where the output is no terminal.

    What instruments take as `progress`. The bar comes with the first call and goes with the last
    one; as a context manager it also goes where an error ends the computation.

    Args:
        unit: what is counted, in the plural.
        then: makes of their number what is printed at the end: what goes on without a bar.
    """

    def __init__(self, unit: str, *, then: Callable[[int], str] | None = None) -> None:
        self._unit, self._then = unit, then
        self._console = Console()
        columns = TextColumn(unit), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        # Where the output is no terminal, a bar would be a log full of bars.
        quiet = not self._console.is_terminal
        self._bar = Progress(*columns, console=self._console, disable=quiet)
        self._task = self._bar.add_task(unit, total=None)
        self._began = self._printed = time.monotonic()
        # A bar that was left behind hides the cursor until it is stopped.
        self._stop = weakref.finalize(self, self._bar.stop)

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` are behind it."""
        self._bar.start()
        self._bar.update(self._task, completed=done, total=total)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._printed > LINE_EVERY:
            self._printed, left = now, (now - self._began) * (total - done) / done
            self._console.print(f"{done:,} of {total:,} {self._unit}, {left:,.0f} s left")
        if done == total:
            self._bar.stop()
            if self._then:
                said = f"{total:,} {self._unit} done; {self._then(total)}"
                self._console.print(said, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
