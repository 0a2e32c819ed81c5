"""Slices of the loss: along directions, over planes, between weights.

Points are evaluated one by one over the objective's batches; a slice of k points costs k passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from widevalley.valley._storage import read_arrays, write_arrays
from widevalley.valley.objective import Objective, Progress

COLLINEAR = 1e-9
"""Of the sides of a triangle, the least height that makes a plane."""


@dataclass(frozen=True)
class Slice:
    """The loss along lines or over a plane through the objective's weights."""

    coordinates: tuple[np.ndarray, ...]
    """Steps along each direction: one array for lines, two for a plane."""
    loss: np.ndarray
    """Lines: (directions, points). A plane: (points of the first, points of the second)."""
    marks: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Coordinates of points that have a name."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What it is of and how it was made, in plain values."""
    lengths: tuple[float, ...] = ()
    """Euclidean length of each direction, of a step of 1; empty in files of earlier versions."""

    def distances(self, k: int = 0) -> np.ndarray:
        """How far each step along the k-th direction is, or the steps where that is not known."""
        along = self.coordinates[k if len(self.coordinates) > 1 else 0]
        return along * (self.lengths[k] if self.lengths else 1.0)

    def save(self, file: Path) -> None:
        """Write everything to an .npz file."""
        plain = {"marks": self.marks, "facts": self.facts, "dimensions": len(self.coordinates)}
        plain["lengths"] = self.lengths
        axes = {f"axis_{k}": axis for k, axis in enumerate(self.coordinates)}
        write_arrays(file, plain, loss=self.loss, **axes)

    @classmethod
    def load(cls, file: Path) -> Slice:
        """Read what `save` wrote. Raises ValueError naming the file where it is not that."""
        read = read_arrays(file)
        if "dimensions" not in read:
            raise ValueError(f"{file}: holds no slice of a landscape")
        axes = tuple(read[f"axis_{k}"] for k in range(read["dimensions"]))
        marks = {name: tuple(at) for name, at in read["marks"].items()}
        lengths = tuple(read.get("lengths", ()))
        return cls(axes, read["loss"], marks, read["facts"], lengths)


def random_direction(objective: Objective, *, seed: int = 0) -> Tensor:
    """A Gaussian direction with each filter scaled to the norm of the weights' own filter.

    Filters are rows of a weight of two or more dimensions; biases and other vectors are one filter
    each. So a step of 1 moves every filter by its own length, and the picture does not change when
    one layer is scaled up and the next one down (Li et al., 2018). Flat, (n,).
    """
    generator = torch.Generator().manual_seed(seed)
    parts = {}
    for name, weight in objective.weights.items():
        drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
        rows = (len(weight), -1) if weight.dim() > 1 else (1, -1)
        own, other = weight.reshape(rows).norm(dim=1), drawn.reshape(rows).norm(dim=1)
        scale = torch.where(other > 0, own / other, 0.0)
        parts[name] = (drawn.reshape(rows) * scale[:, None]).reshape(weight.shape)
    return objective.flatten(parts)


def lines(
    objective: Objective,
    directions: Sequence[Tensor],
    steps: Sequence[float],
    *,
    progress: Progress | None = None,
) -> Slice:
    """The loss at x + t d for every step t along every direction d, (n,).

    Raises ValueError without directions or steps, or where a direction is not of (n,).
    """
    _check(objective, directions, steps)
    at, total = objective.flat_weights, len(directions) * len(steps)
    loss = np.zeros((len(directions), len(steps)))
    for k, direction in enumerate(directions):
        for j, t in enumerate(steps):
            loss[k, j] = objective.value_at(at + t * direction)
            if progress:
                progress(k * len(steps) + j + 1, total)
    return Slice((np.array(steps),), loss, lengths=_lengths(directions))


def plane(
    objective: Objective,
    first: Tensor,
    second: Tensor,
    steps: tuple[Sequence[float], Sequence[float]],
    *,
    progress: Progress | None = None,
) -> Slice:
    """The loss at x + a d1 + b d2 for every pair of steps a, b.

    Raises ValueError without steps, or where a direction is not of (n,).
    """
    for along in steps:
        _check(objective, (first, second), along)
    at, (rows, columns) = objective.flat_weights, steps
    loss = np.zeros((len(rows), len(columns)))
    for k, a in enumerate(rows):
        for j, b in enumerate(columns):
            loss[k, j] = objective.value_at(at + a * first + b * second)
            if progress:
                progress(k * len(columns) + j + 1, loss.size)
    lengths = _lengths((first, second))
    return Slice((np.array(rows), np.array(columns)), loss, lengths=lengths)


def plane_through(
    points: dict[str, Tensor],
) -> tuple[Tensor, Tensor, dict[str, tuple[float, ...]]]:
    """Orthonormal directions of the plane through three flat weights, and where each of them is.

    The origin is the first point, and the first direction leads to the second one.

    Raises ValueError unless there are three points, not on one line to the rounding of theirs.
    """
    if len(points) != 3:
        raise ValueError(f"points: must be three, not {len(points)}")
    origin, second, third = points.values()
    sides = torch.stack([second - origin, third - origin], dim=1)
    basis, corners = torch.linalg.qr(sides)
    # Differences and the decomposition are off by a few epsilon of the weights.
    rounding = 10 * torch.finfo(origin.dtype).eps * max(float(p.norm()) for p in points.values())
    least = max(rounding, COLLINEAR * float(sides.norm()))
    if not min(map(abs, corners.diagonal().tolist())) > least:
        raise ValueError("points: lie on one line")
    signs = corners.diagonal().sign()
    basis, corners = basis * signs, corners * signs[:, None]
    places = ((0.0, 0.0), *(tuple(map(float, column)) for column in corners.T))
    return basis[:, 0], basis[:, 1], dict(zip(points, places, strict=True))


def _lengths(directions: Sequence[Tensor]) -> tuple[float, ...]:
    return tuple(float(each.double().norm()) for each in directions)


def _check(objective: Objective, directions: Sequence[Tensor], steps: Sequence[float]) -> None:
    if not len(directions) or not len(steps):
        raise ValueError("directions and steps: there must be one of each at the least")
    for k, direction in enumerate(directions):
        if direction.shape != (objective.size,):
            raise ValueError(
                f"directions[{k}]: must be of shape ({objective.size},), not "
                f"{tuple(direction.shape)}"
            )
