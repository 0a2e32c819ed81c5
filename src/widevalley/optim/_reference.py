"""The slow oracle: Algorithm 1 line by line, out of place, one tensor, any precision.

Every fast path is tested against it. Line numbers are those of the paper.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from widevalley.optim.scoping import Exponential, Schedule


@dataclass(frozen=True)
class Momentum:
    """b <- m b + d; the direction is d + m b (Nesterov) or b (heavy ball)."""

    momentum: float = 0.0
    nesterov: bool = True

    def start(self, x: Tensor) -> "MomentumState":
        """A state at rest."""
        return MomentumState(self, torch.zeros_like(x))


@dataclass
class MomentumState:
    """The buffer of `Momentum`."""

    rule: Momentum
    buffer: Tensor

    def direction(self, d: Tensor) -> Tensor:
        """What takes the place of d."""
        m = self.rule.momentum
        self.buffer = m * self.buffer + d
        return d + m * self.buffer if self.rule.nesterov else self.buffer


@dataclass(frozen=True)
class Adam:
    """m / (sqrt(v) + eps), bias-corrected."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def start(self, x: Tensor) -> "AdamState":
        """A state at rest."""
        return AdamState(self, torch.zeros_like(x), torch.zeros_like(x), 0)


@dataclass
class AdamState:
    """The moments of `Adam`."""

    rule: Adam
    m: Tensor
    v: Tensor
    k: int

    def direction(self, d: Tensor) -> Tensor:
        """What takes the place of d."""
        beta1, beta2 = self.rule.betas
        self.k += 1
        self.m = beta1 * self.m + (1 - beta1) * d
        self.v = beta2 * self.v + (1 - beta2) * d * d
        m_hat, v_hat = self.m / (1 - beta1**self.k), self.v / (1 - beta2**self.k)
        return m_hat / (v_hat.sqrt() + self.rule.eps)


def algorithm_1(
    x: Tensor,
    gradient: Callable[[Tensor, int, int], Tensor],
    noise_at: Callable[[int, int], Tensor],
    *,
    outer_steps: int,
    lr: float,
    langevin_steps: int,
    langevin_lr: float,
    gamma: float,
    gamma_growth: float | Schedule,
    noise: float,
    averaging: float,
    weight_decay: float = 0.0,
    walk: Momentum | Adam = Momentum(),
    outer: Momentum | Adam = Momentum(),
    momentum_on_all: bool = False,
    reset_momentum: bool = True,
    scale_by_gamma: bool = False,
    noise_free_mean: bool = False,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Run Algorithm 1 and return (x, x', mu) after every gradient.

    Args:
        x: where the anchor starts.
        gradient: (x', t, l) -> ∇f(x') on the mini-batch of outer step t, inner step l.
        noise_at: (t, l) -> N(0, I) numbers.
        outer_steps: how often the outer loop runs.
        lr: eta; langevin_lr: eta'; noise: eps; averaging: alpha, of the new sample.
        langevin_steps, gamma, gamma_growth, weight_decay, momentum_on_all, reset_momentum,
        scale_by_gamma, noise_free_mean: as in EntropySGD.
        walk, outer: the rules that wrap lines 5 and 7.
    """
    growth = gamma_growth if callable(gamma_growth) else Exponential(gamma_growth)
    eta, eta_, alpha, eps = lr, langevin_lr, averaging, noise
    inner_state, outer_state = walk.start(x), outer.start(x)
    trace = []
    for t in range(outer_steps):
        gamma_t = gamma * growth(t)
        if reset_momentum and isinstance(walk, Momentum):
            inner_state = walk.start(x)
        x_, mu, n = x, x, torch.zeros_like(x)  # line 1
        for l in range(langevin_steps):  # noqa: E741  line 2
            df = gradient(x_, t, l) + weight_decay * x_  # line 3
            pull = -gamma_t * (x - x_)
            thermal = eta_**0.5 * eps * noise_at(t, l)
            if momentum_on_all:
                x_ = x_ - eta_ * inner_state.direction(df + pull - thermal / eta_)
            else:
                dx_ = inner_state.direction(df) + pull  # line 4
                x_ = x_ - eta_ * dx_ + thermal  # line 5
            n = (1 - eta_ * gamma_t) * n + thermal
            mu = (1 - alpha) * mu + alpha * (x_ - n if noise_free_mean else x_)  # line 6
            trace.append((x, x_, mu))
        d = gamma_t * (x - mu) if scale_by_gamma else x - mu
        x = x - eta * outer_state.direction(d)  # line 7
        trace[-1] = (x, x, x)
    return trace
