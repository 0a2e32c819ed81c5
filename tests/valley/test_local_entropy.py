"""Three routes to the local entropy of a quadratic loss, whose closed form is at hand."""

import math
import warnings

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from torch import nn

from widevalley.valley import Hessian, Objective
from widevalley.valley.entropy import (
    QuadraticLoss,
    entropy_differences,
    entropy_gradient,
    entropy_gradient_norm,
    laplace,
)
from widevalley.valley.samplers import (
    Chains,
    NotMixed,
    SGLDSampler,
    SGNHTSampler,
    effective_sample_size,
    mean_and_error,
    r_hat,
    sample,
)

BETA = 5.0


@pytest.fixture(scope="module")
def regression():
    """Linear least squares, its quadratic, and weights away from its minimum."""
    torch.manual_seed(0)
    x, y = torch.randn(30, 3).double(), torch.randn(30, 1).double()
    objective = Objective(nn.Linear(3, 1).double(), nn.MSELoss(), [(x, y)])
    hessian = Hessian(objective)
    matrix = hessian @ torch.eye(4, dtype=torch.float64)
    at = objective.flat_weights
    minimum = at - torch.linalg.solve(matrix, objective.gradient())
    base = objective.value() - float(QuadraticLoss(matrix, minimum)(at))
    return objective, hessian, QuadraticLoss(matrix, minimum, base), at


def test_laplace_is_exact_for_a_quadratic(regression):
    _, hessian, quadratic, at = regression
    gammas = (0.5, 2.0, 30.0)
    found = laplace(hessian, gammas, beta=BETA, probes=400)
    for gamma, estimate in zip(gammas, found.values, strict=True):
        expected = -quadratic.local_entropy(at, gamma, beta=BETA)
        assert abs(estimate.value - expected) < 4 * estimate.error
        assert estimate.error < 0.01
    assert found.smallest_ritz_value == pytest.approx(
        float(torch.linalg.eigvalsh(quadratic.hessian)[0])
    )


def test_laplace_is_refused_where_the_integral_diverges(regression):
    objective, hessian, _, _ = regression
    with pytest.raises(ValueError, match="gamma=0.0: must be above 0"):
        laplace(hessian, (0.0, 1.0))
    concave = Objective(
        objective.module, lambda o, t: -nn.functional.mse_loss(o, t), objective.batches
    )
    with pytest.raises(ValueError, match=r"gamma=0.1: must be above [\d.]+, minus the least Ritz"):
        laplace(Hessian(concave), (0.1,))


@pytest.mark.slow
def test_chains_agree_with_the_closed_form(regression):
    objective, _, quadratic, at = regression
    gammas = (0.5, 0.8, 1.3, 2.0)
    sampler = SGNHTSampler(step_size=0.005, beta=BETA)
    traces = [
        sample(objective, sampler, gamma, steps=2500, burn_in=300, chains=3, seed=k)
        for k, gamma in enumerate(gammas)
    ]
    exact = [-quadratic.local_entropy(at, gamma, beta=BETA) for gamma in gammas]
    for found, expected in zip(entropy_differences(traces), exact, strict=True):
        assert abs(found.value - (expected - exact[0])) < 4 * found.error + 0.01
    found = entropy_gradient(traces[1])
    slope, error = found.value, found.error
    expected = quadratic.gradient(at, gammas[1]).numpy()
    assert np.abs(slope - expected).max() < 0.1
    assert np.all(error > 0)


@pytest.mark.slow
def test_a_chain_less_its_coupled_one_shows_the_excess(regression):
    """Of what F adds to a flat loss's: walks, Laplace and the closed form agree."""
    objective, hessian, quadratic, at = regression
    gammas = (4.0, 6.0, 9.0)
    traces = [
        sample(
            objective, SGLDSampler(step_size=0.01, beta=50.0), gamma, steps=3000, chains=3, seed=3
        )
        for gamma in gammas
    ]
    flat = [objective.value() + 2 / 50 * math.log(50 * g / (2 * math.pi)) for g in gammas]
    exact = [
        -quadratic.local_entropy(at, g, beta=50.0) - f for g, f in zip(gammas, flat, strict=True)
    ]
    found = laplace(hessian, gammas, beta=50.0, probes=400)
    by_laplace = found.excess
    curvature = torch.linalg.eigvalsh(quadratic.hessian)
    for gamma, term in zip(gammas, found.logdet_term, strict=True):
        expected = float((1 + curvature / gamma).log().sum()) / 100
        assert term.value == pytest.approx(expected, abs=4 * term.error)
    by_walks = entropy_differences(traces, subtract_flat=True)
    for k in range(3):
        assert by_laplace[k].value == pytest.approx(exact[k], abs=4 * by_laplace[k].error)
        error = by_walks[k].error
        assert by_walks[k].value == pytest.approx(exact[k] - exact[0], abs=4 * error + 2e-3)
    norm = float(quadratic.gradient(at, gammas[1]).norm())
    assert entropy_gradient_norm(traces[1]) == pytest.approx(norm, rel=0.05)
    assert np.abs(traces[1].flat_mean).max() < 0.05


def test_the_coupled_chain_of_a_flat_loss_is_the_chain():
    def flat(outputs, targets):
        return 0.0 * nn.functional.mse_loss(outputs, targets)

    x = torch.ones(4, 2).double()
    objective = Objective(nn.Linear(2, 1).double(), flat, [(x, torch.zeros(4, 1).double())])
    trace = sample(objective, SGNHTSampler(step_size=0.01), 1.0, steps=50, burn_in=10, chains=2)
    np.testing.assert_allclose(trace.distance, trace.flat_distance)
    np.testing.assert_allclose(trace.mean, trace.flat_mean)
    assert entropy_gradient_norm(trace) == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_coupled_chains_take_the_scatter_of_flat_directions_away():
    """Three hundred weights, of which the loss sees three."""
    torch.manual_seed(0)
    x = torch.zeros(40, 300).double()
    x[:, :3] = torch.randn(40, 3)
    module, y = nn.Linear(300, 1, bias=False).double(), torch.randn(40, 1).double()
    objective = Objective(module, nn.MSELoss(), [(x, y)])
    sampler = SGLDSampler(step_size=0.2, beta=20.0)
    traces = [sample(objective, sampler, gamma, steps=600, chains=2) for gamma in (1.0, 2.0)]
    plain, less = (
        entropy_differences(traces, subtract_flat=flat)[1].error for flat in (False, True)
    )
    assert less < 0.3 * plain


def trace_of(distance, gamma=1.0, beta=1.0):
    distance = np.asarray(distance, dtype=float)
    plain, still = np.zeros_like(distance), np.zeros((len(distance), 2))
    facts = {"gamma": gamma, "beta": beta}
    return Chains(plain, distance, plain, plain, plain, plain, still, still, facts)


def test_differences_integrate_half_the_square_distance():
    """With <d^2> = c / gamma the integral is c/2 log(gamma / gamma_0), whatever the spacing."""
    rng = np.random.default_rng(0)
    gammas = (1.0, 3.0, 4.0)
    traces = [trace_of(6 / g + rng.normal(0, 1e-3, (2, 500)), g) for g in gammas]
    for gamma, found in zip(gammas, entropy_differences(traces), strict=True):
        assert found.value == pytest.approx(3 * math.log(gamma), abs=5 * found.error + 1e-9)
    with pytest.raises(ValueError, match="gamma must ascend at one beta"):
        entropy_differences(traces[::-1])
    with pytest.raises(ValueError, match="gamma must ascend at one beta"):
        entropy_differences([traces[0], trace_of(np.ones((2, 9)), 2.0, beta=3.0)])


def test_chains_record_what_a_step_is_made_of(regression, tmp_path):
    objective, _, _, _ = regression
    trace = sample(
        objective,
        SGLDSampler(step_size=0.01, beta=2.0),
        0.7,
        steps=30,
        burn_in=0,
        chains=2,
        starts="anchor",
    )
    assert trace.loss.shape == trace.distance.shape == (2, 30)
    assert trace.loss[0, 0] == pytest.approx(objective.value())
    assert trace.gradient_norm[1, 0] == pytest.approx(float(objective.gradient().norm()))
    np.testing.assert_allclose(trace.pull_norm, 0.7 * np.sqrt(trace.distance))
    assert trace.noise_norm.mean() == pytest.approx(math.sqrt(2 * 0.01 / 2 * 4), rel=0.15)
    trace.save(tmp_path / "trace.npz")
    again = Chains.load(tmp_path / "trace.npz")
    assert np.array_equal(again.mean, trace.mean)
    assert again.facts == trace.facts
    assert again.facts["sampler"] == "sgld"


def test_batches_are_drawn_by_their_weights():
    x = torch.cat([torch.zeros(30, 1), torch.ones(10, 1)]).double()
    batches = [(x[:30], torch.zeros(30, 1).double()), (x[30:], torch.zeros(10, 1).double())]
    module = nn.Linear(1, 1, bias=False).double()
    objective = Objective(module, nn.MSELoss(), batches)
    trace = sample(objective, SGLDSampler(step_size=1e-9), 1.0, steps=2000, burn_in=0, chains=1)
    assert (trace.loss > 0).mean() == pytest.approx(0.25, abs=0.04)


def autoregressive(memory, chains=4, steps=20_000):
    rng = np.random.default_rng(0)
    values = np.zeros((chains, steps))
    for k in range(1, steps):
        values[:, k] = memory * values[:, k - 1] + rng.normal(size=chains)
    return values


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.95])
def test_effective_samples_of_an_autoregression(memory):
    values = autoregressive(memory)
    expected = values.size * (1 - memory) / (1 + memory)
    assert effective_sample_size(values) == pytest.approx(expected, rel=0.15)
    assert r_hat(values) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("memory", [-0.5, 0.0, 0.5, 0.95])
@pytest.mark.parametrize(("chains", "steps"), [(2, 101), (4, 2000)])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_diagnostics_are_those_of_arviz(memory, chains, steps, shift):
    values = autoregressive(memory, chains, steps)
    values[0] += shift
    assert r_hat(values) == pytest.approx(array_stats.rhat(values, method="split"), rel=1e-12)
    expected = array_stats.ess(values, method="identity")
    # Where the correlation lasts to the end of a chain ArviZ counts its last pair half.
    rounding = 1e-9 if shift == 0 and memory < 0.9 else 0.02
    assert effective_sample_size(values) == pytest.approx(expected, rel=rounding)


def test_the_error_of_a_mean_covers_its_scatter():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [mean_and_error(part) for part in np.split(autoregressive(0.8), 20, axis=1)]
    scatter = np.std([mean for mean, _ in found], ddof=1)
    assert np.mean([error for _, error in found]) == pytest.approx(scatter, rel=0.5)


def test_chains_that_disagree_are_named():
    values = np.random.default_rng(0).normal(size=(2, 400))
    values[0] += 5
    assert r_hat(values) > 2
    with pytest.warns(NotMixed, match="distance: .* R-hat"):
        mean_and_error(values, "distance")


def test_chains_that_are_too_short_are_named():
    with pytest.warns(NotMixed, match="effective samples of 40"):
        mean_and_error(autoregressive(0.9, 2, 20))
    assert math.isnan(r_hat(np.zeros((2, 2))))


def test_chains_that_never_move():
    still = np.ones((2, 100))
    assert effective_sample_size(still) == still.size
    assert r_hat(still) == 1.0
