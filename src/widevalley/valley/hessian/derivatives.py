"""Linear maps by reverse-mode derivatives: products with Jacobians and Hessians.

Of torch.func's compositions, two with forward mode are silently wrong through batch norm on batch
statistics (torch 2.13), and all of them refuse checkpoints and hooks; gradients of gradients by
`torch.autograd.grad` are right for all.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

Tangents = tuple[Tensor, ...]
"""A vector by tensor; of a block the columns come first."""


class Product(Protocol):
    """A linear map of tangents."""

    def __call__(self, tangents: Tangents, block: bool, keep: bool = True) -> Tangents:
        """The map of a vector or of a block; where `keep` is not, for the last time."""
        ...


@contextmanager
def slow_rules() -> Iterator[None]:
    """Inside, vmap does not complain of operations that it takes one by one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        yield


def second_order(value: Tensor, variables: Sequence[Tensor]) -> Product:
    """The Hessian of a scalar by some tensors, as a linear map; of a linear one it is zero."""
    if not value.requires_grad:
        slopes: tuple[Tensor, ...] = tuple(torch.zeros_like(v) for v in variables)
    else:
        slopes = torch.autograd.grad(value, variables, create_graph=True, materialize_grads=True)

    def product(tangents: Tangents, block: bool, keep: bool = True) -> Tangents:
        return pull_back(slopes, variables, tangents, block, keep)

    return product


def pull_back(
    values: Sequence[Tensor],
    variables: Sequence[Tensor],
    tangents: Sequence[Tensor],
    block: bool,
    keep: bool = True,
) -> Tangents:
    """J^T v of the Jacobian J of values by variables; of a block all at once.

    Unless `keep`, what was saved for it is freed on the way, and there is no second time.
    """
    pairs = [(v, t) for v, t in zip(values, tangents, strict=True) if v.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(variables)
    if pairs:
        found = torch.autograd.grad(
            [v for v, _ in pairs],
            variables,
            [t for _, t in pairs],
            retain_graph=keep,
            allow_unused=True,
            is_grads_batched=block,
        )
    lead = tangents[0].shape[:1] if block else ()
    return tuple(
        v.new_zeros((*lead, *v.shape)) if f is None else f
        for v, f in zip(variables, found, strict=True)
    )
