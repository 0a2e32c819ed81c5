r"""Curves of low loss between two weights (Garipov et al., 2018).

A quadratic Bezier curve from a to b with a control point \theta,

    \phi(t) = (1 - t)^2 a + 2 t (1 - t) \theta + t^2 b,

is fitted by stochastic gradients of the mean loss over t uniform in [0, 1]. Where two minima are
connected its loss stays low where that of the straight line rises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from widevalley.valley._validation import check_at_least, check_positive
from widevalley.valley.landscape.slices import Slice
from widevalley.valley.objective import Objective, Progress


@dataclass(frozen=True)
class BezierCurve:
    """A quadratic Bezier curve between two flat weights, each (n,)."""

    start: Tensor
    control: Tensor
    end: Tensor

    def at(self, t: float) -> Tensor:
        """The weights at t, from 0 to 1."""
        return (1 - t) ** 2 * self.start + 2 * t * (1 - t) * self.control + t**2 * self.end


def fit_curve(
    objective: Objective,
    start: Tensor,
    end: Tensor,
    *,
    steps: int = 500,
    lr: float = 0.01,
    seed: int = 0,
    progress: Progress | None = None,
) -> BezierCurve:
    """The curve of low loss between two weights, by Adam on its control point.

    Costs a gradient of one batch a step. The control point begins in the middle, moved by a
    hundredth of the distance in a random direction, since the middle itself may be a saddle.

    Args:
        objective: the loss; its own weights take no part.
        start: flat weights, (n,).
        end: flat weights, (n,).
        steps: of Adam, each at a random t on a batch drawn by its weight.
        lr: Adam's rate, falling to 0 by a cosine.
        seed: keys t, batches and direction.
        progress: called with steps done and steps in all.

    Raises:
        ValueError: weights that are not (n,), lr not above 0, steps below 1.
    """
    check_at_least(1, steps=steps)
    check_positive(lr=lr)
    for name, point in (("start", start), ("end", end)):
        if point.shape != (objective.size,):
            raise ValueError(
                f"{name}: must be of shape ({objective.size},), not {tuple(point.shape)}"
            )
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(objective.size, generator=generator, dtype=torch.float64).to(start)
    aside = 0.01 * float((end - start).norm()) / float(random.norm()) * random
    control = torch.nn.Parameter((start + end) / 2 + aside)
    adam = torch.optim.Adam([control], lr=lr)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    weights = torch.tensor(objective.batch_weights, dtype=torch.float64)
    for k in range(steps):
        t = float(torch.rand((), generator=generator))
        batch = int(torch.multinomial(weights, 1, generator=generator))
        point = BezierCurve(start, control.detach(), end).at(t)
        control.grad = 2 * t * (1 - t) * objective.batch_gradient_at(point, batch)[1]
        adam.step()
        cosine.step()
        if progress:
            progress(k + 1, steps)
    return BezierCurve(start, control.detach(), end)


def loss_along(
    objective: Objective,
    curve: BezierCurve,
    steps: Sequence[float],
    *,
    progress: Progress | None = None,
) -> Slice:
    """The loss at each t of a curve, as a `Slice` of one line.

    Raises ValueError without steps.
    """
    check_at_least(1, steps=len(steps))
    loss = np.zeros((1, len(steps)))
    for k, t in enumerate(steps):
        loss[0, k] = objective.value_at(curve.at(t))
        if progress:
            progress(k + 1, len(steps))
    return Slice((np.array(steps),), loss)
