"""The whole Hessian as one array, built block by block.

Weights that no loss depends on (those of a pixel that is always dark, of a unit that never fires)
have rows of zeros; they are found beforehand and take no room.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from widevalley._files import atomic_write
from widevalley.valley._memory import check_room
from widevalley.valley.hessian.curvature import Curvature, Hessian
from widevalley.valley.hessian.linear_layer import LinearLayer, largest_linear_layer
from widevalley.valley.objective import Progress

COLUMNS = 32
"""Columns in one product; more are no faster and take more memory."""
AGREEMENT = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Relative difference of formula and product that is taken for rounding."""
PROBES = 3
"""Random products that find the rows of zeros."""


@dataclass(frozen=True)
class AssembledMatrix:
    """A symmetric matrix without its rows of zeros, and how well it came out."""

    values: Tensor
    """(k, k), in the order of `support`."""
    support: Tensor
    """Indices of its rows among all, (k,), ascending."""
    size: int
    """n, the number of all rows; those outside the support are zero."""
    asymmetry: float
    """Largest difference of two entries that should be equal, over the largest entry met."""


class Block(Protocol):
    """A part of the matrix that is computed, stored and written at once."""

    name: str
    cost: int
    """Columns it stands for."""

    def compute(self) -> Tensor:
        """The numbers."""
        ...

    def write_into(self, matrix: Tensor, values: Tensor) -> float:
        """Write them into the matrix and its mirror; returns the largest asymmetry met."""
        ...


def assemble(
    operator: Curvature,
    *,
    columns: int = COLUMNS,
    structure: bool = True,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> AssembledMatrix:
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
    support = nonzero_rows(operator)
    k = len(support)
    check_room(k**2 * operator.dtype.itemsize, operator.device)
    layer = None
    if structure and isinstance(operator, Hessian):
        layer = largest_linear_layer(operator.objective)
        layer = layer if layer and _agrees(layer, operator) else None
    blocks = list(_blocks(operator, support, columns, layer))
    matrix = torch.empty(k, k, dtype=operator.dtype, device=operator.device)
    total, done, asymmetry, largest = sum(block.cost for block in blocks), 0, 0.0, 0.0
    for block in blocks:
        values = _computed(block, folder)
        asymmetry = max(asymmetry, block.write_into(matrix, values))
        largest = max(largest, float(values.abs().max()) if values.numel() else 0.0)
        done += block.cost
        if progress:
            progress(done, total)
    return AssembledMatrix(matrix, support, operator.size, asymmetry / largest if largest else 0.0)


def _agrees(layer: LinearLayer, operator: Hessian) -> bool:
    """Whether the layer's formula gives what a product gives, for a random vector over one unit."""
    unit = layer.units - 1
    rows = layer.weights_of(unit).to(operator.device)
    generator = torch.Generator().manual_seed(2)
    vector = torch.zeros(operator.size, dtype=operator.dtype, device=operator.device)
    vector[rows] = torch.randn(len(rows), generator=generator, dtype=torch.float64).to(vector)
    product = operator @ vector
    expected = torch.stack([product[layer.weights_of(k)] for k in range(layer.units)])
    gap = (layer.unit_product(unit, vector[rows]) - expected).norm()
    return bool(gap <= AGREEMENT[operator.precision] * expected.norm())


def nonzero_rows(operator: Curvature) -> Tensor:
    """Indices of the rows that are not zero, found by products with random vectors.

    A row that is not zero gives an exact zero with probability 0 in each of three products.
    """
    generator = torch.Generator().manual_seed(0)
    probes = torch.randn(operator.size, PROBES, generator=generator, dtype=torch.float64)
    products = operator @ probes.to(operator.device, operator.dtype)
    return (products != 0).any(dim=1).nonzero().flatten()


def _blocks(
    operator: Curvature, support: Tensor, columns: int, layer: LinearLayer | None
) -> Iterator[Block]:
    inside = torch.zeros(operator.size, dtype=torch.bool)
    if layer:
        inside[layer.start : layer.stop] = True
    position = torch.full((operator.size,), -1)
    position[support.cpu()] = torch.arange(len(support))
    outside = position[~inside]
    outside = outside[outside >= 0]
    for begin in range(0, len(outside), columns):
        yield _Columns(operator, support, outside, begin, min(begin + columns, len(outside)))
    if layer:
        for unit in range(layer.units):
            yield _Unit(layer, unit, position)


class _Columns:
    """Some columns of the matrix, by products with unit vectors."""

    def __init__(
        self, operator: Curvature, support: Tensor, chosen: Tensor, begin: int, end: int
    ) -> None:
        # Which columns those are depends on what a layer's structure gives.
        left = "" if len(chosen) == len(support) else f"-of-{len(chosen)}"
        self.name = f"columns-{begin}-{end}{left}"
        self.cost = end - begin
        self._operator, self._support = operator, support
        self._before, self._at = chosen[:begin], chosen[begin:end]

    def compute(self) -> Tensor:
        operator, support = self._operator, self._support
        unit = torch.zeros(operator.size, self.cost, dtype=operator.dtype, device=operator.device)
        unit[support[self._at.to(support.device)], torch.arange(self.cost)] = 1
        return (operator @ unit)[support]

    def write_into(self, matrix: Tensor, values: Tensor) -> float:
        asymmetry = _symmetrise(values, self._at)
        if len(self._before):
            mirror = matrix[self._at[:, None], self._before].T
            gap = values[self._before] - mirror
            asymmetry = max(asymmetry, float(gap.abs().max()))
            values[self._before] -= gap / 2
        matrix[:, self._at] = values
        matrix[self._at] = values.T
        return asymmetry


class _Unit:
    """Rows of the weights of one unit of a layer against those of the units up to it."""

    def __init__(self, layer: LinearLayer, unit: int, position: Tensor) -> None:
        self.name = f"unit-{unit}"
        self._layer, self._unit = layer, unit
        self._positions = [position[layer.weights_of(k)] for k in range(unit + 1)]
        self.cost = int((self._positions[unit] >= 0).sum())

    def compute(self) -> Tensor:
        inside = [positions >= 0 for positions in self._positions]
        return self._layer.block_row(self._unit, inside)

    def write_into(self, matrix: Tensor, values: Tensor) -> float:
        rows = self._positions[self._unit]
        rows, at = rows[rows >= 0], 0
        asymmetry = _symmetrise(values[:, values.shape[1] - len(rows) :], slice(None))
        for positions in self._positions:
            columns = positions[positions >= 0]
            part = values[:, at : at + len(columns)]
            matrix[rows[:, None], columns] = part
            matrix[columns[:, None], rows] = part.T
            at += len(columns)
        return asymmetry


def _symmetrise(values: Tensor, at: Tensor | slice) -> float:
    """Make the square of `values` at these rows symmetric; returns how far from it it was."""
    square = values[at].clone()
    values[at] = (square + square.T) / 2
    return float((square - square.T).abs().max()) if square.numel() else 0.0


def _computed(block: Block, folder: Path | None) -> Tensor:
    if folder is None:
        return block.compute()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{block.name}.pt"
    if file.exists():
        stored: Tensor = torch.load(file, weights_only=True)
        return stored
    values = block.compute()
    with atomic_write(file) as out:
        torch.save(values, out)
    return values
