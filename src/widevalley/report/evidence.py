"""Differences between runs of several seeds, and what they say of a claim."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import optimize, stats

from widevalley.report.groups import Group, summarise
from widevalley.training import result_of

Verdict = Literal["holds", "does not hold", "not settled"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Sample:
    """One number of several runs that differ by their seed alone."""

    name: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values)

    def shown(self, digits: int) -> str:
        """Name, mean ± standard error, number of seeds."""
        return f"{self.name} {summarise(self.values).shown(digits)} ({len(self.values)})"


@dataclass(frozen=True)
class Interval:
    """A difference of means, and the bounds it lies in with 95 % confidence."""

    middle: float
    low: float
    high: float

    def shown(self, digits: int) -> str:
        """The difference and its bounds; of single seeds there are none."""
        text = f"{self.middle:+.{digits}f}"
        if math.isinf(self.high):
            return f"{text} (no interval)"
        return f"{text} ({self.low:+.{digits}f} to {self.high:+.{digits}f})"

    def marked(self, digits: int) -> str:
        """The same, bold in Markdown where the bounds leave out 0."""
        said = self.shown(digits)
        return said if self.low <= 0 <= self.high else f"**{said}**"


@dataclass(frozen=True)
class Comparison:
    """Two samples, taken to scatter alike, and where the verdict on their difference turns."""

    ours: Sample
    against: Sample
    margin: float = 0.0

    @property
    def freedom(self) -> int:
        """Degrees of freedom of `spread`; two single runs have none."""
        return len(self.ours.values) + len(self.against.values) - 2

    @property
    def spread(self) -> float:
        """Standard deviation of a run around its sample's mean.

        Pooled: with two or three seeds a side, Welch's degrees of freedom would be few.
        """
        both = (self.ours, self.against)
        squares = math.fsum((v - s.mean) ** 2 for s in both for v in s.values)
        return math.sqrt(squares / self.freedom)

    @property
    def largest_spread(self) -> float:
        """The upper end of a one-sided interval of 80 % for it."""
        return self.spread * math.sqrt(self.freedom / float(stats.chi2.ppf(0.2, self.freedom)))

    @property
    def effect(self) -> float:
        """How far the difference is from where the verdict turns."""
        return abs(self.ours.mean - self.against.mean - self.margin)


def difference(a: Sample, b: Sample) -> Interval:
    """Student's interval of mean(a) - mean(b), the two taken to scatter alike.

    One sample may be a single run; where both are, the interval is all numbers.
    """
    middle, pair = a.mean - b.mean, Comparison(a, b)
    if pair.freedom == 0:
        return Interval(middle, -math.inf, math.inf)
    error = pair.spread * math.sqrt(1 / len(a.values) + 1 / len(b.values))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, pair.freedom)) * error
    return Interval(middle, middle - half, middle + half)


def paired(ours: dict[Any, float], theirs: dict[Any, float]) -> Interval:
    """Student's interval of the mean difference between runs of the same seeds.

    Of a single seed it is all numbers. Raises ValueError where no seed is shared.
    """
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        raise ValueError("seeds: none is shared, so that nothing can be paired")
    return of_mean([ours[seed] - theirs[seed] for seed in shared])


def of_mean(values: Sequence[float]) -> Interval:
    """Student's interval of the mean of numbers drawn alike; of a single one it is all numbers."""
    middle = statistics.fmean(values)
    if len(values) == 1:
        return Interval(middle, -math.inf, math.inf)
    error = statistics.stdev(values) / math.sqrt(len(values))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)) * error
    return Interval(middle, middle - half, middle + half)


def standardised(a: Sample, b: Sample) -> Interval:
    """Cohen's d, (mean(a) - mean(b)) / s with the pooled s, and its exact interval.

    It holds 0 where `difference` does: t = d / sqrt(1/n + 1/m) is noncentral t of noncentrality
    t's own true value, whose bounds are those that make t a quantile (Cumming and Finch, 2001).
    NaN of two single runs, which have no scatter to compare with.
    """
    freedom = len(a.values) + len(b.values) - 2
    squares = math.fsum((v - s.mean) ** 2 for s in (a, b) for v in s.values)
    if freedom == 0 or squares == 0:
        return Interval(math.nan, -math.inf, math.inf)
    d = (a.mean - b.mean) / math.sqrt(squares / freedom)
    scale = math.sqrt(1 / len(a.values) + 1 / len(b.values))
    t, tail = abs(d) / scale, (1 - CONFIDENCE) / 2

    def bound(quantile: float, low: float, high: float) -> float:
        # Far from t SciPy's distribution is NaN.
        gap = lambda nc: np.nan_to_num(stats.nct.cdf(t, freedom, nc), nan=float(nc < t)) - quantile  # noqa: E731
        return float(optimize.brentq(gap, low, high)) * scale

    low, high = bound(1 - tail, -3.0, t + 1), bound(tail, t - 1, 3 * t + 6)
    return Interval(d, low, high) if d >= 0 else Interval(d, -high, -low)


def below(interval: Interval, margin: float = 0.0) -> Verdict:
    """Whether a difference is below `margin`, above it, or either."""
    if interval.high < margin:
        return "holds"
    return "does not hold" if interval.low > margin else "not settled"


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """One counter-example refutes a claim; all that was tried must hold for it to hold."""
    verdicts = list(verdicts)
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if verdicts and set(verdicts) == {"holds"} else "not settled"


def final(group: Group, field: str) -> Sample:
    """A field of the last record of each run."""
    return Sample(group.name, tuple(float(f.records[-1][field]) for f in group.folders))


def final_result(group: Group, name: str = "") -> Sample:
    """The metric of the runs at their end."""
    values = tuple(result_of(f.records[-1], group.split) for f in group.folders)
    return Sample(name or group.name, values)


def gradients_to(group: Group, target: float, *, missed: float = math.inf) -> Sample:
    """Gradient evaluations after which each run first reaches `target`.

    A run that never is counts as `missed`.
    """
    field = f"{group.monitored_split}_{group.metric.field}"
    values = []
    for folder in group.folders:
        reached = (float(r["gradients"]) for r in folder.records if r[field] <= target)
        values.append(next(reached, missed))
    return Sample(group.name, tuple(values))
