"""The diagonal of the empirical Fisher information, and the shortcut by Adam's moments."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam

from widevalley.valley._storage import read_as, write_arrays
from widevalley.valley._validation import check_at_least
from widevalley.valley.hessian.samples import require_samples, sample_gradients
from widevalley.valley.objective import Objective, Progress

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
        return read_as(cls, file)


def fisher_diagonal(
    objective: Objective,
    *,
    centred: bool = False,
    chunk: int = CHUNK,
    progress: Progress | None = None,
) -> Tensor:
    r"""The diagonal of the empirical Fisher information, E[g^2] over the gradients of samples.

    E weighs samples as the mean loss does, all alike unless losses are weighted.

    That of `EmpiricalFisher`; `centred` it is their variance, E[g^2] - E[g]^2, weight by weight.
    Samples lie along the first dimension of the objective's batches. Sums are in float64, and
    nothing is negative.

    Args:
        objective: the loss, the data and the weights.
        centred: whether to take the square of the mean off.
        chunk: samples whose gradients are in memory at once.
        progress: called with batches done and batches in all.

    Returns:
        (n,), in the order of the flat weights, float64.

    Raises:
        ValueError: samples are coupled, so that none has a gradient of its own; chunk below 1.
    """
    require_samples(objective, "fisher_diagonal")
    check_at_least(1, chunk=chunk)
    mean, square = torch.zeros(2, objective.size, dtype=torch.float64, device=objective.device)
    pairs = zip(objective.batch_weights, objective.batches, strict=True)
    for k, (batch_weight, batch) in enumerate(pairs, start=1):
        if progress:
            progress(k, len(objective.batches))
        if not batch_weight:
            continue
        for gradients, weights in sample_gradients(objective, *batch, chunk=chunk):
            shares = batch_weight * weights.double()
            mean += shares @ gradients.double()
            square += shares @ gradients.double().square()
    variance: Tensor = (square - mean.square()).clamp_min(0.0)
    return variance if centred else square


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
            state = optimizer.state.get(parameter, {})
            if "step" not in state:
                raise ValueError(
                    "optimizer: has taken no step of a parameter, which had no gradient"
                )
            step = float(state["step"])
            mean = state["exp_avg"].double() / (1 - first**step)
            square = state["exp_avg_sq"].double() / (1 - second**step)
            parts.append((square - mean.square()).flatten())
    return torch.cat(parts)
