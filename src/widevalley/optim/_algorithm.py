"""Algorithm 1 of the paper on one tensor, in place: lines 4 to 6 and line 7.

Written without temporaries: the step is bound by memory, so each pass over a tensor counts.
`_reference` holds the same lines as they are printed.
"""

import math
from typing import NamedTuple

from torch import Tensor


class Walk(NamedTuple):
    """The settings of one Langevin step, as plain numbers."""

    lr: float  # eta'
    gamma: float  # the scope, 1 / eta' at most
    thermal: float  # what multiplies N(0, I): sqrt(eta') eps
    averaging: float  # alpha, the weight of the new sample in the mean
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    momentum_on_all: bool = False
    sign: float = 1.0  # -1 to maximise f


def langevin_step_(
    walker: Tensor,
    anchor: Tensor,
    gradient: Tensor,
    noise: Tensor | None,
    buffer: Tensor | None,
    walk: Walk,
) -> None:
    """Lines 4 and 5: x' <- x' - eta' (∇f(x') + gamma (x' - x)) + sqrt(eta') eps N(0, I).

    With momentum m, ∇f (weight decay included) goes through the buffer b <- m b + ∇f and is
    replaced by b (heavy ball) or ∇f + m b (Nesterov). With ``momentum_on_all`` so is the whole
    of dx', pull and noise included.
    """
    if buffer is not None:
        _fill_(buffer, walker, anchor, gradient, noise, walk)
    by_buffer = buffer is not None and not walk.nesterov
    all_by_buffer = by_buffer and walk.momentum_on_all

    pull_(walker, anchor, walk, pull=not all_by_buffer, decay=not by_buffer)
    if not by_buffer:
        walker.add_(gradient, alpha=-walk.lr * walk.sign)
    if buffer is not None:
        walker.add_(buffer, alpha=-walk.lr * (walk.momentum if walk.nesterov else 1.0))
    if noise is not None and not all_by_buffer:
        walker.add_(noise, alpha=walk.thermal)


def pull_(walker: Tensor, anchor: Tensor, walk: Walk, *, pull: bool, decay: bool) -> None:
    """x' <- x' - eta' (gamma (x' - x) + weight_decay x'), either part only where asked."""
    to_anchor = walk.lr * walk.gamma if pull else 0.0
    to_zero = walk.lr * walk.weight_decay if decay else 0.0
    if to_zero:
        walker.mul_(1 - to_anchor - to_zero)
        if to_anchor:
            walker.add_(anchor, alpha=to_anchor)
    elif to_anchor:
        walker.lerp_(anchor, to_anchor)


def _fill_(
    buffer: Tensor,
    walker: Tensor,
    anchor: Tensor,
    gradient: Tensor,
    noise: Tensor | None,
    walk: Walk,
) -> None:
    buffer.mul_(walk.momentum).add_(gradient, alpha=walk.sign)
    if walk.weight_decay:
        buffer.add_(walker, alpha=walk.weight_decay)
    if walk.momentum_on_all and walk.gamma:
        buffer.add_(walker, alpha=walk.gamma).add_(anchor, alpha=-walk.gamma)
    if walk.momentum_on_all and noise is not None:
        buffer.add_(noise, alpha=-walk.thermal / walk.lr)


def average_(mean: Tensor, walker: Tensor, walk: Walk) -> None:
    """Line 6: mu <- (1 - alpha) mu + alpha x'."""
    mean.lerp_(walker, walk.averaging)


def sgd_step_(
    x: Tensor, gradient: Tensor, buffer: Tensor, *, lr: float, momentum: float, nesterov: bool
) -> None:
    """Momentum: b <- m b + d, then x <- x - lr (d + m b) (Nesterov) or x <- x - lr b."""
    buffer.mul_(momentum).add_(gradient)
    if nesterov:
        x.add_(gradient, alpha=-lr)
    x.add_(buffer, alpha=-lr * (momentum if nesterov else 1.0))


def adam_step_(
    x: Tensor,
    gradient: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: int,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Adam (Kingma & Ba, 2015), bias-corrected; ``step`` counts from 1."""
    beta1, beta2 = betas
    exp_avg.lerp_(gradient, 1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    denominator = exp_avg_sq.sqrt().div_(math.sqrt(1 - beta2**step)).add_(eps)
    x.addcdiv_(exp_avg, denominator, value=-lr / (1 - beta1**step))
