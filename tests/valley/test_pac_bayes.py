"""PAC-Bayes bounds against closed forms, scipy, and problems in which every risk is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special, stats
from torch import distributions

from widevalley.valley.theory import pac_bayes

SHARE = st.floats(0, 1)


@given(SHARE, st.floats(0.001, 0.999))
def test_the_relative_entropy_of_two_coins_is_scipys(q, p):
    expected = special.rel_entr([q, 1 - q], [p, 1 - p]).sum()
    assert pac_bayes.bernoulli_kl(q, p) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_relative_entropy_at_the_ends():
    assert pac_bayes.bernoulli_kl(0, 0) == pac_bayes.bernoulli_kl(1, 1) == 0
    assert pac_bayes.bernoulli_kl(0.5, 1) == pac_bayes.bernoulli_kl(0.5, 0) == math.inf


@given(st.floats(0, 20))
def test_the_inverse_at_zero_is_closed(nats):
    assert pac_bayes.kl_inverse(0, nats) == pytest.approx(-math.expm1(-nats), abs=1e-15)


@given(st.floats(0.001, 0.95), st.floats(1e-6, 3))
def test_the_inverse_is_the_root_that_scipy_finds(q, nats):
    def gap(p):
        return special.rel_entr([q, 1 - q], [p, 1 - p]).sum() - nats

    expected = optimize.brentq(gap, q, 1 - 1e-15, xtol=1e-15) if gap(1 - 1e-15) > 0 else 1.0
    found = pac_bayes.kl_inverse(q, nats)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found >= 1 or pac_bayes.bernoulli_kl(q, found) >= nats, "on the unsafe side"


def test_the_inverse_saturates():
    assert pac_bayes.kl_inverse(0.3, math.inf) == 1
    assert pac_bayes.kl_inverse(1.0, 0.1) == 1
    assert pac_bayes.kl_inverse(0.3, 0.0) == pytest.approx(0.3)


@given(st.integers(1, 6), st.floats(0.1, 3), st.floats(0.1, 3))
def test_the_relative_entropy_of_gaussians_is_torchs(n, a, b):
    generator = torch.Generator().manual_seed(n)
    x, y = torch.randn(2, n, generator=generator, dtype=torch.float64)
    laws = (distributions.Normal(mean, std) for mean, std in ((x, a), (y, b)))
    expected = float(distributions.kl_divergence(*laws).sum())
    assert pac_bayes.gaussian_kl(x, a, y, b) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("samples", [8, 30, 300])
def test_maurers_constant_by_exact_sums(samples):
    """E exp(m kl(r | R)) over a binomial r is at most 2 sqrt(m), the step the theorem stands on."""
    wrong = np.arange(samples + 1)
    for risk in np.linspace(0.001, 0.999, 97):
        kls = np.array([pac_bayes.bernoulli_kl(k / samples, risk) for k in wrong])
        mean = special.logsumexp(stats.binom.logpmf(wrong, samples, risk) + samples * kls)
        assert mean <= math.log(2 * math.sqrt(samples))


@pytest.mark.parametrize("probabilities", [[0.03] * 40, [0.5] * 20 + [0.01] * 20])
def test_chernoff_covers(probabilities):
    """Also where the draws have different laws."""
    rng = np.random.default_rng(0)
    draws = rng.random((20_000, 40)) < np.array(probabilities)
    limits = [pac_bayes.chernoff_bound(k / 40, 40, 0.05) for k in range(41)]
    failed = np.mean(np.array(limits)[draws.sum(axis=1)] < np.mean(probabilities))
    assert failed <= 0.05


class Linear:
    """Gibbs law of f(w) = slope w around N(0, 1): N(-tau slope, 1), and log Z closed."""

    slope, tau = 0.4, 3.0
    kl = (tau * slope) ** 2 / 2

    def draws(self, count, generator):
        return self.slope * torch.randn(count, generator=generator, dtype=torch.float64)


def test_the_bound_of_a_gibbs_kl_holds_as_often_as_it_says():
    model, generator = Linear(), torch.Generator().manual_seed(0)
    mean = -model.tau * model.slope**2  # E_Q f
    found = [
        pac_bayes.gibbs_kl_bound(
            model.draws(2, generator).tolist(), model.tau, 0.2, posterior_loss=mean
        )
        for _ in range(4000)
    ]
    assert np.mean(np.array(found) < model.kl) <= 0.2


def test_the_bound_of_a_gibbs_kl_is_the_closed_form_with_many_draws():
    model, generator = Linear(), torch.Generator().manual_seed(1)
    mean = -model.tau * model.slope**2
    losses = model.draws(200_000, generator).tolist()
    found = pac_bayes.gibbs_kl_bound(losses, model.tau, 0.5, posterior_loss=mean)
    assert found - math.log(2) == pytest.approx(model.kl, rel=0.02)
    posterior = torch.tensor([-model.tau * model.slope])
    exact = pac_bayes.gaussian_kl(posterior, 1.0, torch.zeros(1), 1.0)
    assert exact == pytest.approx(model.kl)


class Finite:
    """Hypotheses that err independently with known risks, so that frequencies are binomial."""

    def __init__(self, risks, samples):
        self.risks, self.samples = np.array(risks), samples

    def frequencies(self, rng):
        return rng.binomial(self.samples, self.risks) / self.samples

    def gibbs(self, frequencies, tau):
        return special.softmax(-tau * frequencies)


def failures(problem, prior_of, posterior_of, epsilon, delta, repeats=1500):
    """How often the bound is below the exact risk."""
    rng, failed = np.random.default_rng(0), 0
    for _ in range(repeats):
        seen = problem.frequencies(rng)
        prior = prior_of(seen, rng)
        posterior = posterior_of(seen, prior)
        kl = special.rel_entr(posterior, prior).sum()
        empirical = min(1.0, float(posterior @ seen))
        bound = pac_bayes.risk_bound(empirical, kl, problem.samples, delta, epsilon=epsilon)
        failed += bound < posterior @ problem.risks
    return failed / repeats


def test_the_bound_holds_for_a_gibbs_posterior_of_a_fixed_prior():
    problem = Finite(np.linspace(0.05, 0.6, 30), 100)
    uniform = np.full(30, 1 / 30)
    found = failures(problem, lambda *_: uniform, lambda r, _: problem.gibbs(r, 40.0), 0.0, 0.1)
    assert found <= 0.1


def test_a_prior_that_has_seen_the_samples_breaks_it_unless_it_is_private():
    """Guesses at labels that are coin tosses: the best of them is right by chance alone."""
    samples, delta = 100, 0.1
    problem = Finite([0.5] * 3000, samples)

    def chosen(tau):
        def prior(seen, rng):
            point = np.zeros(len(seen))
            point[rng.choice(len(seen), p=problem.gibbs(seen, tau))] = 1
            return point

        return prior

    def posterior(_, prior):
        return prior

    def private(tau):
        return pac_bayes.exponential_mechanism(tau, 1.0, samples)

    cold, warm = 1e6, math.sqrt(samples)
    assert failures(problem, chosen(cold), posterior, 0.0, delta) > 0.5
    assert failures(problem, chosen(cold), posterior, private(cold), delta) == 0
    assert failures(problem, chosen(warm), posterior, private(warm), delta) <= delta


def test_the_exponential_mechanism_is_as_private_as_it_says():
    """The largest log-ratio of a draw's probability between samples that differ in one."""
    samples, tau = 12, 5.0
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(2000):
        wrong = rng.integers(0, 2, (samples, 6))
        other = wrong.copy()
        other[0] = rng.integers(0, 2, 6)
        laws = [special.log_softmax(-tau * each.mean(axis=0)) for each in (wrong, other)]
        worst = max(worst, np.abs(laws[0] - laws[1]).max())
    epsilon = pac_bayes.exponential_mechanism(tau, 1.0, samples)
    assert worst <= epsilon
    assert worst > epsilon / 2


def test_privacy_costs_what_its_formula_says():
    epsilon, samples, delta = 0.0327, 60_000, 0.05
    expected = math.log(4 * math.sqrt(samples) / delta) + samples * (
        epsilon**2 / 2 + epsilon * math.sqrt(math.log(4 / delta) / (2 * samples))
    )
    found = pac_bayes.risk_bound(0.0, 0.0, samples, delta, epsilon=epsilon)
    assert found == pytest.approx(-math.expm1(-expected / samples), rel=1e-12)
    assert pac_bayes.privacy_cost(0.0, samples, delta) == 0
    # Dziugaite and Roy, section 6: tau = sqrt(m) and losses in an interval of 4.
    assert pac_bayes.exponential_mechanism(math.sqrt(samples), 4.0, samples) == pytest.approx(
        0.0327, abs=5e-5
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pac_bayes.bernoulli_kl(1.5, 0.5), r"q=1.5: must be in \[0, 1\]"),
        (lambda: pac_bayes.kl_inverse(0.5, math.nan), "nats=nan: must be at least 0"),
        (lambda: pac_bayes.chernoff_bound(0.5, 0, 0.1), "draws=0: must be at least 1"),
        (lambda: pac_bayes.risk_bound(0.1, -1.0, 100, 0.1), "kl=-1.0: must be at least 0"),
        (lambda: pac_bayes.risk_bound(0.1, 1.0, 7, 0.1), "samples=7: must be at least 8"),
        (lambda: pac_bayes.risk_bound(0.1, 1.0, 100, 1.0), r"delta=1.0: must be in \(0, 1\)"),
        (lambda: pac_bayes.privacy_cost(-1.0, 9, 0.1), "epsilon=-1.0: must be at least 0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
