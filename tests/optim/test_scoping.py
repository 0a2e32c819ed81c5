"""Scope schedules against their formulas."""

import math

import pytest
import torch

from tests.optim.optimizers import entropy_sgd
from tests.optim.problems import Quadratic
from widevalley import LocalEntropy, gradient_point, scoping


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


def test_a_temperature_is_the_papers_noise():
    """The walk samples at the inverse temperature 2 / eps²; eps = 1e-4 is 2e8."""
    assert scoping.noise_at(1 / 60_000) == pytest.approx(0.005774, rel=1e-4)
    assert scoping.noise_at(1 / 2e8) == pytest.approx(1e-4)
    assert scoping.noise_at(0) == 0
    with pytest.raises(ValueError, match="temperature must be >= 0, got -1"):
        scoping.noise_at(-1)


def beside(params, **settings):
    return entropy_sgd(params, gradient_point=gradient_point.Smoothing(0.5), **settings)


def around_sgd(params, **settings):
    return LocalEntropy(torch.optim.SGD(params, lr=0.1), **settings)


@pytest.mark.parametrize("make", [entropy_sgd, beside, around_sgd])
def test_the_automatic_scope_makes_pull_and_loss_weigh_the_same(make):
    quadratic = Quadratic()
    p = torch.nn.Parameter(quadratic.x0.clone())
    optimizer = make([p], langevin_steps=6, gamma=0.0, gamma_growth=scoping.TotalGrowth(1e4, 3))
    with pytest.raises(ValueError, match="amid a walk"):
        optimizer.automatic_scope(2.0)
    for _ in range(5):
        p.grad = quadratic.gradient(p.detach())
        optimizer.step()
    gamma = optimizer.automatic_scope(2.0)
    assert optimizer.scope() == gamma
    with pytest.raises(ValueError, match="loss must be > 0, got 0"):
        optimizer.automatic_scope(0)
    (group,) = optimizer.param_groups
    if group["gradient_point"] is not None:  # the parameter is beside the walker
        optimizer._displaced().take_off([group])
    square = float((p.detach() - optimizer.state[p]["anchor"]).square().sum())
    assert gamma / 2 * square == pytest.approx(2.0)
