"""Algorithm 1 of the paper, in place, on the tensors of one parameter: lines 4 to 6 and line 7.

Written without temporaries, for a step is bound by memory. `_reference` holds the same lines as
they are printed, `_kernel` makes one pass of lines 4 to 6.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from widevalley.optim._tensors import local_real_view

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Names in the state of what Adam keeps."""


@dataclass(slots=True)
class Langevin:
    """The settings of one Langevin step, as plain numbers in the paper's notation."""

    lr: float  # eta'
    gamma: float  # the scope, 1 / eta' at most
    noise_std: float  # what multiplies N(0, I): sqrt(eta') eps
    law: str = "gaussian"  # of the noise, a name in `_noise.LAWS`
    averaging: float = 1.0  # alpha, the weight of the new sample in the mean
    pull: float | Tensor = 0.0  # eta' gamma, for what is left of earlier noise
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    momentum_on_all: bool = False
    sign: float = 1.0  # -1 to ascend f
    betas: tuple[float, float] | None = None  # of Adam in the walk, in the place of momentum
    eps: float = 1e-8  # of Adam


@dataclass(slots=True)
class Points:
    """What a step knows of one parameter, or of small ones side by side: tensors of one shape."""

    walker: Tensor  # x', in float32 or float64
    gradient: Tensor  # of f at x'
    anchor: Tensor  # x
    mean: Tensor | None  # mu; None where averaging is 1, for then mu is x'
    buffer: Tensor | None  # of the walk's momentum
    index: int | Tensor  # of the elements among those of a step: the first one's, or all of them
    block: int = 0  # which 2^32 elements those are
    params: list[Tensor] = field(default_factory=list)  # what shows the walker, where it is not x'
    views: list[Tensor] = field(default_factory=list)  # of the walker, one for each of these
    state: dict[str, Any] = field(default_factory=dict)  # of a parameter on its own
    thermal: Tensor | None = None  # n, what noise alone makes of the walk; None where mu keeps it


def langevin_step_(w: Points, noise: Tensor | None, s: Langevin) -> None:
    """Lines 4 and 5: x' <- x' - eta' (∇f(x') + gamma (x' - x)) + sqrt(eta') eps N(0, I).

    With momentum m, ∇f (weight decay included) goes through the buffer b <- m b + ∇f and is
    replaced by b (heavy ball) or ∇f + m b (Nesterov). With ``momentum_on_all`` so is the whole
    of dx', pull and noise included.
    """
    b, all_by_momentum = w.buffer, s.momentum_on_all and w.buffer is not None
    if b is not None:
        b.mul_(s.momentum).add_(w.gradient, alpha=s.sign)
        if s.weight_decay:
            b.add_(w.walker, alpha=s.weight_decay)
        if all_by_momentum and s.gamma:
            b.add_(w.walker, alpha=s.gamma).add_(w.anchor, alpha=-s.gamma)
        if all_by_momentum and noise is not None:
            b.add_(noise, alpha=-s.noise_std / s.lr)
    direct = b is None or s.nesterov  # whether ∇f acts beside the buffer
    to_anchor = s.lr * s.gamma if direct or not all_by_momentum else 0.0
    to_zero = s.lr * s.weight_decay if direct else 0.0
    if to_zero:
        w.walker.mul_(1 - to_anchor - to_zero)
        if to_anchor:
            w.walker.add_(w.anchor, alpha=to_anchor)
    elif to_anchor:
        w.walker.lerp_(w.anchor, to_anchor)
    if direct:
        w.walker.add_(w.gradient, alpha=-s.lr * s.sign)
    if b is not None:
        w.walker.add_(b, alpha=-s.lr * (s.momentum if s.nesterov else 1.0))
    if noise is not None and (direct or not all_by_momentum):
        w.walker.add_(noise, alpha=s.noise_std)


def langevin_adam_step_(w: Points, noise: Tensor | None, s: Langevin) -> None:
    """Lines 4 and 5 where ∇f, weight decay included, goes through Adam; pull and noise do not."""
    assert s.betas is not None
    gradient = w.gradient.to(w.walker.dtype).mul(s.sign)
    if s.weight_decay:
        gradient.add_(w.walker, alpha=s.weight_decay)
    if s.gamma:
        w.walker.lerp_(w.anchor, s.lr * s.gamma)
    w.state["langevin_updates"] += 1
    m, v = (local_real_view(w.state[f"langevin_{name}"]) for name in MOMENTS)
    updates = [w.state["langevin_updates"]]
    adam_step_([w.walker], [gradient], [m], [v], updates, lr=s.lr, betas=s.betas, eps=s.eps)
    if noise is not None:
        w.walker.add_(noise, alpha=s.noise_std)


def average_(w: Points, s: Langevin, noise: Tensor | None = None) -> None:
    """Line 6: mu <- (1 - alpha) mu + alpha x', or x' - n where mu is kept free of noise.

    n <- (1 - eta' gamma) n + sqrt(eta') eps N(0, I) is the walk that the same noise makes where f
    is flat, so x' - n is x' to the last bit without noise, and has none where f is flat.
    """
    if w.mean is None:
        return
    sample = w.walker
    if w.thermal is not None:
        w.thermal.mul_(1 - s.pull)
        if noise is not None:
            w.thermal.add_(noise, alpha=s.noise_std)
        sample = w.walker - w.thermal
    w.mean.lerp_(sample, s.averaging)


# --- line 7, on lists: once a walk, for all parameters together ---------------------------------


def pseudo_gradient_(x: list[Tensor], mu: list[Tensor], factor: float = 1.0) -> list[Tensor]:
    """factor (x - mu), in the place of mu."""
    torch._foreach_neg_(mu)
    torch._foreach_add_(mu, x)
    if factor != 1:
        torch._foreach_mul_(mu, factor)
    return mu


def move_anchors_(
    x: list[Tensor],
    mu: list[Tensor],
    buffers: list[Tensor],
    factor: float,
    lr: float,
    momentum: float,
    *,
    nesterov: bool,
) -> None:
    """Line 7: x <- x - lr d, d = factor (x - mu); with momentum m through b <- m b + d.

    d is replaced by b (heavy ball) or d + m b (Nesterov) then.
    """
    if not x:
        return
    if not momentum:  # at lr = 1 this is mu to the last bit
        torch._foreach_lerp_(x, mu, lr * factor)
        return
    d = pseudo_gradient_(x, mu, factor)
    torch._foreach_mul_(buffers, momentum)
    torch._foreach_add_(buffers, d)
    if nesterov:
        torch._foreach_add_(x, d, alpha=-lr)
    torch._foreach_add_(x, buffers, alpha=-lr * (momentum if nesterov else 1.0))


def adam_step_(
    x: list[Tensor],
    d: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[int],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Adam (Kingma & Ba, 2015), bias-corrected; each one's ``steps`` counts from 1."""
    beta1, beta2 = betas
    torch._foreach_lerp_(exp_avgs, d, 1 - beta1)
    torch._foreach_mul_(exp_avg_sqs, beta2)
    torch._foreach_addcmul_(exp_avg_sqs, d, d, value=1 - beta2)
    denominators = torch._foreach_sqrt(exp_avg_sqs)
    torch._foreach_div_(denominators, [math.sqrt(1 - beta2**k) for k in steps])
    torch._foreach_add_(denominators, eps)
    torch._foreach_addcdiv_(x, exp_avgs, denominators, [-lr / (1 - beta1**k) for k in steps])
