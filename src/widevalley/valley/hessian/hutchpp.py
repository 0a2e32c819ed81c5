"""The trace of a matrix known by its products, by Hutch++."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from widevalley.valley._memory import GIB
from widevalley.valley._validation import check_at_least
from widevalley.valley.estimate import Estimate
from widevalley.valley.hessian.operators import SymmetricOperator
from widevalley.valley.objective import Progress

MEMORY = 4 * GIB
"""Bytes of vectors by default."""


def trace(
    operator: SymmetricOperator,
    *,
    products: int = 99,
    chunk: int = 32,
    memory: int = MEMORY,
    seed: int = 0,
    progress: Progress | None = None,
) -> Estimate:
    """The trace by Hutch++ (Meyer, Musco, Musco and Woodruff, 2021).

    A third of the products finds a space that holds most of the matrix, a third takes the trace in
    it exactly, and the last third estimates what is left with random signs; the error is that of
    the last part.

    Args:
        operator: any symmetric operator.
        products: to spend, at least 3.
        chunk: columns in one product.
        memory: bytes of the space, 8 n for each vector; where it does not hold a third of the
            products more of them go to random signs.
        seed: keys the random signs.
        progress: called with products done and products in all.

    Raises:
        ValueError: fewer than 3 products, or chunk below 1.
    """
    check_at_least(3, products=products)
    check_at_least(1, chunk=chunk)
    generator = torch.Generator().manual_seed(seed)
    third = min(products // 3, operator.size)
    inside = min(third, memory // (8 * operator.size))
    count = third + 2 * (third - inside)
    done, total = 0, 2 * inside + count

    def multiplied(columns: Tensor) -> Tensor:
        nonlocal done
        product = (operator @ columns.to(operator.dtype)).to(torch.float64)
        done += columns.shape[1]
        if progress:
            progress(done, total)
        return product

    sketch = [multiplied(signs) for signs in _signs(operator, inside, chunk, generator)]
    space, exact = torch.empty(operator.size, 0, dtype=torch.float64, device=operator.device), 0.0
    if sketch:
        space, _ = torch.linalg.qr(torch.cat(sketch, dim=1))
        del sketch
        for part in torch.split(space, chunk, dim=1):
            exact += float((part * multiplied(part)).sum())
    rest = []
    for probes in _signs(operator, count, chunk, generator):
        probes -= space @ (space.T @ probes)
        rest.append((probes * multiplied(probes)).sum(dim=0))
    each = torch.cat(rest)
    error = float(each.std()) / math.sqrt(count) if count > 1 else math.nan
    return Estimate(exact + float(each.mean()), error, count - 1)


def _signs(
    operator: SymmetricOperator, columns: int, chunk: int, generator: torch.Generator
) -> Iterator[Tensor]:
    for begin in range(0, columns, chunk):
        shape = operator.size, min(chunk, columns - begin)
        bits = torch.randint(2, shape, generator=generator, dtype=torch.int8)
        yield (2.0 * bits - 1).to(operator.device, torch.float64)
