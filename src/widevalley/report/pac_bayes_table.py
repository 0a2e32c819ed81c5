"""PAC-Bayes bounds beside the errors that they bound, from their file alone."""

from __future__ import annotations

from pathlib import Path

from widevalley.experiments import BOUND, PacBayes, load_pac_bayes
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


SAID = """\
Shares of samples in percent, mean over seeds ± standard error; of bounds the largest over seeds. \
`end`: the weights that a run ends in, on its training samples and on the test set. `Gibbs law`: \
weights drawn by P(x') exp(-τ f(x')), P = N(end, 1/(τ γ)) with γ = {gamma:g}, a walk of {walk} \
steps standing in for draws; `KL` is what its relative entropy to P is at most. `prior alone`: \
weights drawn from P, exactly, with fresh ones for every sample. `held out`: the end on the \
training images that a run did not see. Random labels are those of the test set too.

A bound holds with probability {confidence:.2f} over samples and draws, if the end of a run is one \
draw of its walk's law, which makes it ε-differentially private (ε = 2 τ ℓ / m, ℓ = {loss:g} nats \
the interval of the loss of one sample); the Gibbs law's, if the walk's means are the law's too, \
with errors by the effective number of its points. The bound by held-out samples needs neither. \
Settings were fixed after a few others had been tried on the same digits; a union over a hundred \
would add ln(100)/m to what kl may be, and less than 0.1 % to a bound over 60,000 samples. \
What is theorem and what is not: docs/theory.md. Of {count} bounds with a test error beside them \
{broken}.
"""


def write_pac_bayes(file: Path) -> Path:
    """Write table.md beside the file; returns its path."""
    found, broken = load_pac_bayes(file), broken_bounds(file)
    settings = found[0].facts["settings"]
    said = SAID.format(
        gamma=settings["gamma"],
        walk=settings["walk"],
        confidence=1 - settings["delta"] - 3 * settings["sampling_delta"],
        loss=BOUND,
        count=2 * len(found),
        broken=f"below it: {', '.join(broken)}" if broken else "none is below it",
    )
    commands = dict.fromkeys(each.facts["command"] for each in found)
    table = file.with_name("table.md")
    table.write_text(
        f"# PAC-Bayes bounds\n\n{markdown_table(pac_bayes_cells(file))}\n{said}\n"
        + "".join(f"    {command}\n" for command in commands if command)
    )
    return table
