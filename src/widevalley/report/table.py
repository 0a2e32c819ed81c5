"""One row an optimizer: mean over seeds ± standard error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from widevalley.report.groups import Group
from widevalley.training import RunFolder

Cells = tuple[list[str], list[list[str]]]
"""Heads and rows; the first column is text, the others numbers."""


def run_cells(groups: Sequence[Group], diverged: Sequence[RunFolder] = ()) -> Cells:
    """One row a group of runs, and below them one for each kind of run that diverged."""
    # A folder may have runs with held-out samples beside runs without.
    splits = {group.split for group in groups}
    split = splits.pop() if len(splits) == 1 else "test or validation"
    heads = ["run", "seeds", f"{split} {groups[0].metric.title}", f"{split} loss, nats"]
    heads += ["gradients", "seconds"]
    counts = Counter(run.path.parent.name for run in diverged)
    failed = [[name, str(count), "diverged", "", "", ""] for name, count in counts.items()]
    return heads, [_row(group) for group in groups] + failed


def _row(group: Group) -> list[str]:
    return [
        group.name,
        str(len(group.folders)),
        group.result().shown(group.metric.digits),
        group.final(f"{group.split}_loss").shown(4),
        f"{group.final('gradients').mean:,.0f}",
        f"{group.final('seconds').mean:.1f}",
    ]


def rich_table(cells: Cells, title: str) -> Table:
    """The table for a terminal."""
    heads, rows = cells
    table = Table(title=title, box=SIMPLE_HEAD)
    for k, head in enumerate(heads):
        table.add_column(head, justify="right" if k else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def markdown_table(cells: Cells) -> str:
    """The same for a text file."""
    heads, rows = cells
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (heads, rule, *rows))
