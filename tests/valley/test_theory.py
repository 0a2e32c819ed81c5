"""The paper's theory against numbers: where it holds, and a function for which it does not."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import multivariate_normal

from widevalley.valley import theory
from widevalley.valley.entropy import QuadraticLoss

AXIS = torch.linspace(-20, 20, 4001, dtype=torch.float64)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("c", [0.5, 1.0])
def test_the_lemma_holds_with_a_gap(gamma, c):
    """Curvature between c and 2c everywhere."""

    def f(x):
        return 0.75 * c * x**2 + 0.25 * c * (1 - torch.cos(x))

    found = theory.lemma_on_a_line(f, AXIS, gamma, c)
    slack = 1.001  # the second bound is to leading order
    assert found["lipschitz"] <= slack * found["lipschitz bound"]
    assert found["smoothness"] <= slack * found["smoothness bound"]
    assert found["smoothness bound"] < 2 * c


def test_the_lemma_fails_without_the_gap():
    """Curvature in (-gamma, 0), inside the interval that the lemma excludes: F is rougher."""
    gamma, bend = 1.0, 0.5

    def f(x):
        return bend * torch.cos(x / 4) * 16  # curvature from -bend to bend

    found = theory.lemma_on_a_line(f, AXIS, gamma, c=0.1)
    assert found["smoothness"] > 1.5 * found["smoothness bound"]


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_curvature_of_a_quadratic(eigenvalue, gamma):
    quadratic = QuadraticLoss(torch.tensor([[eigenvalue]]), torch.zeros(1))
    slope = -float(quadratic.gradient(torch.ones(1), gamma))
    assert theory.smoothed_curvature(eigenvalue, gamma) == pytest.approx(slope, rel=1e-6)


@given(st.floats(0.1, 5), st.floats(0.1, 5), st.floats(0, 5))
def test_the_bounds_of_smoothness_hold_for_every_eigenvalue_outside_the_gap(gamma, c, more):
    for eigenvalue in (c + more, -2 * gamma - c - more):
        bound = theory.smoothness_bound(abs(eigenvalue), c, gamma)
        assert abs(theory.smoothed_curvature(eigenvalue, gamma)) <= bound * (1 + 1e-9)


def test_at_minus_gamma_the_integral_diverges():
    with pytest.raises(ValueError, match="eigenvalue=-2.0: must not be minus gamma"):
        theory.smoothed_curvature(-2.0, 2.0)


@pytest.mark.parametrize("f", [torch.abs, torch.square, torch.cosh], ids=lambda f: f.__name__)
def test_the_minimiser_of_an_even_convex_function_stays(f):
    axis = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    found = theory.minimisers(f, axis, (0.1, 1.0, 10.0))
    np.testing.assert_allclose(found, 0.0, atol=1e-9)


def test_the_minimiser_of_a_skewed_convex_function_moves():
    """Convexity alone is not enough: -F leans to the side where f is flatter."""
    axis = torch.linspace(-12, 12, 2401, dtype=torch.float64)

    def f(x):
        return torch.where(x < 0, x.square(), 0.1 * x.square())

    at, *moved = theory.minimisers(f, axis, (0.1, 1.0, 100.0))
    assert at == pytest.approx(0.0, abs=1e-9)
    assert moved[0] > moved[1] > moved[2] > -1e-9
    assert moved[0] > 0.5


@given(st.floats(0.01, 5), st.floats(0.1, 5), st.floats(0.1, 5))
def test_the_exponent_turns_one_bound_into_the_other(beta, c, gamma):
    alpha, steps, samples = 0.7, 1e4, 100
    p = theory.stability_exponent(beta, c, gamma)
    smaller = theory.smoothness_bound(beta, c, gamma)
    ours = theory.sgd_stability(alpha, smaller, steps, samples)
    theirs = theory.sgd_stability(alpha, beta, steps, samples)
    assert ours == pytest.approx((alpha / steps) ** p * theirs, rel=1e-9)


def test_the_papers_exponent_is_the_exact_one_to_first_order():
    for beta in (1e-2, 1e-3, 1e-4):
        exact = theory.stability_exponent(beta, 0.5, 1.0)
        small = theory.stability_exponent_small_beta(beta, 0.5, 1.0)
        assert small == pytest.approx(exact, rel=2 * beta)
    large = 5.0, 0.5, 1.0
    assert theory.stability_exponent_small_beta(*large) > theory.stability_exponent(*large)


@pytest.fixture
def model():
    return theory.GaussianModel(torch.tensor([0.3, 1.1, -0.4]), noise=0.8, prior=1.5)


def test_the_evidence_is_that_of_a_joint_gaussian(model):
    covariance = 0.8**2 * np.eye(3) + 1.5**2
    expected = multivariate_normal(np.zeros(3), covariance).logpdf(model.y.numpy())
    assert model.log_evidence() == pytest.approx(expected)


@given(st.floats(-3, 3), st.floats(0.01, 5))
def test_the_elbo_is_a_bound(mean, variance):
    model = theory.GaussianModel(torch.tensor([0.3, 1.1, -0.4]), noise=0.8, prior=1.5)
    assert model.elbo(mean, variance) <= model.log_evidence() + 1e-9


def test_the_elbo_is_reached_at_the_posterior(model):
    assert model.elbo(*model.posterior()) == pytest.approx(model.log_evidence())


def test_the_local_entropy_of_the_model_by_quadrature(model):
    def density(z):
        return math.exp(float(model.log_likelihood(torch.tensor(z))) - 0.4 * (1.0 - z) ** 2)

    expected = math.log(quad(density, -10, 10)[0])
    assert model.local_entropy(1.0, 0.8) == pytest.approx(expected)


@given(st.floats(-3, 3), st.floats(0.01, 5))
def test_jensen_is_a_bound_with_the_entropy_of_q(mean, variance):
    model = theory.GaussianModel(torch.tensor([0.3, 1.1, -0.4]), noise=0.8, prior=1.5)
    assert model.jensen_bound(1.0, 0.8, mean, variance) <= model.local_entropy(1.0, 0.8) + 1e-9


def test_jensen_is_reached_at_the_gibbs_law(model):
    precision = 3 / 0.8**2 + 0.8
    mode = (float(model.y.sum()) / 0.8**2 + 0.8) / precision
    bound = model.jensen_bound(1.0, 0.8, mode, 1 / precision)
    assert bound == pytest.approx(model.local_entropy(1.0, 0.8))


@pytest.mark.parametrize("name", ["noise", "prior"])
def test_bad_models(name):
    with pytest.raises(ValueError, match=f"{name}=0.0: must be above 0"):
        theory.GaussianModel(torch.zeros(2), **({"noise": 1.0, "prior": 1.0} | {name: 0.0}))


def test_a_model_far_from_zero_keeps_its_digits():
    """Of float32 the log evidence would be off by 1e-4."""
    y = 1000.1 + 0.01 * torch.randn(50, dtype=torch.float64)
    model = theory.GaussianModel(y, noise=0.01, prior=1000.0)
    # A joint Gaussian, whose covariance has one eigenvalue that is not the noise's.
    quadratic = ((y - y.mean()) ** 2).sum() / 0.01**2 + 50 * y.mean() ** 2 / (0.01**2 + 50e6)
    logdet = 49 * math.log(0.01**2) + math.log(0.01**2 + 50e6)
    expected = -0.5 * (float(quadratic) + logdet + 50 * math.log(2 * math.pi))
    assert model.log_evidence() == pytest.approx(expected, abs=1e-6)
    assert model.elbo(*model.posterior()) == pytest.approx(expected, abs=1e-5)
