"""The whole Hessian as one array, built block by block.

Weights that no loss depends on (those of a pixel that is always dark, of a unit that never fires)
have rows of zeros; they are told apart beforehand and take no room.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from widevalley.valley.linear_layer import LinearLayer, largest_linear_layer
from widevalley.valley.memory import check_room
from widevalley.valley.objective import Progress
from widevalley.valley.operators import Curvature, Hessian

COLUMNS = 32
"""Columns in one product; more are no faster and take more memory."""
PROBES = 3


@dataclass(frozen=True)
class Matrix:
    """A symmetric matrix over the weights that matter, and how well it came out."""

    values: Tensor
    """(k, k), in the order of `live`."""
    live: Tensor
    """Indices of its weights among all, (k,)."""
    size: int
    """Number of all weights; the rows of the others are zero."""
    asymmetry: float
    """Largest difference of two entries that should be equal, over the largest entry met."""


class Piece(Protocol):
    """A part of the matrix that is computed, kept and placed at once."""

    name: str
    cost: int
    """Columns it stands for."""

    def compute(self) -> Tensor:
        """The numbers."""
        ...

    def place(self, matrix: Tensor, block: Tensor) -> float:
        """Write them into the matrix and its mirror; returns the largest asymmetry met."""
        ...


def dense(
    operator: Curvature,
    *,
    columns: int = COLUMNS,
    structure: bool = True,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Matrix:
    """Build the matrix of an operator.

    Of a Hessian with a fully connected layer the largest such layer's own block, most of the
    matrix in small networks, is made of weighted Gram matrices instead of products (see
    `LinearLayer`); `structure=False` makes all of it of products.

    Args:
        operator: the curvature.
        columns: in one product.
        structure: whether to use the structure of fully connected layers.
        folder: keep each finished block here, and take those that are there instead of computing
            them again. It must belong to this operator alone.
        progress: called with columns done and columns in all.

    Raises:
        MemoryError: the matrix does not fit; says how much is needed and how much is free.
    """
    live = live_weights(operator)
    check_room(len(live) ** 2 * operator.dtype.itemsize, operator.device)
    layer = None
    if structure and isinstance(operator, Hessian):
        layer = largest_linear_layer(operator.objective)
    pieces = list(_pieces(operator, live, columns, layer))
    matrix = torch.empty(len(live), len(live), dtype=operator.dtype, device=operator.device)
    total, done, asymmetry, largest = sum(p.cost for p in pieces), 0, 0.0, 0.0
    for piece in pieces:
        block = _computed(piece, folder)
        asymmetry = max(asymmetry, piece.place(matrix, block))
        largest = max(largest, float(block.abs().max()) if block.numel() else 0.0)
        done += piece.cost
        if progress:
            progress(done, total)
    return Matrix(matrix, live, operator.size, asymmetry / largest if largest else 0.0)


def live_weights(operator: Curvature) -> Tensor:
    """Indices of the rows that are not zero, told by products with random vectors.

    A row that is not zero gives an exact zero with probability 0 in each of three products.
    """
    generator = torch.Generator().manual_seed(0)
    probes = torch.randn(operator.size, PROBES, generator=generator, dtype=torch.float64)
    products = operator @ probes.to(operator.device, operator.dtype)
    return (products != 0).any(dim=1).nonzero().flatten()


def _pieces(
    operator: Curvature, live: Tensor, columns: int, layer: LinearLayer | None
) -> Iterator[Piece]:
    inside = torch.zeros(operator.size, dtype=torch.bool)
    if layer:
        inside[layer.start : layer.stop] = True
    position = torch.full((operator.size,), -1)
    position[live.cpu()] = torch.arange(len(live))
    outside = position[~inside]
    outside = outside[outside >= 0]
    for begin in range(0, len(outside), columns):
        yield _Columns(operator, live, outside, begin, min(begin + columns, len(outside)))
    if layer:
        for unit in range(layer.units):
            yield _Unit(layer, unit, position)


class _Columns:
    """Some columns of the matrix, by products with unit vectors."""

    def __init__(
        self, operator: Curvature, live: Tensor, chosen: Tensor, begin: int, end: int
    ) -> None:
        self.name = f"columns-{begin}-{end}"
        self.cost = end - begin
        self._operator, self._live = operator, live
        self._before, self._at = chosen[:begin], chosen[begin:end]

    def compute(self) -> Tensor:
        operator = self._operator
        unit = torch.zeros(operator.size, self.cost, dtype=operator.dtype, device=operator.device)
        unit[self._live[self._at.to(self._live.device)], torch.arange(self.cost)] = 1
        return (operator @ unit)[self._live]

    def place(self, matrix: Tensor, block: Tensor) -> float:
        asymmetry = _symmetrise(block, self._at)
        if len(self._before):
            mirror = matrix[self._at[:, None], self._before].T
            gap = block[self._before] - mirror
            asymmetry = max(asymmetry, float(gap.abs().max()))
            block[self._before] -= gap / 2
        matrix[:, self._at] = block
        matrix[self._at] = block.T
        return asymmetry


class _Unit:
    """Rows of the weights of one unit of a layer against those of the units up to it."""

    def __init__(self, layer: LinearLayer, unit: int, position: Tensor) -> None:
        self.name = f"unit-{unit}"
        self._layer, self._unit = layer, unit
        self._places = [position[layer.weights_of(k)] for k in range(unit + 1)]
        self.cost = int((self._places[unit] >= 0).sum())

    def compute(self) -> Tensor:
        live = [places >= 0 for places in self._places]
        return self._layer.strip(self._unit, live)

    def place(self, matrix: Tensor, block: Tensor) -> float:
        rows = self._places[self._unit]
        rows, at = rows[rows >= 0], 0
        asymmetry = _symmetrise(block[:, block.shape[1] - len(rows) :], slice(None))
        for places in self._places:
            chosen = places[places >= 0]
            part = block[:, at : at + len(chosen)]
            matrix[rows[:, None], chosen] = part
            matrix[chosen[:, None], rows] = part.T
            at += len(chosen)
        return asymmetry


def _symmetrise(block: Tensor, at: Tensor | slice) -> float:
    """Make the square of `block` at these rows symmetric; returns how far from it it was."""
    square = block[at].clone()
    block[at] = (square + square.T) / 2
    return float((square - square.T).abs().max()) if square.numel() else 0.0


def _computed(piece: Piece, folder: Path | None) -> Tensor:
    if folder is None:
        return piece.compute()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{piece.name}.pt"
    if file.exists():
        kept: Tensor = torch.load(file, weights_only=True)
        return kept
    block = piece.compute()
    torch.save(block, file.with_suffix(".part"))
    os.replace(file.with_suffix(".part"), file)
    return block
