"""PAC-Bayes bounds beside the errors that they bound, from their file alone."""

from __future__ import annotations

from pathlib import Path

from widevalley.experiments import PacBayes, load_pac_bayes
from widevalley.report.groups import summarise
from widevalley.report.table import Cells, markdown_table

LAWS = ("end", "Gibbs", "prior", "held-out")
"""What an error is of; each but `end` has a bound."""
HEADS = [
    *("labels, walk", "seeds", "samples", "τ", "ε", "end: train, %", "test"),
    *("Gibbs law: train, %", "test", "KL, nats", "bound, %"),
    *("prior alone: train, %", "test", "bound, %", "held out, %", "bound, %"),
]


def pac_bayes_cells(file: Path) -> Cells:
    """One row a kind of run: means over seeds and their standard errors; of bounds the largest."""
    found = load_pac_bayes(file)
    kinds = dict.fromkeys(each.run.rpartition("/")[0] for each in found)
    return HEADS, [
        _row(kind, [e for e in found if e.run.rpartition("/")[0] == kind]) for kind in kinds
    ]


def broken_bounds(file: Path) -> list[str]:
    """The bounds that lie below the test error of what they bound, by run and law."""
    return [
        f"{each.run}: {law}"
        for each in load_pac_bayes(file)
        for law in ("Gibbs", "prior")
        if each.numbers[f"{law} bound"] < each.numbers[f"{law} test error"]
    ]


def _row(kind: str, found: list[PacBayes]) -> list[str]:
    def mean(name: str, digits: int = 1, scale: float = 100) -> str:
        values = [scale * each.numbers[name] for each in found if name in each.numbers]
        return summarise(values).shown(digits) if values else ""

    def largest(name: str) -> str:
        values = [100 * each.numbers[name] for each in found if name in each.numbers]
        return f"{max(values):.1f}" if values else ""

    recipe, _, name = kind.partition("/")
    labels = "random" if recipe.startswith("random") else "true"
    first = found[0].numbers
    return [
        f"{labels}, {name}",
        str(len(found)),
        f"{first['samples']:,.0f}",
        f"{first['tau']:,.0f}",
        f"{first['epsilon']:.3g}",
        *(mean(f"end {split} error") for split in ("train", "test")),
        *(mean(f"Gibbs {split} error") for split in ("train", "test")),
        mean("KL", 1, 1),
        largest("Gibbs bound"),
        *(mean(f"prior {split} error") for split in ("train", "test")),
        largest("prior bound"),
        mean("held-out error"),
        largest("held-out bound"),
    ]


def write_pac_bayes(file: Path) -> Path:
    """Write table.md beside the file; returns its path."""
    table = file.with_name("table.md")
    table.write_text(markdown_table(pac_bayes_cells(file)))
    return table
