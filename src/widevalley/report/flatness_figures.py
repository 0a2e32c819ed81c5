"""Flatness of several runs side by side, from their file alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from widevalley.experiments import Flatness, load_flatness
from widevalley.report.drawing import STYLES, caption, figure, plain, save
from widevalley.report.evidence import Sample
from widevalley.report.groups import summarise
from widevalley.report.table import Cells

COLUMNS = 5


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


def draw_flatness(file: Path) -> list[Path]:
    """Draw every measure of every run beside the others; returns PNG and SVG."""
    found = load_flatness(file)
    samples = flatness_samples(found)
    rows = -(-len(samples) // COLUMNS)
    facts = found[0].facts
    made = figure(f"{facts['recipe']}: flatness at the ends of runs", 3 * COLUMNS, 2.3 * rows)
    panels = made.subplots(rows, COLUMNS, squeeze=False).flat
    for (measure, each), axes in zip(samples.items(), panels, strict=False):
        for k, (sample, (colour, _)) in enumerate(zip(each, STYLES, strict=False)):
            places = [k] * len(sample.values)
            axes.plot(places, sample.values, "o", color=colour, alpha=0.6, markersize=4)
            axes.plot(k, sample.mean, "_", color=colour, markersize=22)
        # From zero, so that a small difference looks small.
        if min(value for sample in each for value in sample.values) > 0:
            axes.set_ylim(bottom=0)
        axes.set_title(measure, fontsize="small")
        axes.set_xlim(-0.6, len(each) - 0.4)
        axes.set_xticks(range(len(each)), [sample.name for sample in each], fontsize="x-small")
        axes.tick_params(axis="y", which="both", labelsize="x-small")
        plain(axes, "", "")
    for axes in panels:
        axes.set_axis_off()
    caption(made, f"mean loss of {facts['samples']:,} training samples; a dot a seed, a bar a mean")
    return save(made, file)
