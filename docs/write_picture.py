"""docs/where-it-wins.png: what README says the methods are for, and where they lose, from results/.

python docs/write_picture.py
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from widevalley import plot
from widevalley.experiments import load_flatness, load_hardening
from widevalley.report.evidence import Interval, paired
from widevalley.report.tournament_table import Tournament

RESULTS = Path(__file__).parents[1] / "results"
PICTURE = Path(__file__).parent / "where-it-wins.png"
Found = dict[str, dict[str, float]]
"""A number of each run by its method and seed."""

ROWS = (
    # what, its source, ours, against
    ("curvature at equal loss", "width", "walk-automatic", ("adamw", "sgd-0.1")),
    ("error, 40 % wrong labels", "mnist-noise", "entropy-sgd", ("adamw", "sam-adamw")),
    ("loss, 1,000 images", "mnist-1000", "entropy-adam", ("adamw", "muon-ema")),
    ("loss, small GPT in 4 bits", "4 bits", "rounded-adamw", ("adamw",)),
    ("loss, small GPT not rounded", "unrounded", "rounded-adamw", ("adamw",)),
    ("lost by LeNet in 3 bits", "3 bits", "local-entropy-muon-ema", ("adamw", "muon-ema")),
    ("loss, LeNet", "lenet", "local-entropy-muon-ema", ("adamw", "muon-ema")),
    ("loss, small GPT", "small-gpt", "local-entropy-muon-ema", ("adamw", "muon-ema")),
    ("loss, char-LSTM", "charlstm", "local-entropy-muon-ema", ("adamw", "muon-ema")),
)
NAMES = {
    "walk-automatic": "Entropy-SGD",
    "entropy-sgd": "Entropy-SGD",
    "entropy-adam": "Entropy-Adam",
    "local-entropy-muon-ema": "LocalEntropy(Muon)",
    "rounded-adamw": "rounded gradients",
    "adamw": "AdamW",
    "sgd-0.1": "SGD at 0.1",
    "sam-adamw": "SAM",
    "muon-ema": "averaged Muon",
}
HARDENED = {
    "3 bits": ("lenet/hardening", ("3 bits",)),
    "4 bits": ("small-gpt-rounded/one-rate", ("loss", "4 bits")),
    "unrounded": ("small-gpt-rounded/one-rate", ("loss",)),
}
"""Where a loss after rounding is, and what it is the sum of."""


def rows() -> Iterator[tuple[str, Interval]]:
    """What is compared, in words; ours minus theirs at the same seed, in percent of theirs."""
    for what, source, ours, against in ROWS:
        for theirs in against:
            found = _found(source)
            gap = paired(found[ours], found[theirs])
            one = statistics.fmean(found[theirs].values()) / 100
            shares = Interval(gap.middle / one, gap.low / one, gap.high / one)
            yield f"{what}: {NAMES[ours]} – {NAMES[theirs]}", shares


@cache
def _found(source: str) -> Found:
    found: Found = {}
    if source == "width":
        for each in load_flatness(RESULTS / "width/flatness/flatness.json"):
            name, _, seed = each.run.rpartition("/")
            found.setdefault(name, {})[seed] = each.measures["trace"].value
    elif source in HARDENED:
        folder, parts = HARDENED[source]
        for one in load_hardening(RESULTS / "tournament" / folder / "hardening.json"):
            name, _, seed = one.run.rpartition("/")
            found.setdefault(name, {})[seed] = math.fsum(one.losses[part] for part in parts)
    else:
        played = Tournament(RESULTS / "tournament" / source)
        for group in played.groups:
            by_seed = played.by_seed(group, played.criterion).items()
            found[group.name] = {str(seed): value for seed, value in by_seed}
    return found


def write() -> None:
    """Draw the picture."""
    words, intervals = zip(*rows(), strict=True)
    made = plot.empty_figure("", 8.5, 0.3 * len(words) + 1)
    plot.forest(
        words,
        [each.middle for each in intervals],
        [each.low for each in intervals],
        [each.high for each in intervals],
        made.add_subplot(),
        name="difference, % (95 % over seeds)",
        sides=("better", "worse"),
    )
    made.savefig(PICTURE, dpi=150)


if __name__ == "__main__":
    write()
