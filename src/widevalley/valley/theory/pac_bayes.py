r"""PAC-Bayes bounds on the risk of a Gibbs law whose prior was chosen by the same samples.

A law Q of weights has the risk R(Q), the probability that weights drawn from it err on a new
sample, and the frequency r(Q) with which they err on m training samples, drawn independently. A
bound says how far R(Q) can be above r(Q), given how far Q is from a prior P in relative entropy.

Local entropy is where P and Q come from. With f the mean training loss in an interval of length
\ell and \tau an inverse temperature (\tau = 2 / noise^2 of a walk),

    P = N(x, I / (\tau\gamma)),   Q(x') ~ P(x') exp(-\tau f(x')),
    KL(Q \| P) = -\tau E_Q f - log Z,   Z = E_P exp(-\tau f),

so that log Z is the local entropy at x to a constant, and to move the anchor x up the local entropy
is to choose the prior of a bound on R(Q). That choice has seen the samples. Where x is drawn from a
law proportional to exp(log Z), or is a draw of exp(-\tau f) itself, it is \epsilon-differentially
private, and `risk_bound` holds at a price.

Source: Dziugaite & Roy, "Entropy-SGD optimizes the prior of a PAC-Bayes bound", ICML 2018, and
"Data-dependent PAC-Bayes priors via differential privacy", NeurIPS 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from widevalley.valley._validation import check_at_least, check_positive

LEAST_SAMPLES = 8
"""From which on Maurer's 2 sqrt(m) bounds E exp(m kl(r \\| R))."""


def bernoulli_kl(q: float, p: float) -> float:
    r"""kl(q \| p) = q ln(q/p) + (1 - q) ln((1 - q)/(1 - p)), in nats; infinite for p 0 or 1 not q.

    Raises ValueError where one of them is outside [0, 1].
    """
    _check_probabilities(q=q, p=p)
    pairs = ((q, p), (1 - q, 1 - p))
    if any(a > 0 and b == 0 for a, b in pairs):
        return math.inf
    return math.fsum(a * math.log(a / b) for a, b in pairs if a > 0)


def kl_inverse(q: float, nats: float) -> float:
    r"""The largest p with kl(q \| p) <= nats, by bisection to the last digit.

    Raises ValueError for q outside [0, 1] or nats below 0.
    """
    _check_probabilities(q=q)
    if not nats >= 0:
        raise ValueError(f"nats={nats}: must be at least 0")
    low, high = q, 1.0
    if bernoulli_kl(q, high) <= nats:
        return high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if bernoulli_kl(q, middle) <= nats else (low, middle)
    return high  # at the safe side of the last digit


def chernoff_bound(mean: float, draws: int, delta: float) -> float:
    r"""What the expectation is at most, where independent numbers in [0, 1] have this mean.

    With probability 1 - \delta over the draws; they may have different laws, and then it bounds the
    mean of their expectations (Hoeffding, 1963).
    """
    check_at_least(1, draws=draws)
    _check_delta(delta)
    return kl_inverse(mean, math.log(1 / delta) / draws)


def gaussian_kl(mean_q: Tensor, std_q: float, mean_p: Tensor, std_p: float) -> float:
    r"""KL(N(mean_q, std_q^2 I) \| N(mean_p, std_p^2 I)) in nats."""
    check_positive(std_q=std_q, std_p=std_p)
    ratio = (std_q / std_p) ** 2
    apart = float((mean_q.double() - mean_p.double()).square().sum()) / std_p**2
    return 0.5 * (mean_q.numel() * (ratio - 1 - math.log(ratio)) + apart)


def gibbs_kl_bound(
    prior_losses: Sequence[float], tau: float, delta: float, *, posterior_loss: float = 0.0
) -> float:
    r"""An upper bound on KL(Q \| P) of the Gibbs law Q ~ P exp(-\tau f), in nats.

    -\tau E_Q f - log Z with Z from below: the mean of exp(-\tau f) over independent draws of P has
    the expectation Z, so by Markov's inequality it is above Z/\delta with probability \delta at
    most, however few the draws.

    Args:
        prior_losses: f at independent draws of P.
        tau: inverse temperature.
        delta: probability that it fails.
        posterior_loss: E_Q f or a lower bound of it; 0 is one for every f >= 0.
    """
    check_positive(tau=tau)
    _check_delta(delta)
    check_at_least(1, draws=len(prior_losses))
    exponents = -tau * torch.tensor(prior_losses, dtype=torch.float64)
    log_mean = float(exponents.logsumexp(0)) - math.log(len(prior_losses))
    return max(0.0, -tau * posterior_loss - log_mean + math.log(1 / delta))


def exponential_mechanism(tau: float, loss_range: float, samples: int) -> float:
    r"""\epsilon of one draw from exp(-\tau f) or from exp(log Z): 2 \tau \ell / m.

    f is the mean over m samples of a loss in an interval of length \ell, of which one sample can
    move it, and the local entropy log Z / \tau, by \ell / m (McSherry & Talwar, 2007).
    """
    check_positive(tau=tau, loss_range=loss_range)
    check_at_least(1, samples=samples)
    return 2 * tau * loss_range / samples


def privacy_cost(epsilon: float, samples: int, delta: float) -> float:
    r"""What a bound of probability \delta pays, in nats, for a choice that is \epsilon-private.

    m \epsilon^2 / 2 + \epsilon sqrt(m ln(4/\delta) / 2) + ln 2: the approximate max-information
    between the choice and the samples, with half of \delta for where it fails (Dwork et al., 2015);
    nothing where \epsilon is 0, a choice without the samples.
    """
    _check_delta(delta)
    if not epsilon >= 0:
        raise ValueError(f"epsilon={epsilon}: must be at least 0")
    if epsilon == 0:
        return 0.0
    spread = math.sqrt(samples * math.log(4 / delta) / 2)
    return samples * epsilon**2 / 2 + epsilon * spread + math.log(2)


def risk_bound(
    empirical: float, kl: float, samples: int, delta: float, *, epsilon: float = 0.0
) -> float:
    r"""What R(Q) is at most, for all Q at once, with probability 1 - \delta over the samples.

    The largest p with kl(r(Q) \| p) <= (KL(Q \| P) + ln(2 sqrt(m) / \delta) + c) / m, c the
    `privacy_cost` of the prior (McAllester, 1999; Langford & Seeger, 2001; Maurer, 2004).

    Args:
        empirical: r(Q), the mean over m samples of a loss in [0, 1].
        kl: KL(Q \| P), or a bound of it; what that fails with comes on top of delta.
        samples: m, at least 8.
        delta: probability that it fails.
        epsilon: of the prior's privacy; 0 for a prior that has not seen the samples.

    Raises:
        ValueError: an argument out of its range.
    """
    _check_delta(delta)
    check_at_least(LEAST_SAMPLES, samples=samples)
    if not kl >= 0:
        raise ValueError(f"kl={kl}: must be at least 0")
    nats = kl + math.log(2 * math.sqrt(samples) / delta) + privacy_cost(epsilon, samples, delta)
    return kl_inverse(empirical, nats / samples)


def _check_probabilities(**settings: float) -> None:
    for name, value in settings.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value}: must be in [0, 1]")


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta={delta}: must be in (0, 1)")
