"""The equations of PAC-Bayes bounds, each with a problem on which every risk is known."""

from __future__ import annotations

import math

import torch
from scipy import special, stats
from torch import Tensor

from widevalley.experiments.theory_checks import TheoryCheck
from widevalley.valley import theory

SAMPLES, GUESSES, REPEATS, DELTA = 100, 2000, 500, 0.05


def _moment() -> str:
    shown = []
    for samples in (8, 100):
        most = max(_exponential_moment(samples, k / 50) for k in range(1, 50))
        shown.append(f"{most:.3g} ({2 * math.sqrt(samples):.3g}) at m = {samples}")
    return f"largest E exp(m kl(r ‖ R)) over R, summed exactly (2 √m): {', '.join(shown)}"


def _exponential_moment(samples: int, risk: float) -> float:
    wrong = range(samples + 1)
    kls = [samples * theory.pac_bayes.bernoulli_kl(k / samples, risk) for k in wrong]
    return math.exp(special.logsumexp(kls + stats.binom.logpmf(wrong, samples, risk)))


def _inverse() -> str:
    pairs = [
        f"{nats:g} → {theory.pac_bayes.kl_inverse(0.0, nats):.4f} ({-math.expm1(-nats):.4f})"
        for nats in (0.01, 0.1, 1.0)
    ]
    return f"r = 0, beside the closed form 1 - exp(-nats): {', '.join(pairs)}"


def _gibbs() -> str:
    slope, tau = 0.4, 3.0
    draws = torch.randn(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # The Gibbs law of f(w) = slope w around N(0, 1) is N(-tau slope, 1).
    exact = theory.pac_bayes.gaussian_kl(torch.tensor([-tau * slope]), 1.0, torch.zeros(1), 1.0)
    found = theory.pac_bayes.gibbs_kl_bound(
        (slope * draws).tolist(), tau, DELTA, posterior_loss=-tau * slope**2
    )
    without = found - math.log(1 / DELTA)
    return (
        f"f = 0.4 w, P = N(0, 1), τ = 3: KL = {exact:.3f}; by 20,000 draws {without:.3f}, and "
        f"ln(1/δ) = {math.log(1 / DELTA):.3f} on top of it"
    )


def _mechanism() -> str:
    samples, tau = 12, 5.0
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for _ in range(2000):
        wrong = torch.randint(2, (samples, 6), generator=generator).double()
        other = wrong.clone()
        other[0] = torch.randint(2, (6,), generator=generator).double()
        laws = [torch.log_softmax(-tau * each.mean(0), 0) for each in (wrong, other)]
        worst = max(worst, float((laws[0] - laws[1]).abs().max()))
    epsilon = theory.pac_bayes.exponential_mechanism(tau, 1.0, samples)
    return (
        f"6 hypotheses, m = 12, τ = 5: the largest change of a log-probability by one sample is "
        f"{worst:.3f} in 2,000 pairs, ε = {epsilon:.3f}"
    )


def _failures(tau: float, *, private: bool) -> str:
    """How often the bound is below a half, the risk of every guess at labels that are coin tosses.

    The prior is the point at one guess, drawn from exp(-tau r), and its own posterior.
    """
    generator = torch.Generator().manual_seed(0)
    epsilon = theory.pac_bayes.exponential_mechanism(tau, 1.0, SAMPLES) if private else 0.0
    coins = torch.full((REPEATS, GUESSES), 0.5, dtype=torch.float64)
    shares = torch.binomial(SAMPLES * torch.ones_like(coins), coins, generator=generator) / SAMPLES
    failed = 0
    for seen in shares:
        guess = _drawn(torch.softmax(-tau * seen, 0), generator)
        bound = theory.pac_bayes.risk_bound(
            float(seen[guess]), 0.0, SAMPLES, DELTA, epsilon=epsilon
        )
        failed += bound < 0.5
    return f"{100 * failed / REPEATS:.0f} %"


def _drawn(probabilities: Tensor, generator: torch.Generator) -> int:
    return int(torch.multinomial(probabilities, 1, generator=generator))


def _private() -> str:
    warm, cold = math.sqrt(SAMPLES), 1e4
    return (
        f"{GUESSES:,} guesses at {SAMPLES} coin tosses, δ = {DELTA}: a prior at the best of them "
        f"breaks the bound without c in {_failures(cold, private=False)} of {REPEATS} draws, "
        f"with c in {_failures(cold, private=True)}; at τ = √m with c "
        f"in {_failures(warm, private=True)}"
    )


PAC_BAYES_CHECKS = (
    TheoryCheck("3.1", "E exp(m kl(r ‖ R)) ≤ 2 √m", "`bernoulli_kl`", _moment),
    TheoryCheck("B.3", "sup {p: kl(r ‖ p) ≤ nats}", "`kl_inverse`", _inverse),
    TheoryCheck(
        "B.3", "KL(Q ‖ P) = -τ E_Q f - ln Z, Z = E_P exp(-τ f)", "`gibbs_kl_bound`", _gibbs
    ),
    TheoryCheck("5.5", "ε = 2 τ ℓ / m", "`exponential_mechanism`", _mechanism),
    TheoryCheck("5.4", "the bound with a private prior", "`risk_bound`", _private),
)
