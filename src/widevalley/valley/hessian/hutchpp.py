"""The trace of a matrix known by its products, by Hutch++."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from widevalley.valley._validation import check_at_least
from widevalley.valley.estimate import Estimate
from widevalley.valley.hessian.operators import SymmetricOperator


def trace(operator: SymmetricOperator, *, products: int = 99, seed: int = 0) -> Estimate:
    """The trace by Hutch++ (Meyer, Musco, Musco and Woodruff, 2021).

    A third of the products finds a space that holds most of the matrix, a third takes the trace in
    it exactly, and the last third estimates what is left with random signs; the error is that of
    the last part.

    Args:
        operator: any symmetric operator.
        products: to spend, at least 3.
        seed: keys the random signs.

    Raises:
        ValueError: fewer than 3 products.
    """
    check_at_least(3, products=products)
    generator = torch.Generator().manual_seed(seed)
    third = min(products // 3, operator.size)
    sketch, probes = (_signs(operator, third, generator) for _ in range(2))
    space, _ = torch.linalg.qr(_product(operator, sketch))
    inside = float((space * _product(operator, space)).sum())
    probes -= space @ (space.T @ probes)
    rest = (probes * _product(operator, probes)).sum(dim=0)
    error = float(rest.std()) / math.sqrt(third) if third > 1 else math.nan
    return Estimate(inside + float(rest.mean()), error)


def _signs(operator: SymmetricOperator, columns: int, generator: torch.Generator) -> Tensor:
    bits = torch.randint(2, (operator.size, columns), generator=generator)
    return (2.0 * bits - 1).to(operator.device, torch.float64)


def _product(operator: SymmetricOperator, columns: Tensor) -> Tensor:
    return (operator @ columns.to(operator.dtype)).to(torch.float64)
