"""How each claim is tested: from a results folder to comparisons.

A test yields one row for each comparison that there are runs for. Its verdict follows from an
interval by the rule of `evidence.below`, or where the test says so from counts alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from widevalley.experiments import PAPER, Measure, as_flag
from widevalley.report.evidence import (
    Comparison,
    Sample,
    Verdict,
    below,
    difference,
    final,
    final_result,
    gradients_to,
)
from widevalley.report.flatness_figures import flatness_samples
from widevalley.report.groups import Group
from widevalley.report.results_folder import ResultsFolder, diverged_points, value_of

TENTH = 0.1
NATS = 0.01
"""What counts as equal: a tenth of an error, a hundredth of a nat (1 % of a perplexity)."""
USABLE = 1.25
"""A rate is usable whose error is at most this times the best of its grid."""


@dataclass(frozen=True)
class Row:
    """One comparison."""

    where: str
    ours: str
    against: str
    difference: str
    verdict: Verdict
    comparison: Comparison | None = None
    """What the verdict follows from, where it does from an interval."""
    minutes: float | None = None
    """Of a run of either side, on average; None for measures of runs."""
    single: bool = False
    """Whether there is a single run on either side."""

    @property
    def shown_verdict(self) -> str:
        """The verdict, and whether it rests on a single run."""
        return f"{self.verdict} (one seed)" if self.single else self.verdict


ClaimTest = Callable[[ResultsFolder], Iterator[Row]]


def compared(
    where: str,
    a: Sample,
    b: Sample,
    margin: float,
    digits: int,
    groups: tuple[Group, ...] = (),
) -> Row:
    """Whether a is below b + margin; `groups` are the runs, where they are known."""
    gap = difference(a, b)
    cells = a.shown(digits), b.shown(digits), gap.shown(digits)
    seconds = [group.final("seconds").mean for group in groups]
    minutes = statistics.fmean(seconds) / 60 if seconds else None
    single = min(len(a.values), len(b.values)) == 1
    return Row(where, *cells, below(gap, margin), Comparison(a, b, margin), minutes, single)


def needs_fewer_gradients(results: ResultsFolder) -> Iterator[Row]:
    """Gradients until a run is first as good as its baseline is in the end."""
    for recipe, a, b in results.pairs():
        end = b.result(b.monitored_split).mean
        target = end + _margin(b, end)
        ours = gradients_to(a, target)
        # The baseline's own mean may be missed by one of its seeds, which then counts in full.
        theirs = gradients_to(b, target, missed=b.final("gradients").mean)
        if math.isinf(ours.mean):
            never = f"{a.name}: not every seed"
            fewest, most = sorted((len(a.folders), len(b.folders)))
            verdict: Verdict = "not settled" if most == 1 else "does not hold"  # two single runs
            yield Row(recipe, never, theirs.shown(0), "", verdict, single=fewest == 1)
        else:
            yield compared(recipe, ours, theirs, 0.0, 0, (a, b))


def generalises_as_well(results: ResultsFolder) -> Iterator[Row]:
    """Test error at the end, with a margin."""
    for recipe, a, b in results.pairs():
        theirs = final_result(b)
        margin = _margin(b, theirs.mean)
        yield compared(recipe, final_result(a), theirs, margin, b.metric.digits, (a, b))


def has_lower_training_loss(results: ResultsFolder) -> Iterator[Row]:
    """Loss of the whole training set at the end."""
    for recipe, a, b in results.pairs():
        ours, theirs = final(a, "train_set_loss"), final(b, "train_set_loss")
        yield compared(recipe, ours, theirs, 0.0, 4, (a, b))


def sgld_is_worse(results: ResultsFolder) -> Iterator[Row]:
    """Test error at the end of the others against SGLD's."""
    for recipe in PAPER:
        sgld = results.variant(recipe, "sgld")
        for name in ("paper", "baseline"):
            other = results.variant(recipe, name)
            if sgld and other:
                ours, theirs = final_result(other), final_result(sgld)
                yield compared(recipe, ours, theirs, 0.0, sgld.metric.digits, (other, sgld))


def is_insensitive_to(setting: str) -> ClaimTest:
    """Validation error at each value of a setting against that at the best of them."""

    def rows(results: ResultsFolder) -> Iterator[Row]:
        for recipe, groups in results.study(setting):
            # The best of the same grid: insensitive means that no value does much worse.
            best = min(groups, key=lambda group: group.result().mean)
            reference = final_result(best, as_flag(best.name))
            margin = _margin(best, reference.mean)
            for group in groups:
                if group is not best:
                    ours = final_result(group, as_flag(group.name))
                    yield compared(recipe, ours, reference, margin, 2, (group, best))

    return rows


def constant_walk_rate_is_better(results: ResultsFolder) -> Iterator[Row]:
    """Validation error with a constant rate of the walk against one that falls."""
    for recipe, groups in results.study("walk_schedule"):
        constant, annealed = sorted(groups, key=lambda g: g.name != "walk_schedule=constant")
        ours = final_result(constant, as_flag(constant.name))
        theirs = final_result(annealed, as_flag(annealed.name))
        yield compared(recipe, ours, theirs, 0.0, 2, (constant, annealed))


def has_larger_usable_rates(results: ResultsFolder) -> Iterator[Row]:
    """The largest usable rate of the anchor's grid and of the walk's, against SGD's."""
    theirs = dict(results.study("optimizer.lr", "sgd"))
    for setting in ("optimizer.lr", "optimizer.langevin_lr"):
        for recipe, groups in results.study(setting):
            if recipe in theirs:
                a, b = _largest_usable(groups), _largest_usable(theirs[recipe])
                grids = _grid(groups), _grid(theirs[recipe])
                verdict: Verdict = "holds" if a > b else "does not hold"
                yield Row(recipe, *grids, f"usable to {a:g} against {b:g}", verdict)


def is_flatter(results: ResultsFolder) -> Iterator[Row]:
    """Every measure that speaks of width, against that of each other optimizer."""
    for recipe, found in results.flatness():
        for measure, samples in flatness_samples(found).items():
            if not Measure.named(measure).speaks_of_width:
                continue
            ours = [sample for sample in samples if sample.name == "entropy-sgd"]
            others = [sample for sample in samples if sample.name != "entropy-sgd"]
            for a, b in product(ours, others):
                digits = 2 - math.floor(math.log10(max(abs(b.mean), 1e-9)))
                yield compared(f"{recipe}: {measure}", a, b, 0.0, max(digits, 0))


def _margin(group: Group, result: float) -> float:
    """What counts as equal to a result of the group's metric."""
    field = group.metric.field
    return {"error": TENTH * result, "loss": NATS}.get(field, NATS * result)


def _largest_usable(groups: list[Group]) -> float:
    best = min(group.result().mean for group in groups)
    usable = [group for group in groups if group.result().mean <= USABLE * best]
    return max(value_of(group.name)[0] for group in usable)


def _grid(groups: list[Group]) -> str:
    """Every point of the sweep that the groups are of, those that diverged last."""
    shown = [final_result(group, as_flag(group.name)).shown(2) for group in groups]
    failed = [f"{as_flag(name)} diverged" for name in diverged_points(groups)]
    return ", ".join([*shown, *failed])
