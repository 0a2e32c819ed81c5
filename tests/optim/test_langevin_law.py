"""The walk against closed forms on a quadratic, where the local law is Gaussian."""

import math

import pytest
import torch

from tests.optim.optimizers import ANCHORED
from tests.optim.problems import Quadratic
from widevalley import SGLD, Conventions, EntropySGD, LocalEntropy

ENDLESS = 10**9


def walk(optimizer, p, quadratic, steps):
    for _ in range(steps):
        p.grad = quadratic.gradient(p.detach())
        optimizer.step()


def test_without_noise_the_walk_ends_at_the_closed_form():
    """x - x' -> (A + gamma I)^-1 (A x - b), the mean of the modified Gibbs law for b = 0."""
    quadratic, gamma = Quadratic(), 0.7
    p = torch.nn.Parameter(quadratic.x0.clone())
    optimizer = EntropySGD(
        [p], langevin_steps=ENDLESS, gamma=gamma, noise=0.0, langevin_momentum=0.0
    )
    walk(optimizer, p, quadratic, 600)
    local = quadratic.A + gamma * torch.eye(5, dtype=torch.float64)
    expected = torch.linalg.solve(local, quadratic.gradient(quadratic.x0))
    assert torch.allclose(quadratic.x0 - p.detach(), expected, rtol=0, atol=1e-10)
    assert torch.allclose(optimizer.state[p]["mean"], p.detach(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("info", [i for i in ANCHORED if "Adam" not in i.name], ids=str)
def test_the_anchor_converges_to_the_minimiser(info):
    """f convex: the minimiser of -F is that of f."""
    quadratic = Quadratic()
    p = torch.nn.Parameter(quadratic.x0.clone())
    lr = 0.2 if "adam" in info.name else 0.8
    optimizer = info.build([p], noise=0.0, langevin_steps=10, lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4000)
    for _ in range(4000):
        walk(optimizer, p, quadratic, 1)
        scheduler.step()
    with optimizer.at_anchor():
        minimiser = torch.linalg.solve(quadratic.A, quadratic.b)
        assert torch.allclose(p.detach(), minimiser, rtol=0, atol=1e-3)


def stationary(optimizer, p, gradient, *, burn_in, samples):
    """Mean and covariance over time and over the rows of p, each an independent chain."""
    kept = []
    for i in range(burn_in + samples):
        p.grad = gradient(p.detach())
        optimizer.step()
        if i >= burn_in:
            kept.append(p.detach().clone())
    draws = torch.cat(kept)
    return draws.mean(0), torch.cov(draws.T)


def discretised_covariance(precision, eta, eps):
    """The walk's own law at a finite step: eps² (2 H - eta H²)^-1, -> (eps²/2) H^-1."""
    return eps**2 * torch.linalg.inv(2 * precision - eta * precision @ precision)


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("law", ["gaussian", "two-point"])
def test_at_eps_root_two_the_walk_samples_the_modified_gibbs_law(gamma, law):
    """N((A + gamma I)^-1 gamma x, (A + gamma I)^-1) for f = x'Ax/2, at beta = 2 / eps² = 1.

    500 chains of 400 kept steps at eta' = 0.05. Tolerances: the step's own bias against the
    continuous law is at most eta' lambda / 2 = 10 %, and is known exactly; against the walk's
    exact law 5 standard errors at an autocorrelation time of 1 / (eta' lambda) steps are 0.02.
    """
    quadratic = Quadratic(3, lowest=0.5)
    chains, eta, eps = 500, 0.05, math.sqrt(2)
    x = quadratic.x0.expand(chains, 3)
    p = torch.nn.Parameter(x.clone())
    optimizer = EntropySGD(
        [p], langevin_steps=ENDLESS, langevin_lr=eta, langevin_momentum=0.0, gamma=gamma,
        gamma_growth=0.0, noise=eps, noise_law=law,
    )  # fmt: skip
    mean, covariance = stationary(optimizer, p, lambda w: w @ quadratic.A, burn_in=200, samples=400)
    local = quadratic.A + gamma * torch.eye(3, dtype=torch.float64)
    expected_mean = torch.linalg.solve(local, gamma * quadratic.x0)
    assert torch.allclose(mean, expected_mean, rtol=0, atol=0.03)
    exact = discretised_covariance(local, eta, eps)
    assert torch.allclose(covariance, exact, rtol=0, atol=0.02 * float(exact.diag().max()) + 0.01)
    continuous = torch.linalg.inv(local)
    assert torch.allclose(covariance, continuous, rtol=0, atol=0.1 * float(continuous.max()) + 0.01)


def test_a_mean_free_of_noise_has_the_walks_mean_and_the_variance_of_the_closed_form():
    """x' - n along an eigenvector, by the same numbers z: x' <- a x' + s z and n <- b n + s z.

    Var = s² (1 / (1 - a²) + 1 / (1 - b²) - 2 / (1 - a b)), nothing where f is flat and a = b,
    where x' itself has eps² / (2 gamma). Tolerances: 5 standard errors of
    2,000 chains, of which 300 steps are worth 7 each.
    """
    eta, gamma, eps, chains = 0.1, 0.5, 0.8, 2000
    curvatures = torch.tensor([0.0, 0.05, 0.5, 3.0], dtype=torch.float64)
    center = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    p = torch.nn.Parameter(torch.zeros(chains, 4, dtype=torch.float64))
    optimizer = EntropySGD(
        [p], langevin_steps=ENDLESS, langevin_lr=eta, langevin_momentum=0.0, gamma=gamma,
        gamma_growth=0.0, noise=eps, averaging=1.0, conventions=Conventions(noise_free_mean=True),
    )  # fmt: skip
    kept = []
    for i in range(500):
        p.grad = curvatures * (p.detach() - center)
        optimizer.step()
        if i >= 200:
            kept.append(optimizer.state[p]["mean"].clone())
    draws = torch.cat(kept)
    a, b = 1 - eta * (curvatures + gamma), 1 - eta * gamma
    expected = eta * eps**2 * (1 / (1 - a**2) + 1 / (1 - b**2) - 2 / (1 - a * b))
    assert torch.allclose(draws.mean(0), curvatures * center / (curvatures + gamma), atol=0.03)
    assert torch.allclose(draws.var(0), expected, rtol=0.06, atol=1e-12)
    assert expected[0] < 1e-15
    assert draws.var(0)[0] < 1e-20


def spread_around_adam(*, preconditioned):
    """Variances along three curvatures of a walk around Adam without momentum, in units of T."""
    curvatures, eps, gamma = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64), 0.8, 0.5
    p = torch.nn.Parameter(torch.zeros(500, 3, dtype=torch.float64))
    optimizer = LocalEntropy(
        torch.optim.Adam([p], lr=0.02, betas=(0.0, 0.999)), langevin_steps=ENDLESS, gamma=gamma,
        gamma_growth=0.0, noise=eps, averaging=1.0, preconditioned=preconditioned,
    )  # fmt: skip
    _, covariance = stationary(optimizer, p, lambda w: curvatures * w, burn_in=500, samples=700)
    return covariance.diag() / (eps**2 / 2), 1 / (curvatures + gamma)


def test_around_adam_preconditioned_noise_samples_the_modified_gibbs_law():
    """Variances T / (lambda + gamma) for curvatures a hundred apart, to 10 %.

    Adam's steps are as long along all of them, and with noise that is, too, the variances come out
    equal: off by factors of 6 and 3.
    """
    found, expected = spread_around_adam(preconditioned=True)
    assert torch.allclose(found, expected, rtol=0.1, atol=0)
    found, _ = spread_around_adam(preconditioned=False)
    assert found[0] < expected[0] / 4
    assert found[2] > expected[2] * 2


@pytest.mark.slow
@pytest.mark.parametrize("eps", [0.5, 1.0])
@pytest.mark.parametrize("law", ["gaussian", "two-point"])
def test_sgld_samples_at_inverse_temperature_two_over_eps_squared(eps, law):
    quadratic = Quadratic(3, lowest=0.5)
    eta = 0.05
    p = torch.nn.Parameter(torch.zeros(500, 3, dtype=torch.float64))
    optimizer = SGLD([p], lr=eta, noise=eps, noise_law=law)
    mean, covariance = stationary(optimizer, p, lambda w: w @ quadratic.A, burn_in=200, samples=400)
    exact = discretised_covariance(quadratic.A, eta, eps)
    spread = float(exact.diag().max())
    assert torch.allclose(mean, torch.zeros(3, dtype=torch.float64), atol=0.05 * spread**0.5)
    assert torch.allclose(covariance, exact, rtol=0, atol=0.04 * spread)


@pytest.mark.parametrize("law", ["gaussian", "two-point"])
def test_how_far_the_stationary_law_is_from_gaussian(law):
    """Of x <- a x + s xi, a = 1 - eta lambda: cumulants add up, the k-th by 1 / (1 - a^k).

    So the excess kurtosis is that of xi times (1 - a^2) / (1 + a^2), -2 for +-1: -0.49 at a = 0.6,
    and eta lambda times that of xi for small steps, where no test tells the law from a Gaussian.
    """
    eta, a, chains = 0.4, 0.6, 1 << 20
    p = torch.nn.Parameter(torch.zeros(chains))
    optimizer = SGLD([p], lr=eta, noise=1.0, noise_law=law)
    for _ in range(40):  # what is left of the start is a^40 = 1e-9
        p.grad = p.detach().clone()
        optimizer.step()
    x = p.detach().double() * math.sqrt((1 - a**2) / eta)
    excess = (-2.0 if law == "two-point" else 0.0) * (1 - a**2) / (1 + a**2)
    # the standard errors of the three are at most those of a Gaussian sample
    assert abs(x.mean()) < 5 / chains**0.5
    assert abs(x.square().mean() - 1) < 5 * (2 / chains) ** 0.5
    assert abs(x.pow(4).mean() - 3 - excess) < 5 * (96 / chains) ** 0.5
