"""Writes the table of docs/how-to-choose.md, between its two marks, from results/tournament.

python docs/write_choices.py
"""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from widevalley.report import markdown_table
from widevalley.report.tournament_table import TITLES, Tournament

PAGE = Path(__file__).parent / "how-to-choose.md"
TASKS = (
    "digits",
    "mnist-1000",
    "mnist-noise",
    "mnistfc",
    "lenet",
    "charlstm",
    "small-gpt",
    "small-gpt-constant",
)
METHODS = {
    "adamw": "AdamW",
    "adamw-ema": "AdamW, averaged",
    "sam-adamw": "SAM (AdamW)",
    "muon-ema": "Muon, averaged",
    "local-entropy-muon-ema": "LocalEntropy(Muon)",
    "local-entropy-adamw-ema": "LocalEntropy(AdamW)",
    "entropy-sgd": "EntropySGD",
    "entropy-adam": "EntropyAdam",
}
MARKS = "<!-- made by docs/write_choices.py -->", "<!-- to here -->"


def table() -> str:
    """Each task's best method, and what some of them come to: means over fresh seeds."""
    cells = []
    for task in TASKS:
        played = Tournament(PAGE.parents[1] / "results/tournament" / task)
        value, digits = played.criterion, 2 if played.criterion == "error" else 4
        found = {g.name: statistics.fmean(played.by_seed(g, value).values()) for g in played.groups}
        best = min(found, key=lambda name: found[name])
        shown = [f"{found[m]:.{digits}f}" if m in found else "" for m in METHODS]
        chosen = METHODS.get(best, f"{best}, {found[best]:.{digits}f}")
        shown = [f"**{one}**" if m == best else one for m, one in zip(METHODS, shown, strict=True)]
        link = f"[{task}](../results/tournament/{task}/table.md)"
        cells.append([f"{link}, {TITLES[value]}", chosen, *shown])
    return markdown_table((["task", "first", *METHODS.values()], cells))


def page() -> str:
    """The page with its table made anew."""
    begin, end = map(re.escape, MARKS)
    text, count = re.subn(
        f"({begin}\n\n).*?(\n{end})", rf"\g<1>{table()}\g<2>", PAGE.read_text(), flags=re.DOTALL
    )
    assert count == 1
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
