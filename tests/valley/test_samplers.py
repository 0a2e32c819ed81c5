"""Every sampler on a Gaussian whose law is known, and on a regression against quadrature."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from widevalley.valley import Objective
from widevalley.valley.samplers import (
    SAMPLERS,
    PSGLDSampler,
    SGHMCSampler,
    SGLDSampler,
    SGNHTSampler,
    mean_and_error,
    sample,
)

LANGEVIN = SGLDSampler(step_size=0.1)
SETTINGS = {
    "sgld": {"step_size": 0.005},
    "psgld": {"step_size": 0.005, "memory": 0.9999, "floor": 1.0},
    "sghmc": {"step_size": 0.001, "friction": 0.05},
    "sgnht": {"step_size": 0.001, "friction": 0.05},
}
every_sampler = pytest.mark.parametrize("name", SAMPLERS)


@pytest.mark.slow
@every_sampler
@pytest.mark.parametrize("beta", [1.0, 50.0])
def test_the_variance_of_a_gaussian(name, beta):
    """400 coordinates of each of three curvatures; the law's variance is 1 / (beta h)."""
    sampler = SAMPLERS[name](beta=beta, **SETTINGS[name])
    curvature = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64).repeat_interleave(400)
    generator = torch.Generator().manual_seed(0)
    state = sampler.start(torch.zeros_like(curvature))
    total, kept = torch.zeros_like(curvature), 0
    for k in range(8000):
        noise = torch.randn(1200, generator=generator, dtype=torch.float64)
        state = sampler.step(state, curvature * state["x"], noise)
        if k >= 2000:
            total, kept = total + state["x"].square(), kept + 1
    ratio = (total / kept * curvature * beta).view(3, 400).mean(dim=1)
    np.testing.assert_allclose(ratio.numpy(), 1, atol=0.09)


@every_sampler
def test_the_same_seed_gives_the_same_chain_and_others_differ(name):
    objective = logistic()
    sampler = SAMPLERS[name](beta=5.0, **SETTINGS[name])
    a, b, c = (
        sample(objective, sampler, 1.0, steps=6, burn_in=2, chains=2, seed=s) for s in (0, 0, 1)
    )
    assert np.array_equal(a.distance, b.distance)
    assert not np.array_equal(a.distance, c.distance)
    assert not np.array_equal(a.distance[0], a.distance[1])


def logistic():
    """Two weights, no bias: its law can be integrated on a grid."""
    torch.manual_seed(0)
    x = torch.randn(40, 2, dtype=torch.float64)
    y = torch.bernoulli(torch.sigmoid(x @ torch.tensor([1.5, -0.5]).double()))
    module = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Flatten(0)).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[0.3, 0.4]]))
    return Objective(module, nn.BCEWithLogitsLoss(), [(x, y)])


def by_quadrature(objective, gamma, beta):
    """Mean position and mean square distance from the anchor under the law, on a grid."""
    axis = torch.linspace(-8, 8, 161, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    anchor = objective.flat_weights
    (x, y), away = objective.batches[0], points - anchor
    logits = points @ x.T
    f = nn.functional.binary_cross_entropy_with_logits(
        logits, y.expand_as(logits), reduction="none"
    ).mean(dim=1)
    distance = away.square().sum(dim=1)
    weights = torch.softmax(-beta * (f + gamma / 2 * distance), dim=0)
    return weights @ away, float(weights @ distance)


@pytest.mark.slow
@every_sampler
def test_a_logistic_regression_against_quadrature(name):
    objective, gamma, beta = logistic(), 0.3, 8.0
    step_size = 0.1 if name in ("sgld", "psgld") else 0.02
    sampler = SAMPLERS[name](beta=beta, **(SETTINGS[name] | {"step_size": step_size}))
    trace = sample(objective, sampler, gamma, steps=4000, burn_in=200, chains=3)
    mean, distance = by_quadrature(objective, gamma, beta)
    np.testing.assert_allclose(trace.mean.mean(axis=0), mean.numpy(), atol=0.1)
    found, error = mean_and_error(trace.distance)
    assert abs(found - distance) < 4 * error + 0.03 * distance  # steps are not small


def test_the_papers_walk_is_sgld():
    """One step with h = eta' and beta = 2 / eps^2 is line 5 of Algorithm 1."""
    eta, eps = 0.1, 1e-2
    sampler = SGLDSampler(step_size=eta, beta=2 / eps**2)
    x, g, noise = torch.randn(3, 5, dtype=torch.float64)
    moved = sampler.step({"x": x}, g, noise)["x"]
    torch.testing.assert_close(moved, x - eta * g + math.sqrt(eta) * eps * noise)


def test_full_friction_makes_sghmc_langevin():
    x, g, noise = torch.randn(3, 5, dtype=torch.float64)
    langevin, hamiltonian = SGLDSampler(step_size=0.1), SGHMCSampler(step_size=0.1, friction=1.0)
    moved = hamiltonian.step(hamiltonian.start(x), g, noise)["x"]
    torch.testing.assert_close(moved, langevin.step({"x": x}, g, noise)["x"])


def test_the_thermostat_cools_a_chain_that_is_too_hot():
    sampler = SGNHTSampler(step_size=0.01)
    state = sampler.start(torch.zeros(50)) | {"v": torch.full((50,), 10.0)}
    after = sampler.step(state, torch.zeros(50), torch.zeros(50))
    assert float(after["xi"]) > sampler.friction


def test_the_preconditioner_evens_out_curvatures():
    sampler = PSGLDSampler(step_size=0.1, floor=1e-8)
    g = torch.tensor([1e-3, 1.0, 1e3])
    moved = sampler.step(sampler.start(torch.zeros(3)), g, torch.zeros(3))["x"]
    torch.testing.assert_close(moved, torch.full((3,), -0.1), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SGLDSampler(step_size=0.0), "step_size=0.0: must be above 0"),
        (lambda: SGLDSampler(step_size=0.1, beta=0.0), "beta=0.0: must be above 0"),
        (lambda: SGHMCSampler(step_size=0.1, friction=1.5), r"friction=1.5: must be in \(0, 1\]"),
        (lambda: sample(logistic(), LANGEVIN, 0.0), "gamma=0.0: must be above 0"),
        (
            lambda: sample(logistic(), LANGEVIN, 1.0, steps=0),
            "steps=0: must be at",
        ),
    ],
)
def test_bad_settings(build, message):
    with pytest.raises(ValueError, match=message):
        build()
