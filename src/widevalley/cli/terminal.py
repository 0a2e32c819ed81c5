"""What goes to the terminal: tables, and how far a long computation has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

UNCUT = 1000
"""Columns to lay a table out in, so that no cell is cut; a narrower terminal wraps its lines."""
LINE_EVERY = 60.0
"""Seconds between lines where the output is no terminal."""


def show(table: Table) -> None:
    """Print a table."""
    Console(width=UNCUT).print(table)


@contextmanager
def progress_bar(unit: str, *, then: str = "") -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left, or a line a minute where the output is no terminal.

    `then` is printed when the last is done: what goes on without a bar.
    """
    console = Console()
    # Where the output is no terminal, a bar would be a log full of bars.
    columns = TextColumn(unit), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task, began, printed = bar.add_task(unit), time.monotonic(), time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal printed
            bar.update(task, completed=done, total=total)
            now = time.monotonic()
            if not console.is_terminal and now - printed > LINE_EVERY:
                printed, left = now, (now - began) * (total - done) / done
                console.print(f"{done:,} of {total:,} {unit}, {left:,.0f} s left")
            if then and done == total:
                console.print(f"{total:,} {unit} done; {then}", soft_wrap=True)

        yield progress
