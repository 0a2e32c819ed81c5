r"""The Hessian's block of a fully connected layer, without products.

Where a layer z_n = W a_n + b is applied once to each sample, the mean loss depends on W and b
through z_n alone, so that second derivatives by the weights of units i and j are

    \sum_n B_n[i, j] \hat a_n \hat a_n^T,    \hat a_n = (a_n, 1),

with B_n the Hessian of the mean loss by z_n: weighted Gram matrices of the layer's inputs. This
holds whatever comes before and after, as long as no sample depends on another of its batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from widevalley.valley._trees import sample_count
from widevalley.valley.hessian.derivatives import Product, second_order
from widevalley.valley.objective import Objective


class LinearLayer:
    """A fully connected layer's place among the flat weights, and its block of the Hessian."""

    def __init__(self, objective: Objective, layer: nn.Linear, start: int) -> None:
        self.units, self.features = layer.weight.shape
        self.start = start
        self.has_bias = layer.bias is not None
        self.stop = start + layer.weight.numel() + self.units * self.has_bias
        self._objective, self._layer = objective, layer
        pairs = zip(objective.batch_weights, objective.batches, strict=True)
        self._inputs = torch.cat([self._input(inputs) for weight, (inputs, _) in pairs if weight])
        self._products = [
            (batch_weight, self._product(*batch), sample_count(batch[::-1]))
            for batch_weight, batch in zip(objective.batch_weights, objective.batches, strict=True)
            if batch_weight
        ]

    def weights_of(self, unit: int) -> Tensor:
        """Indices of a unit's weights among all, its bias last."""
        first = self.start + unit * self.features
        weights = torch.arange(first, first + self.features)
        if not self.has_bias:
            return weights
        return torch.cat([weights, torch.tensor([self.start + self.units * self.features + unit])])

    def block_row(self, unit: int, chosen: list[Tensor]) -> Tensor:
        """Rows of this unit's weights, columns of the units 0 to `unit`, both where `chosen`."""
        curvature, rows = self._curvature(unit), self._inputs[:, chosen[unit]]
        parts = []
        for other, columns in enumerate(chosen):
            weight = curvature[:, other]
            active = weight.nonzero().flatten()  # behind a ReLU half of the samples are not
            left = rows[active] * weight[active, None]
            right = rows[active] if other == unit else self._inputs[active][:, columns]
            parts.append(left.T @ right)
        return torch.cat(parts, dim=1)

    def _curvature(self, unit: int) -> Tensor:
        """B_n[unit, :] of all samples, (samples, units)."""
        rows = []
        for batch_weight, product, samples in self._products:
            tangent = torch.zeros(samples, self.units, dtype=self._inputs.dtype)
            tangent[:, unit] = 1
            rows.append(batch_weight * product((tangent.to(self._inputs.device),), False)[0])
        return torch.cat(rows)

    def unit_product(self, unit: int, vector: Tensor) -> Tensor:
        """The block's product with a vector over one unit's weights, (units, features + bias)."""
        along = self._inputs @ vector
        return (self._curvature(unit) * along[:, None]).T @ self._inputs

    def _product(self, inputs: Any, targets: Any) -> Product:
        """The Hessian of a batch's loss by the layer's output, as a linear map."""
        objective, samples = self._objective, sample_count((targets, inputs))
        shift = self._inputs.new_zeros(samples, self.units, requires_grad=True)
        with torch.enable_grad(), _shifted(self._layer, shift):
            loss = objective.batch_loss(objective.weights, inputs, targets)
        return second_order(loss, [shift])

    def _input(self, inputs: Any) -> Tensor:
        (given,) = _inputs_of(self._objective, self._layer, inputs)
        ones = given.new_ones(len(given), int(self.has_bias))
        return torch.cat([given, ones], dim=1)


def largest_linear_layer(objective: Objective) -> LinearLayer | None:
    """The fully connected layer of most weights that the formula above holds for, or None.

    It is applied once to a batch, to one row a sample, has all its weights trained and to itself;
    no sample depends on another; a penalty has second derivatives that the formula leaves out.
    """
    if objective.couples_samples or objective.penalty:
        return None
    names = dict(_starts(objective))
    found = [
        (layer, names[f"{name}.weight"])
        for name, layer in objective.module.named_modules()
        if isinstance(layer, nn.Linear) and _fits(objective, layer, f"{name}.", names)
    ]
    if not found:
        return None
    layer, start = max(found, key=lambda pair: pair[0].weight.numel())
    return LinearLayer(objective, layer, start)


def _fits(objective: Objective, layer: nn.Linear, prefix: str, starts: dict[str, int]) -> bool:
    # A parametrised layer (weight_norm) has other parameters, and computes its weight from them.
    own = {name for name, _ in layer.named_parameters()}
    if own - {"bias"} != {"weight"} or not all(f"{prefix}{name}" in starts for name in own):
        return False
    if _is_tied(layer, objective.module):
        return False
    inputs, targets = objective.batches[0]
    calls = _inputs_of(objective, layer, inputs)
    samples = sample_count((targets, inputs))
    return len(calls) == 1 and calls[0].dim() == 2 and len(calls[0]) == samples


def _is_tied(layer: nn.Linear, module: nn.Module) -> bool:
    """Whether another layer has one of this one's parameters."""
    own = set(layer.parameters(recurse=False))
    others = (m for m in module.modules() if m is not layer)
    return any(own & set(m.parameters(recurse=False)) for m in others)


def _starts(objective: Objective) -> Iterator[tuple[str, int]]:
    at = 0
    for name, weight in objective.weights.items():
        yield name, at
        at += weight.numel()


def _inputs_of(objective: Objective, layer: nn.Linear, inputs: Any) -> list[Tensor]:
    """What the layer is given in a forward pass, call by call."""
    calls: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: calls.append(given[0].detach()))
    with hook, torch.no_grad():
        objective.outputs(objective.weights, inputs)
    return calls


@contextmanager
def _shifted(layer: nn.Linear, shift: Tensor) -> Iterator[None]:
    """Inside the block the layer's output has `shift` added."""
    hook = layer.register_forward_hook(lambda _, __, output: output + shift)
    with hook:
        yield
