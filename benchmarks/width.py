"""Who ends in wider valleys at one training loss: ratios of means over seeds, with intervals.

    python benchmarks/width.py results/width > results/width/differences.md

Reads FOLDER/flatness/flatness.json and the last records of FOLDER/VARIANT/seed-N/metrics.jsonl. A
ratio is bold where Welch's interval of 95 % for the difference of the means leaves out 0.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean

from scipy import stats

from widevalley.experiments import load_flatness
from widevalley.report.table import markdown_table

MEASURES = (
    *("loss", "largest eigenvalue", "trace", "local energy 0.01", "local energy 0.02"),
    *("relative local energy 0.1", "relative local energy 0.2", "sharpness 0.5"),
)
TESTED = "test_loss", "test_error", "test_ece"
OURS = (
    *("walk", "walk-automatic", "walk-posterior", "walk-pac-bayes", "walk-raw"),
    *("walk-adamw", "walk-preconditioned", "walk-preconditioned-cold"),
    *("smoothed", "smoothed-adamw"),
)
AGAINST = "sgd-0.1", "sgd-0.2", "sgd-0.03", "adamw", "entropy-sgd"

Samples = dict[str, list[float]]
"""Values over seeds by the name of a variant."""


def read(folder: Path) -> dict[str, Samples]:
    """Every measure of every variant."""
    found: dict[str, Samples] = {name: {} for name in (*MEASURES, *TESTED)}
    for each in load_flatness(folder / "flatness" / "flatness.json"):
        for name in MEASURES:
            found[name].setdefault(each.name, []).append(each.measures[name].value)
        last = json.loads((folder / each.run / "metrics.jsonl").read_text().splitlines()[-1])
        for name in TESTED:
            found[name].setdefault(each.name, []).append(last[name])
    return found


def ratio(ours: list[float], theirs: list[float]) -> str:
    """Mean over mean, bold where they are told apart."""
    bounds = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    shown = f"{mean(ours) / mean(theirs):.2f}"
    return shown if bounds.low <= 0 <= bounds.high else f"**{shown}**"


if __name__ == "__main__":
    found = read(Path(sys.argv[1]))
    rows = [
        [f"{ours} / {theirs}", *(ratio(each[ours], each[theirs]) for each in found.values())]
        for ours in OURS
        for theirs in AGAINST
    ]
    print(markdown_table((["means of", *(name.replace("_", " ") for name in found)], rows)))
