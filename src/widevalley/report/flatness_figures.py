"""Flatness of several runs side by side, from their file alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from widevalley import plot
from widevalley.experiments import Flatness, Measure, load_flatness
from widevalley.report.drawing import save
from widevalley.report.evidence import CONFIDENCE, Interval, Sample, of_mean, standardised
from widevalley.report.groups import summarise
from widevalley.report.table import Cells
from widevalley.valley import Estimate


def flatness_samples(found: Sequence[Flatness]) -> dict[str, list[Sample]]:
    """By measure, one sample for each name of a run, over its seeds; only what all runs have."""
    # Of a run with strong negative curvature there is no Laplace expansion at small scopes.
    shared = [
        measure for measure in found[0].measures if all(measure in each.measures for each in found)
    ]
    names = list(dict.fromkeys(each.name for each in found))
    return {
        measure: [
            Sample(name, tuple(e.measures[measure].value for e in found if e.name == name))
            for name in names
        ]
        for measure in shared
    }


def flatness_cells(found: Sequence[Flatness]) -> Cells:
    """One row a measure: mean over seeds and its standard error for each name of a run."""
    samples = flatness_samples(found)
    first = next(iter(samples.values()))
    heads = ["measure", *(f"{sample.name} ({len(sample.values)})" for sample in first)]
    return heads, [[measure, *map(_shown, row)] for measure, row in samples.items()]


def _shown(sample: Sample) -> str:
    """Mean and error to two digits of the error, of single runs to four digits."""
    summary = summarise(sample.values)
    if not summary.error > 0:
        return f"{summary.mean:.4g}"
    # As many places as the error has to its second digit.
    digits = 1 - math.floor(math.log10(summary.error))
    if 0 <= digits <= 6:
        return f"{summary.mean:.{digits}f} ± {summary.error:.{digits}f}"
    return f"{summary.mean:.3g} ± {summary.error:.2g}"


COLUMNS = 3
"""Comparisons side by side."""


def draw_flatness(file: Path) -> list[Path]:
    """Draw the first runs beside each of the others, measure by measure; returns PNG and SVG.

    Of several seeds it is the standardised difference of their means with its interval of 95 %, of
    single runs the difference as a share of their mean magnitude with that of measuring it. Runs
    of one name are drawn by themselves, each measure in its own unit.
    """
    found = load_flatness(file)
    samples = flatness_samples(found)
    first, *others = (sample.name for sample in next(iter(samples.values())))
    measures = [Measure.named(name) for name in samples]
    width = [measure for measure in measures if measure.speaks_of_width]
    place = [measure for measure in measures if not measure.speaks_of_width]
    title = f"{found[0].facts['recipe']}: how wide the valleys are at the ends of runs"
    shown = others or [first]
    columns, blocks = min(len(shown), COLUMNS), -(-len(shown) // COLUMNS)
    height = blocks * (1.6 + 0.28 * len(measures)) + 0.6
    made = plot.empty_figure(title, 4.5 + 3.8 * columns, height)
    how: dict[str, Any] = {
        "squeeze": False,
        "sharex": "row",
        "sharey": "row",
        "height_ratios": (len(width), len(place) + 0.5) * blocks,
    }
    panels = made.subplots(2 * blocks, columns, **how)
    for number, other in enumerate(shown):
        block, column = divmod(number, columns)
        above, below = panels[2 * block : 2 * block + 2, column]
        wider = f"← {first} is wider", f"{other} is wider →"
        less = f"← less in {first}", f"more in {first} →"
        _forest(above, found, samples, width, (first, other), wider)
        _forest(below, found, samples, place, (first, other), less)
        above.set_xlabel("")
    for unused in panels[-2:, len(shown) - columns * (blocks - 1) :].flat:
        unused.set_visible(False)
    where = f"mean loss of {found[0].facts['samples']:,} training samples"
    plot.caption(
        made,
        f"{where}; intervals of 95 %, hollow where they hold 0; F: local entropy, γ: its scope",
    )
    return save(made, file)


def _forest(
    ax: Axes,
    found: Sequence[Flatness],
    samples: dict[str, list[Sample]],
    measures: Sequence[Measure],
    runs: tuple[str, str],
    sides: tuple[str, str],
) -> None:
    rows, (first, other) = {}, runs
    for measure in measures:
        by_name = {sample.name: sample for sample in samples[measure.name]}
        a, b = by_name[first], by_name[other]
        if first == other:
            name, interval = "value, each in its own unit", of_mean(a.values)
        elif len(a.values) + len(b.values) > 2:
            name, interval = "difference in standard deviations of a seed", standardised(a, b)
        else:
            one, two = (
                next(each.measures[measure.name] for each in found if each.name == run)
                for run in runs
            )
            name, interval = "difference over mean magnitude", _relative(one, two)
        rows[measure.in_words] = interval
    intervals = list(rows.values())
    middle, low, high = zip(
        *((each.middle, each.low, each.high) for each in intervals), strict=True
    )
    sides = ("", "") if first == other else sides
    plot.forest(list(rows), middle, low, high, ax, name=name, sides=sides)
    if first == other:
        ax.set_xscale("symlog", linthresh=min(abs(each) for each in middle if each) or 1.0)


def _relative(one: Estimate, other: Estimate) -> Interval:
    """The difference of two measures over their mean magnitude, and how well it is measured."""
    scale = (abs(one.value) + abs(other.value)) / 2
    error = math.hypot(one.error, other.error)
    fourths = one.error**4 / one.degrees + other.error**4 / other.degrees
    degrees = error**4 / fourths if fourths else math.inf  # Welch and Satterthwaite's
    difference = Estimate(one.value - other.value, error, degrees)
    low, high = difference.interval(CONFIDENCE)
    if not scale or math.isnan(low):
        return Interval(difference.value / scale if scale else 0.0, -math.inf, math.inf)
    return Interval(difference.value / scale, low / scale, high / scale)
