"""What runs withstand, side by side, from their file alone."""

from __future__ import annotations

from pathlib import Path

from widevalley.experiments import load_hardening
from widevalley.report.evidence import paired
from widevalley.report.groups import summarise
from widevalley.report.table import Cells, markdown_table


def hardening_cells(file: Path) -> Cells:
    """One row a name of a run: mean over seeds and its standard error, in nats."""
    found = _by_name(file)
    fields = _fields(found)
    rows = []
    for name, runs in found.items():
        shown = [summarise(run[field] for run in runs.values()).shown(4) for field in fields]
        rows.append([name, str(len(runs)), *shown])
    return ["run", "seeds", *fields], rows


def hardening_differences(file: Path) -> Cells:
    """One row a name, the first apart: the mean difference from the first at the same seed.

    With Student's interval of 95 %, bold where it does not hold 0; no rows where no seed is shared.
    """
    found = _by_name(file)
    first, *others = found
    base, fields, rows = found[first], _fields(found), []
    for name in others:
        if not found[name].keys() & base.keys():
            continue
        both = [
            [{seed: run[field] for seed, run in runs.items()} for runs in (found[name], base)]
            for field in fields
        ]
        rows.append([name, *(paired(ours, theirs).marked(4) for ours, theirs in both)])
    return [f"minus {first}", *fields], rows


def _by_name(file: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Of each name of a run the measures of each seed."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for each in load_hardening(file):
        name, _, seed = each.run.rpartition("/")
        found.setdefault(name, {})[seed] = each.losses
    return found


def _fields(found: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    runs = next(iter(found.values()))
    return list(next(iter(runs.values())))


def write_hardening(file: Path) -> Path:
    """Write table.md beside the file; returns its path."""
    settings = load_hardening(file)[0].facts["settings"]
    table = file.with_name("table.md")
    table.write_text(
        f"# What the ends of runs withstand\n\n{markdown_table(hardening_cells(file))}\n"
        "Nats on the test set, mean over seeds ± standard error: the loss, and how much it rises "
        "by rounding to the nearest of few values per output channel, by noise in proportion to "
        f"each parameter's root mean square ({settings['draws']} draws), and by "
        f"{settings['tuning']} gradients of AdamW at {settings['tuning_lr']:g} on other data "
        "(forgetting), with the loss there after them.\n"
    )
    differences = hardening_differences(file)
    if differences[1]:
        with table.open("a") as page:
            page.write(
                "\n## Differences\n\nThe mean over shared seeds, with Student's interval of 95 %; "
                f"bold: it does not hold 0.\n\n{markdown_table(differences)}"
            )
    return table
