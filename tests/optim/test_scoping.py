"""Scope schedules against their formulas."""

import math

import pytest

from widevalley import scoping


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        (scoping.Exponential(1e-3), lambda t: (1 + 1e-3) ** t),
        (scoping.Linear(0.2), lambda t: 1 + 0.2 * t),
        (scoping.Quadratic(0.2), lambda t: 1 + 0.2 * t**2),
        (scoping.Saturating(0.1), lambda t: 1 - math.exp(-0.1 * t)),
        (scoping.TotalGrowth(1e4, 50), lambda t: 1e4 ** (t / 50)),
    ],
)
def test_schedules_follow_their_formula(schedule, formula):
    for t in (0, 1, 7, 50):
        assert schedule(t) == pytest.approx(formula(t), rel=1e-12)


def test_total_growth_holds_at_its_end():
    assert scoping.TotalGrowth(10, 5)(1000) == pytest.approx(10)


def test_no_run_is_long_enough_to_overflow():
    assert math.isfinite(scoping.Exponential(1e-3)(10**9))
