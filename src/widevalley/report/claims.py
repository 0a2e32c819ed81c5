"""The paper's claims beside the runs that test them, written as one page.

The words are here, the statistics in `claim_tests`, the folders in `results_folder`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from widevalley.report import claim_tests as tests
from widevalley.report.copied_runs import provenance
from widevalley.report.evidence import Verdict, together
from widevalley.report.results_folder import ResultsFolder
from widevalley.report.table import markdown_table

HEADS = ["network", "ours (seeds)", "against (seeds)", "difference (95 %)", "verdict"]

INTRODUCTION = """\
# What the paper claims, and what the runs here say

A claim holds where every comparison below it holds, does not hold where one of them goes the other
way, and is not settled otherwise. A comparison is settled where the 95 % interval of the difference
(Student's, over seeds) lies on one side. Every number is read from the run folders beside this
file. "paper" and "baseline" are the paper's own settings; "best" is ours, and "tuned" an SGD or
Adam that spends as many gradients, chosen by held-out data as ours was (NETWORK-tuning has the
trials of each). A verdict that rests on a single run on either side says so; how many seeds the
others would need is in [power.md](power.md).
"""


@dataclass(frozen=True)
class Claim:
    """Something the paper says, and how it is tested: in words, and as a function."""

    title: str
    method: str
    test: tests.ClaimTest


def write_claims(root: Path, file: Path) -> list[tuple[str, Verdict]]:
    """Write the claims with evidence and verdicts to `file`; returns titles with verdicts."""
    results = ResultsFolder(root)
    found = [(claim, list(claim.test(results))) for claim in CLAIMS]
    verdicts = [(claim.title, together(row.verdict for row in rows)) for claim, rows in found]
    summary = markdown_table((["claim", "verdict"], [list(pair) for pair in verdicts]))
    sections = []
    for claim, rows in found:
        cells = [
            [row.where, row.ours, row.against, row.difference, row.shown_verdict] for row in rows
        ]
        evidence = markdown_table((HEADS, cells)) if rows else "Not run.\n"
        sections.append(f"## {claim.title}\n\n{claim.method}\n\n{evidence}")
    page = [INTRODUCTION, summary, "\n".join(sections), provenance(results.every_run())]
    file.write_text("\n".join(page))
    return verdicts


CLAIMS = (
    Claim(
        "Entropy-SGD needs fewer gradients than SGD or Adam",
        "Gradient evaluations until a run is first within a tenth of its opponent's final error "
        "(a hundredth of a nat, or of a perplexity); evaluations are two epochs apart at the most.",
        tests.needs_fewer_gradients,
    ),
    Claim(
        "It generalises as well",
        "Test error at the end, at most a tenth above the opponent's (a hundredth of a nat, or of "
        "a perplexity).",
        tests.generalises_as_well,
    ),
    Claim(
        "It ends at a lower training loss",
        "Cross-entropy of the whole training set at the end, without dropout, in nats.",
        tests.has_lower_training_loss,
    ),
    Claim(
        "Larger rates are usable",
        "Largest rate of a grid whose validation error is at most 1.25 times the grid's best: the "
        "anchor's and the walk's, against SGD's.",
        tests.has_larger_usable_rates,
    ),
    Claim(
        "It is insensitive to L, the steps of a walk",
        "Validation error at equal gradients, at most a tenth above that of the grid's best.",
        tests.is_insensitive_to("optimizer.langevin_steps"),
    ),
    Claim(
        "It is insensitive to the thermal noise",
        "The same for the noise.",
        tests.is_insensitive_to("optimizer.noise"),
    ),
    Claim(
        "Annealing the walk's rate hurts",
        "Validation error with a constant walk's rate, against one that falls by a cosine.",
        tests.constant_walk_rate_is_better,
    ),
    Claim(
        "It ends in wider valleys",
        "Every measure of `widevalley flatness` at the ends of runs of comparable training loss, "
        "against that of SGD and of Adam; all grow with narrowness. Of local entropy `walls` is "
        "what curvature adds, `rise` the same less what a slope at the end takes off.",
        tests.is_flatter,
    ),
    Claim(
        "SGLD alone is worse",
        "Test error at the end of Entropy-SGD, and of SGD or Adam, against SGLD's.",
        tests.sgld_is_worse,
    ),
)
