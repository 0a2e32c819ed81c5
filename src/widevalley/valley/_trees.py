"""Nested containers of tensors: what loaders yield and networks return."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """The same containers with `function` of every tensor; what is no container stays as it is."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, PackedSequence):
        sizes, *orders = value[1:]  # sizes stay on the processor
        moved = [None if order is None else function(order) for order in orders]
        return PackedSequence(function(value.data), sizes, *moved)
    # Before mappings: the outputs of Hugging Face models are both, and rebuilt by their fields.
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **map_tensors(function, fields))
    if isinstance(value, Mapping):
        return {name: map_tensors(function, part) for name, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, part) for part in value))
    if isinstance(value, tuple | list):
        return type(value)(map_tensors(function, part) for part in value)
    return value


def leaves(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers as tensors that a gradient can be taken by."""
    return {name: w.detach().requires_grad_() for name, w in weights.items()}


def tensors_of(value: Any) -> list[Tensor]:
    """Every tensor, in order."""
    found: list[Tensor] = []
    map_tensors(found.append, value)
    return found


def sample_count(value: Any) -> int:
    """Length of the first dimension of the first tensor that has one; 1 where none has."""
    return next((len(t) for t in tensors_of(value) if t.dim()), 1)


def take(value: Any, samples: Tensor | slice, count: int) -> Any:
    """Some samples out of `count`: of every tensor whose first dimension is that long."""

    def chosen(tensor: Tensor) -> Tensor:
        return tensor[samples] if tensor.dim() and len(tensor) == count else tensor

    return map_tensors(chosen, value)
