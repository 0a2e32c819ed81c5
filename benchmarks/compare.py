"""Compare two files of figures of one benchmark, row by row.

    python benchmarks/compare.py results/benchmarks/step-before.json results/benchmarks/step.json

Ratios are to the baseline of the same process, with their quartiles; "change" is the second over
the first. Rows that got worse by more than 10 % are marked, and the exit status is then 1.
"""

import argparse
from pathlib import Path

from figures import Figures, Row
from rich.console import Console
from rich.table import Table

WORSE = 1.10


def is_worse(before: Row, after: Row) -> bool:
    """By more than 10 % of its ratio to the baseline."""
    return after.ratio > WORSE * before.ratio


def compare(before: Figures, after: Figures) -> tuple[Table, int]:
    """The table, and how many rows are worse; a row that only one file has is shown and left out.

    Raises ValueError where the files are of different benchmarks.
    """
    if before.benchmark != after.benchmark:
        raise ValueError(
            f"the files must be of one benchmark: {before.benchmark} and {after.benchmark}"
        )
    table = Table(
        title=f"{before.benchmark}\nbefore: {before}\nafter: {after}", title_justify="left"
    )
    for head in ("case", "row", "ms", "", "ratio", "", "change", ""):
        table.add_column(head, justify="left" if head in ("case", "row") else "right")
    old, new = ({row.key: row for row in figures.rows} for figures in (before, after))
    worse = 0
    for key in dict.fromkeys([*old, *new]):
        a, b = old.get(key), new.get(key)
        change, mark = "", ""
        if a and b:
            change = f"{b.ratio / a.ratio:.2f}"
            if is_worse(a, b):
                mark, worse = "worse", worse + 1
        shown = [f(row) if row else "-" for f in (_ms, _ratio) for row in (a, b)]
        table.add_row(*key, *shown, change, mark)
    return table, worse


def _ms(row: Row) -> str:
    return f"{row.ms:.3g}" if row.ms < 1000 else f"{row.ms:.0f}"


def _ratio(row: Row) -> str:
    low, high = row.interval
    return f"{row.ratio:.2f} ({low:.2f} to {high:.2f})"


def main() -> int:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    given = parser.parse_args()
    try:
        table, worse = compare(Figures.read(given.before), Figures.read(given.after))
    except ValueError as error:
        parser.error(str(error))
    console = Console(width=140)
    console.print(table)
    console.print(f"worse by more than {WORSE - 1:.0%}: {worse}", highlight=False)
    return int(worse > 0)


if __name__ == "__main__":
    raise SystemExit(main())
