"""Curvature of some of the weights: of one layer, or of any set of parameters by name."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from widevalley.valley.hessian.curvature import Curvature
from widevalley.valley.hessian.operators import SymmetricOperator


class ParameterBlock(SymmetricOperator):
    """The diagonal block of a curvature matrix over some parameters; a product costs a whole one.

    Whatever takes an operator takes it: `trace`, `extreme_eigenvalues`, `spectral_density`.

    Args:
        operator: the curvature.
        names: parameters of its objective, in any order.

    Raises:
        ValueError: a name that is no parameter, or none at all.
    """

    def __init__(self, operator: Curvature, names: Iterable[str]) -> None:
        weights, chosen = operator.objective.weights, set(names)
        unknown = chosen - set(weights)
        if unknown or not chosen:
            wrong = ", ".join(sorted(unknown)) or "none"
            raise ValueError(f"names: {wrong}; must be some of {', '.join(weights)}")
        marks = [torch.full((w.numel(),), name in chosen) for name, w in weights.items()]
        self.indices = torch.cat(marks).nonzero().flatten().to(operator.device)
        """Of its weights among all, ascending."""
        self._operator = operator
        self.size, self.dtype, self.device = len(self.indices), operator.dtype, operator.device

    @property
    def precision(self) -> torch.dtype:
        """That of the whole curvature."""
        return self._operator.precision

    def _multiply(self, block: Tensor) -> Tensor:
        whole = block.new_zeros(self._operator.size, *block.shape[1:])
        whole[self.indices] = block
        return (self._operator @ whole)[self.indices]


def layer_blocks(operator: Curvature) -> dict[str, ParameterBlock]:
    """The block of every module that has weights of its own, by its name; the root is ''."""
    layers: dict[str, list[str]] = {}
    for name in operator.objective.weights:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    return {layer: ParameterBlock(operator, names) for layer, names in layers.items()}
