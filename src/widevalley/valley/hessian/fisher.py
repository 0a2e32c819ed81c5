"""The diagonal of the empirical Fisher information, and the shortcut by Adam's moments."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.optim import Adam

from widevalley.valley._storage import read_arrays, write_arrays
from widevalley.valley.objective import Objective, Weights

CHUNK = 64
"""Samples whose gradients are in memory at once."""


@dataclass(frozen=True)
class FisherDiagonal:
    """The diagonal, exact and by Adam's shortcut, of the same weights."""

    exact: np.ndarray
    """`fisher_diagonal`, centred, (n,)."""
    of_adam: np.ndarray
    """`fisher_diagonal_of_adam`, (n,)."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What it is of and how it was made, in plain values."""

    def save(self, file: Path) -> None:
        """Write everything to an .npz file."""
        write_arrays(file, {"facts": self.facts}, exact=self.exact, of_adam=self.of_adam)

    @classmethod
    def load(cls, file: Path) -> FisherDiagonal:
        """Read what `save` wrote. Raises ValueError naming the file where it is not that."""
        return cls(**read_arrays(file))


def fisher_diagonal(objective: Objective, *, centred: bool = False, chunk: int = CHUNK) -> Tensor:
    r"""The diagonal of the empirical Fisher information, E[g^2] over the gradients of samples.

    That of `EmpiricalFisher`; `centred` it is their variance, E[g^2] - E[g]^2, weight by weight.
    Samples lie along the first dimension of the objective's batches. Sums are in float64, and
    nothing is negative.

    Args:
        objective: the loss, the data and the weights.
        centred: whether to take the square of the mean off.
        chunk: samples whose gradients are in memory at once.

    Returns:
        (n,), in the order of the flat weights, float64.
    """
    chunk = 1 if objective.recurrent else chunk  # which cannot be mapped over samples
    sums = torch.zeros(2, objective.size, dtype=torch.float64, device=objective.device)
    samples = 0
    for inputs, targets in objective.batches:
        for x, y in zip(torch.split(inputs, chunk), torch.split(targets, chunk), strict=True):
            flat = _gradients(objective, x, y).double()
            sums[0] += flat.sum(dim=0)
            sums[1] += flat.square().sum(dim=0)
            samples += len(y)
    mean, square = sums[0] / samples, sums[1] / samples
    return (square - mean.square()).clamp_min(0.0) if centred else square


def _gradients(objective: Objective, inputs: Tensor, targets: Tensor) -> Tensor:
    """The gradient of each sample's loss, (samples, n)."""
    if len(targets) == 1:
        one: Weights = grad(objective.batch_loss)(objective.weights, inputs, targets)
        return objective.flatten(one).unsqueeze(0)

    def sample_loss(weights: Weights, sample: Tensor, target: Tensor) -> Tensor:
        return objective.batch_loss(weights, sample[None], target[None])

    each: Weights = vmap(grad(sample_loss), in_dims=(None, 0, 0))(
        objective.weights, inputs, targets
    )
    return torch.cat([each[name].flatten(1) for name in objective.weights], dim=1)


def fisher_diagonal_of_adam(optimizer: Adam) -> Tensor:
    """The centred diagonal from Adam's moments: v - m^2 of its bias-corrected averages.

    A shortcut with two faults: the gradients are of mini-batches, so it is about the variance of
    single samples over the batch size, and the two averages are over windows of different lengths,
    so it can be negative.

    Raises:
        ValueError: the optimizer has taken no step, or is no Adam.
    """
    if not isinstance(optimizer, Adam) or not optimizer.state:
        raise ValueError("optimizer: must be an Adam that has taken a step")
    parts = []
    for group in optimizer.param_groups:
        first, second = group["betas"]
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            step = float(state["step"])
            mean = state["exp_avg"].double() / (1 - first**step)
            square = state["exp_avg_sq"].double() / (1 - second**step)
            parts.append((square - mean.square()).flatten())
    return torch.cat(parts)
