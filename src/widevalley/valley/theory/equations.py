"""The paper's theory, sections 3 and 4.4 and Appendices B and C, in its notation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from widevalley.valley._validation import check_positive
from widevalley.valley.entropy.closed_forms import local_entropy_on_grid


def lipschitz_bound(alpha: float, c: float, gamma: float) -> float:
    r"""The Lemma of section 4.4: F is \alpha / (1 + c/\gamma)-Lipschitz."""
    return alpha / (1 + c / gamma)


def smoothness_bound(beta: float, c: float, gamma: float) -> float:
    r"""The same Lemma: F is \beta / (1 + c/\gamma)-smooth."""
    return beta / (1 + c / gamma)


def smoothed_curvature(eigenvalue: float, gamma: float) -> float:
    r"""Curvature of -F where f has this one: \lambda / (1 + \lambda/\gamma).

    Exact where f is quadratic, the leading order elsewhere. Raises ValueError at -gamma, where
    the integral diverges.
    """
    if eigenvalue == -gamma:
        raise ValueError(f"eigenvalue={eigenvalue}: must not be minus gamma")
    return eigenvalue / (1 + eigenvalue / gamma)


def slope_and_curvature(values: Tensor, axis: Tensor) -> tuple[float, float]:
    """Largest magnitudes of the first and second differences of a function on a line.

    A tenth of the line is left out at either end, where an integral over the line is cut short.
    """
    edge = len(axis) // 10
    spacing = float(axis[1] - axis[0])
    slope = torch.gradient(values, spacing=spacing)[0]
    bend = values.diff(n=2) / spacing**2
    return float(slope[edge:-edge].abs().max()), float(bend[edge:-edge].abs().max())


def lemma_on_a_line(
    f: Callable[[Tensor], Tensor], axis: Tensor, gamma: float, c: float
) -> dict[str, float]:
    """What the Lemma bounds and its bounds, for a function of one variable, by quadrature."""
    values = f(axis.double())
    alpha, beta = slope_and_curvature(values, axis)
    lipschitz, smooth = slope_and_curvature(local_entropy_on_grid(values, [axis], gamma), axis)
    return {
        "lipschitz": lipschitz,
        "lipschitz bound": lipschitz_bound(alpha, c, gamma),
        "smoothness": smooth,
        "smoothness bound": smoothness_bound(beta, c, gamma),
    }


def minimisers(
    f: Callable[[Tensor], Tensor], axis: Tensor, gammas: Sequence[float]
) -> tuple[float, ...]:
    """Where f and then -F for each scope is least on a line; of a convex even f they are one."""
    values = f(axis.double())
    entropies = (-local_entropy_on_grid(values, [axis], gamma) for gamma in gammas)
    return tuple(float(axis[each.argmin()]) for each in (values, *entropies))


def sgd_stability(alpha: float, beta: float, steps: float, samples: float) -> float:
    r"""Bound of SGD's generalisation error for rates below 1/t (Hardt et al., 2015), to a factor.

    (1/N) \alpha^{1/(1+\beta)} T^{\beta/(1+\beta)}.
    """
    bound: float = alpha ** (1 / (1 + beta)) * steps ** (beta / (1 + beta)) / samples
    return bound


def stability_exponent(beta: float, c: float, gamma: float) -> float:
    r"""p of the bound eps_ESGD <~ (\alpha/T)^p eps_SGD, exactly.

    (\beta - \beta') / ((1 + \beta)(1 + \beta')) with \beta' = \beta / (1 + c/\gamma).
    """
    smaller = smoothness_bound(beta, c, gamma)
    return (beta - smaller) / ((1 + beta) * (1 + smaller))


def stability_exponent_small_beta(beta: float, c: float, gamma: float) -> float:
    r"""The paper's p, (1 - 1/(1 + c/\gamma)) \beta: the exact one to first order in \beta."""
    return (1 - 1 / (1 + c / gamma)) * beta


class GaussianModel:
    r"""Data y = z + noise with a Gaussian prior of z: every bound of Appendix C is closed.

    Args:
        y: observations, (samples,).
        noise: their standard deviation around z.
        prior: standard deviation of z around 0.
    """

    def __init__(self, y: Tensor, noise: float, prior: float) -> None:
        check_positive(noise=noise, prior=prior)
        self.y, self.noise, self.prior = y.double(), noise, prior

    def log_likelihood(self, z: Tensor) -> Tensor:
        """log p(y | z), at any z."""
        away = (self.y - z.double()[..., None]) / self.noise
        each = -0.5 * away.square() - math.log(self.noise * math.sqrt(2 * math.pi))
        return each.sum(dim=-1)

    def posterior(self) -> tuple[float, float]:
        """Mean and variance of z given y."""
        precision = len(self.y) / self.noise**2 + 1 / self.prior**2
        return float(self.y.sum()) / self.noise**2 / precision, 1 / precision

    def log_evidence(self) -> float:
        """log p(y)."""
        mean, variance = self.posterior()
        at = _at(mean)
        prior = _log_normal(mean, 0.0, self.prior**2)
        return float(self.log_likelihood(at)) + prior - _log_normal(mean, mean, variance)

    def elbo(self, mean: float, variance: float) -> float:
        r"""E_q[log p(y | z)] - KL(q \| p) for a Gaussian q, at most `log_evidence`."""
        expected = float(self.log_likelihood(_at(mean)))
        expected -= len(self.y) * variance / (2 * self.noise**2)
        ratio = variance / self.prior**2
        return expected - 0.5 * (ratio + mean**2 / self.prior**2 - 1 - math.log(ratio))

    def local_entropy(self, x: float, gamma: float) -> float:
        r"""F(x, \gamma) = log \int p(y | z) exp(-\gamma/2 (x - z)^2) dz, closed."""
        check_positive(gamma=gamma)
        precision = len(self.y) / self.noise**2 + gamma
        mode = (float(self.y.sum()) / self.noise**2 + gamma * x) / precision
        at = float(self.log_likelihood(_at(mode))) - 0.5 * gamma * (x - mode) ** 2
        return at + 0.5 * math.log(2 * math.pi / precision)

    def jensen_bound(self, x: float, gamma: float, mean: float, variance: float) -> float:
        r"""E_q[log p(y | z) - \gamma/2 (x - z)^2] + H(q), at most F, for a Gaussian q.

        The paper writes it with a flat q whose entropy it leaves out; it holds with the entropy.
        Equality is at q(z) ~ p(y | z) exp(-\gamma/2 (x - z)^2).
        """
        expected = float(self.log_likelihood(_at(mean)))
        expected -= len(self.y) * variance / (2 * self.noise**2)
        pull = 0.5 * gamma * ((x - mean) ** 2 + variance)
        return expected - pull + 0.5 * math.log(2 * math.pi * math.e * variance)


def _at(z: float) -> Tensor:
    return torch.tensor(z, dtype=torch.float64)


def _log_normal(x: float, mean: float, variance: float) -> float:
    return -0.5 * ((x - mean) ** 2 / variance + math.log(2 * math.pi * variance))
