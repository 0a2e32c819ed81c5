"""Slices of the loss around the ends of runs, in files."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from widevalley.experiments.measured_runs import by_name
from widevalley.experiments.run_end import End, LossConfig, Precision, facts_of, loss_of, run_name
from widevalley.valley import BatchNormStatistics, Hessian, Objective, Progress
from widevalley.valley.hessian import top_eigenvectors
from widevalley.valley.landscape import Slice, lines, plane, plane_through, random_direction

BEYOND = 0.5
"""How far a line between two weights goes on behind each, as a share of their distance."""
MARGIN = 0.2
"""How far a plane through three goes on around them and the lowest points of their valleys, as a
share of the longest side."""
FARTHEST = 1.0
"""How far away a lowest point is looked for, likewise."""
DESCENT = 30
"""Steps of that search."""
LEAST_RISE = 1e-6
"""Nats that the parabola along the top eigenvector rises by at the least."""
EIGENVECTOR = "top eigenvector"


@dataclass(frozen=True, kw_only=True)
class LandscapeConfig(LossConfig):
    """How the loss is sliced."""

    chunk: int = 500
    """Samples in a batch: memory and speed, and batch norm's samples where it uses them."""
    dtype: Precision = "float32"
    """Of all arithmetic."""
    batch_norm: BatchNormStatistics = "batch"
    """Statistics of batch norm: each batch's own, which go with the weights where they are moved
    far, or those at the run's weights."""
    points: int = 41
    """Steps along each direction."""
    reach: float = 1.0
    """Largest step along random directions, in lengths of each filter."""
    directions: int = 10
    """Random directions of 1-D slices; of a plane there are two."""
    seed: int = 0
    """Keys them."""


def slices_through(
    end: End,
    config: LandscapeConfig,
    *,
    progress: Progress | None = None,
    command: str = "",
) -> Slice:
    """1-D slices through the end of a run: random directions, and the Hessian's top eigenvector.

    Steps are from -1 to 1. The last direction is the eigenvector, so long that its parabola rises
    by the loss itself; facts hold its slope and curvature.
    """
    began, objective = time.monotonic(), loss_of(end, config)
    directions = [config.reach * each for each in _random(objective, config, config.directions)]
    (eigenvalue,), vectors = top_eigenvectors(Hessian(objective), seed=config.seed)
    eigenvalue, vector = float(eigenvalue), vectors[:, 0]
    # So long that the parabola, lambda |v|^2 / 2, is the loss at its ends.
    rise = max(objective.value(), LEAST_RISE)
    vector *= (2 * rise / eigenvalue) ** 0.5 if eigenvalue > 0 else 1.0
    vector = vector.to(objective.dtype)
    names = [f"random {k}" for k in range(config.directions)] + [EIGENVECTOR]
    steps = np.linspace(-1, 1, config.points).tolist()
    found = lines(objective, [*directions, vector], steps, progress=progress)
    parabola = {
        "slope": float(objective.gradient() @ vector),
        "curvature": eigenvalue * float(vector.double().square().sum()),
        "eigenvalue": eigenvalue,
    }
    facts = facts_of(end, config, objective, began, command)
    facts |= {"run": run_name(end), "directions": names, "reach": config.reach}
    return replace(found, facts=facts | {"parabola": parabola})


def around(
    end: End,
    config: LandscapeConfig,
    *,
    progress: Progress | None = None,
    command: str = "",
) -> Slice:
    """The plane of two random directions around the end of a run, alike for all runs of a seed."""
    began, objective = time.monotonic(), loss_of(end, config)
    first, second = _random(objective, config, 2)
    steps = np.linspace(-config.reach, config.reach, config.points).tolist()
    found = plane(objective, first, second, (steps, steps), progress=progress)
    facts = facts_of(end, config, objective, began, command) | {"run": run_name(end)}
    return replace(found, marks={run_name(end): (0.0, 0.0)}, facts=facts)


def between(
    ends: Sequence[End],
    config: LandscapeConfig,
    *,
    progress: Progress | None = None,
    command: str = "",
) -> Slice:
    """The line through the ends of two runs, or the plane through those of three.

    A line has them at 0 and 1; a plane is measured in Euclidean lengths. Raises ValueError for
    another number of runs, runs of networks that differ, or runs that end in one place.
    """
    if len(ends) not in (2, 3):
        raise ValueError(f"runs: must be two or three, not {len(ends)}")
    began = time.monotonic()
    names = list(by_name([run_name(end) for end in ends], ends))
    objectives = [loss_of(end, config) for end in ends]
    # Between weights of different networks there is no line.
    if len({objective.size for objective in objectives}) > 1:
        raise ValueError(f"runs: of networks that differ, {', '.join(names)}")
    weights = [objective.flat_weights for objective in objectives]
    facts = facts_of(ends[0], config, objectives[0], began, command) | {"runs": names}
    if len(ends) == 2:
        if torch.equal(*weights):
            raise ValueError(f"runs: end in one place, {', '.join(names)}")
        steps = np.linspace(-BEYOND, 1 + BEYOND, config.points).tolist()
        found = lines(objectives[0], [weights[1] - weights[0]], steps, progress=progress)
        return replace(found, marks={names[0]: (0.0,), names[1]: (1.0,)}, facts=facts)
    points = dict(zip(names, weights, strict=True))
    first, second, marks = plane_through(points)
    side = max(abs(c) for at in marks.values() for c in at)
    lowest = [_lowest(objectives[0], (first, second), at, FARTHEST * side) for at in marks.values()]
    rows, columns = (
        np.linspace(min(along) - MARGIN * side, max(along) + MARGIN * side, config.points).tolist()
        for along in zip(*marks.values(), *lowest, strict=True)
    )
    found = plane(objectives[0], first, second, (rows, columns), progress=progress)
    return replace(found, marks=marks, facts=facts)


def _lowest(
    objective: Objective, basis: tuple[Tensor, Tensor], start: tuple[float, ...], reach: float
) -> tuple[float, ...]:
    """The lowest point of the valley in a plane that `start` is in, at most `reach` away."""
    origin = objective.flat_weights

    def log_loss(place: np.ndarray) -> tuple[float, list[float]]:
        # Of the logarithm, so that a descent does not stop where all losses are small.
        at = origin + sum(float(c) * d for c, d in zip(place, basis, strict=True))
        loss, slope = max(objective.value_at(at), 1e-30), objective.gradient_at(at)
        return math.log(loss), [float(slope @ d) / loss for d in basis]

    bounds = [(c - reach, c + reach) for c in start]
    how: dict[str, Any] = {"jac": True, "bounds": bounds, "options": {"maxiter": DESCENT}}
    found = optimize.minimize(log_loss, np.array(start), method="L-BFGS-B", **how)
    return tuple(map(float, found.x))


def _random(objective: Objective, config: LandscapeConfig, count: int) -> list[Tensor]:
    # Seeds a thousand apart, so that two configurations share no direction.
    first = 1000 * config.seed
    return [random_direction(objective, seed=first + k) for k in range(count)]
