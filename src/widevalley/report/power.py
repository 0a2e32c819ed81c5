"""How many seeds the comparisons that are not settled would need: a page from the same runs."""

from __future__ import annotations

import math
from pathlib import Path

from scipy import stats

from widevalley.report.claim_tests import Row
from widevalley.report.claims import CLAIMS
from widevalley.report.evidence import CONFIDENCE, Comparison
from widevalley.report.results_folder import ResultsFolder
from widevalley.report.table import markdown_table

POWER = 0.8
"""Probability of a verdict that the seeds are to give."""
MOST = 1000
"""Seeds beyond which nobody is told a number."""
HEADS = ["comparison", "seeds now", "effect", "spread", "seeds a side", "at most", "minutes a run"]

INTRODUCTION = """\
# Seeds that the claims not settled would need

Of every comparison of [claims.md](claims.md) that is not settled: how many seeds on either side
would settle it with probability 0.8, by the noncentral t of Student's test at 95 %, if the true
difference were the one found. `effect` is how far that is from where the verdict turns (a margin,
or 0), `spread` the standard deviation of a run around its mean, pooled over both sides, and `at
most` the seeds for the largest spread that the runs leave possible (the upper end of a one-sided
80 % interval of it). An effect that is itself noise asks for as many seeds as the noise has it:
where hundreds are asked for, the two are alike for every purpose. `widevalley claims` makes this
page from the runs there are, before any is added.
"""


def power_of(effect: float, spread: float, seeds: int) -> float:
    """Probability that Student's interval over `seeds` runs a side ends before the margin."""
    freedom = 2 * seeds - 2
    limit = stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)
    return float(stats.nct.sf(limit, freedom, effect / (spread * math.sqrt(2 / seeds))))


def seeds_for(effect: float, spread: float) -> int | None:
    """The fewest seeds a side that settle an effect with probability `POWER`.

    None where more than `MOST` would be needed.
    """
    if spread == 0:
        return 2
    low, high = 1, 2
    while power_of(effect, spread, high) < POWER:
        if high >= MOST:
            return None
        low, high = high, min(2 * high, MOST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(effect, spread, middle) >= POWER else (middle, high)
    return high


def write_power(root: Path, file: Path) -> Path:
    """Write how many seeds each comparison without a verdict would need; returns `file`."""
    results = ResultsFolder(root)
    sections = []
    for claim in CLAIMS:
        rows = [row for row in claim.test(results) if row.verdict == "not settled"]
        cells = [_cells(row, row.comparison) for row in rows if row.comparison]
        if cells:
            sections.append(f"## {claim.title}\n\n{markdown_table((HEADS, cells))}")
    file.write_text("\n".join([INTRODUCTION, *sections]))
    return file


def _cells(row: Row, found: Comparison) -> list[str]:
    now = f"{len(found.ours.values)}, {len(found.against.values)}"
    name = f"{row.where}: {found.ours.name}, {found.against.name}"
    minutes = "" if row.minutes is None else f"{row.minutes:.1f}"
    if found.freedom == 0:
        return [name, now, f"{found.effect:.2g}", "unknown: one seed a side", "", "", minutes]
    seeds = [
        "" if seeds is None else str(seeds)
        for seeds in (seeds_for(found.effect, s) for s in (found.spread, found.largest_spread))
    ]
    shown = [each or f"over {MOST:,}" for each in seeds]
    return [name, now, f"{found.effect:.2g}", f"{found.spread:.2g}", *shown, minutes]
