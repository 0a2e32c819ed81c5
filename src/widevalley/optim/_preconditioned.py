"""Pull and noise in the metric of an inner optimizer, as its own step is."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from widevalley.optim._checkpoint import State
from widevalley.optim._nested import after_a_step
from widevalley.optim._tensors import local_real_view
from widevalley.optim._validation import Group

SECOND_MOMENTS = ("exp_avg_sq", "square_avg")
"""What Adam and its kin, and RMSprop, call v in their state of a parameter."""


def check_keeps_a_second_moment(inner: Optimizer) -> None:
    """Raise ValueError where an optimizer has no metric."""
    made = after_a_step(inner).state.values()
    if not all(any(name in state for name in SECOND_MOMENTS) for state in made) or not made:
        raise ValueError(
            "preconditioned must be False where inner keeps no second moment of the gradient, got "
            f"{type(inner).__name__}"
        )


def metric(state: State, group: Group) -> Tensor:
    """G = 1 / (sqrt(v) + eps), v bias-corrected where the optimizer does so."""
    v = next(state[name] for name in SECOND_MOMENTS if name in state)
    known = 1 - group["betas"][1] ** float(state["step"]) if "betas" in group else 1.0
    return local_real_view(v).div(known).sqrt_().add_(group["eps"]).reciprocal_()


def pull_and_noise_(
    walker: Tensor, anchor: Tensor, g: Tensor, z: Tensor | None, gamma: float, eps: float
) -> tuple[Tensor, Tensor | None]:
    """x' <- x + e^-c (x' - x) + s z, with c = g gamma and s² = eps² (1 - e^-2c) / (2 gamma).

    ``g`` is eta' G. These are the pull and the noise of a step of any size, exactly: where the
    gradient has always been 0 G has no bound, and yet the spread stays eps² / (2 gamma). Returns
    1 - e^-c and s z, for what noise alone makes of the walk.
    """
    pull = torch.expm1(-gamma * g).neg_()
    if gamma:
        walker.lerp_(anchor, pull)
    if z is not None:
        s = torch.expm1(-2 * gamma * g).neg_().div_(2 * gamma) if gamma else g
        z = z.mul_(s.sqrt()).mul_(eps)
        walker.add_(z)
    return pull, z
