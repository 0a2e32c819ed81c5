"""What runs withstand, side by side, from their file alone."""

from __future__ import annotations

from pathlib import Path

from widevalley.experiments import load_hardening
from widevalley.report.groups import summarise
from widevalley.report.table import Cells, markdown_table


def hardening_cells(file: Path) -> Cells:
    """One row a name of a run: mean over seeds and its standard error, in nats."""
    found = load_hardening(file)
    fields = list(found[0].losses)
    heads = ["run", "seeds", *fields]
    rows = []
    for name in dict.fromkeys(each.run.rpartition("/")[0] for each in found):
        own = [each.losses for each in found if each.run.rpartition("/")[0] == name]
        shown = [summarise(losses[field] for losses in own).shown(4) for field in fields]
        rows.append([name, str(len(own)), *shown])
    return heads, rows


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
    return table
