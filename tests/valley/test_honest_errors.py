"""Intervals that cover what they say, chains in two valleys, and the learning coefficient."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats
import torch
from calibration import coverage, covered
from torch import nn

from widevalley.valley import Estimate, Objective
from widevalley.valley.entropy import (
    entropy_differences,
    entropy_gradient,
    local_learning_coefficient,
)
from widevalley.valley.estimate import student_t
from widevalley.valley.samplers import (
    Chains,
    NotMixed,
    SGLDSampler,
    effective_sample_size,
    sample,
)


@pytest.mark.parametrize("degrees", [1, 2, 3, 10, 60, 199, 200, math.inf])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_quantiles_are_those_of_scipy(degrees, level):
    law = scipy.stats.norm if math.isinf(degrees) else scipy.stats.t(degrees)
    assert student_t(level, degrees) == pytest.approx(law.ppf((1 + level) / 2), rel=1e-6)


def test_an_interval_is_the_value_and_so_many_errors():
    low, high = Estimate(2.0, 0.5, 3).interval(0.95)
    assert (low + high) / 2 == pytest.approx(2)
    assert high - 2 == pytest.approx(0.5 * 3.18245, rel=1e-5)
    with pytest.raises(ValueError, match=r"level=95: must be between 0 and 1"):
        Estimate(2.0, 0.5).interval(95)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["`entropy_gradient`, a weight at a time, four chains"])
def test_intervals_of_chains_cover_what_they_say(name):
    """Normal intervals of four chains cover 86 %; 40 repetitions of 13 weights tell."""
    share, error = coverage([covered(name, seed) for seed in range(40)])
    assert error < 0.02
    assert abs(share - 0.95) < 3 * error


@pytest.mark.parametrize("name", ["`trace`, 15 products", "`local_energy`, 20 samples"])
def test_intervals_of_probes_cover_what_they_say(name):
    share, error = coverage([covered(name, seed) for seed in range(300)])
    assert abs(share - 0.95) < 4 * error


class Line(nn.Module):
    """A single weight, which is what comes out."""

    def __init__(self, at):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([float(at)], dtype=torch.float64))

    def forward(self, x):
        return self.weight


def two_wells(x, _):
    """A narrow well at 0 and a wide one at 3, both of depth about 0."""
    narrow, wide = 400 * x.square(), 2 * (x - 3).square()
    return -torch.logsumexp(torch.cat([-narrow, -wide]), dim=0)


def by_quadrature(f, gamma, anchor=0.0):
    """Mean squared distance under exp(-f - gamma/2 d^2)."""
    axis = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    values = torch.stack([f(x[None], None) for x in axis])
    distance = (axis - anchor).square()
    weights = torch.softmax(-values - gamma / 2 * distance, dim=0)
    return float(weights @ distance)


ONE = [(torch.zeros(1, 1).double(), torch.zeros(1, 1).double())]


@pytest.mark.parametrize("seed", range(3))
def test_a_second_valley_is_found_or_warned_of(seed):
    """Begun at the anchor, chains agree to four digits on the narrow well, and are wrong."""
    objective, sampler = Objective(Line(0), two_wells, ONE), SGLDSampler(step_size=1e-3)
    gamma, truth = 0.2, by_quadrature(two_wells, 0.2)
    assert truth > 2
    how = {"steps": 1500, "burn_in": 500, "chains": 4, "seed": seed}
    blind = sample(objective, sampler, gamma, starts="anchor", **how)
    assert blind.distance.mean() < 0.01
    assert blind.position_r_hat() < 1.05
    chains = sample(objective, sampler, gamma, **how)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        entropy_gradient(chains)
    warned = any(issubclass(w.category, NotMixed) for w in caught)
    assert warned or chains.distance.mean() == pytest.approx(truth, rel=0.5)


def test_chains_in_two_places_at_one_distance_are_warned_of():
    """Wells at -2 and 2: distances from the anchor agree, positions do not."""

    def even(x, _):
        return 2 * (x.square() - 4).square().sum()

    objective = Objective(Line(0), even, ONE)
    chains = sample(
        objective, SGLDSampler(step_size=1e-3), 0.25, steps=600, burn_in=400, chains=6, seed=1
    )
    assert len(set(np.sign(chains.projection[:, -1, 0]))) == 2
    assert chains.position_r_hat() > 2
    with pytest.warns(NotMixed, match="different places, R-hat of their positions"):
        entropy_gradient(chains)
    with pytest.warns(NotMixed, match="different places"):
        entropy_differences([chains])


def test_files_without_positions_are_read(tmp_path):
    """Chains of earlier versions have none."""
    plain, mean = np.ones((2, 5)), np.zeros((2, 3))
    old = Chains(plain, plain, plain, plain, plain, plain, mean, mean, {"gamma": 1.0, "beta": 1.0})
    assert math.isnan(old.position_r_hat())
    old.save(tmp_path / "old.npz")
    again = Chains.load(tmp_path / "old.npz")
    assert math.isnan(again.position_r_hat())
    entropy_gradient(again)


class Weights(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n, dtype=torch.float64))

    def forward(self, x):
        return self.weight


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "f", "expected"),
    [
        (6, lambda w, _: w.square().sum() / 2, 3.0),
        (4, lambda w, _: w.pow(4).sum(), 1.0),
        (2, lambda w, _: w.square().sum().square(), 0.5),
        (4, lambda w, _: w[:2].square().sum() + w[2:].pow(4).sum(), 1.5),
    ],
    ids=["regular", "quartic", "radial quartic", "mixed"],
)
def test_the_learning_coefficient_of_singular_minima(n, f, expected):
    """Of a sum of powers |w|^k it is the sum of 1/k, at every temperature."""
    objective = Objective(Weights(n), f, ONE)
    chains = sample(
        objective, SGLDSampler(step_size=0.02, beta=4.0), 1e-3, steps=6000, burn_in=1000,
        starts="anchor", seed=2,
    )  # fmt: skip
    found = local_learning_coefficient(chains)
    assert abs(found.value - expected) < 4 * found.error + 0.02 * expected
    assert found.error < 0.1 * expected


def test_bad_starts():
    with pytest.raises(ValueError, match="starts='far': must be 'dispersed' or 'anchor'"):
        sample(Objective(Line(0), two_wells, ONE), SGLDSampler(step_size=0.1), 1.0, starts="far")


def test_chains_that_stand_still_apart_are_as_many_samples():
    assert effective_sample_size(np.repeat(np.arange(4.0)[:, None], 100, axis=1)) == 4
    assert effective_sample_size(np.zeros((4, 100))) == 400
