"""The mean loss of a network over fixed data, as a function of its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

Weights = dict[str, Tensor]
"""Tensors by parameter name."""
Batch = tuple[Any, Tensor]
"""Inputs and targets."""
Progress = Callable[[int, int], None]
"""Called with how much of the work is done, and of how much."""
BatchNormStatistics = Literal["running", "batch"]
"""Which statistics batch norm uses: its running ones, or each batch's own."""


class Objective:
    r"""f(x) = (1/N) \sum_n loss_n(x) over all samples of a loader, at the weights of a module.

    The module is copied as it stands: what is done here leaves the caller's module and what is
    done to that later leaves this untouched. x are the parameters that require a gradient, in the
    order of `module.named_parameters()` and flattened; shared ones count once. Each batch weighs
    by its number of targets, so an uneven last batch is right.

    Dropout is off. Batch norm uses its running statistics, which makes f a mean over samples; with
    `batch_norm="batch"` it uses those of each batch, as in training, and then f depends on how the
    data are cut into batches.

    Args:
        module: any module whose outputs `loss` takes; all of its parameters on one device.
        loss: maps outputs and targets to the mean loss of a batch, a scalar.
        batches: pairs of inputs and targets, each of one or more samples; read once, into memory.
            Inputs may be a tensor or a tuple of arguments.
        dtype: of all that is computed; by default that of the parameters. float64 is worth its
            price where eigenvalues near zero matter.
        batch_norm: "running" or "batch".

    Raises:
        ValueError: no batch, no parameter that requires a gradient, a loss that is no scalar, or
            an unknown `batch_norm`.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[Any, Tensor], Tensor],
        batches: Iterable[Batch],
        *,
        dtype: torch.dtype | None = None,
        batch_norm: BatchNormStatistics = "running",
    ) -> None:
        if batch_norm not in ("running", "batch"):
            raise ValueError(f"batch_norm={batch_norm!r}: must be 'running' or 'batch'")
        self.module = copy.deepcopy(module).eval()
        # vmap has no derivatives of max-pooling in any other memory order (torch 2.13).
        self.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        if dtype is not None:
            self.module.to(dtype)
        self.weights = {
            name: p.detach() for name, p in self.module.named_parameters() if p.requires_grad
        }
        if not self.weights:
            raise ValueError("module: none of its parameters requires a gradient")
        first = next(iter(self.weights.values()))
        self.dtype, self.device = first.dtype, first.device
        self.batches = [(self._moved(inputs), self._moved(targets)) for inputs, targets in batches]
        if not self.batches:
            raise ValueError("batches: there is none")
        self.loss = loss
        self.recurrent = any(isinstance(m, nn.RNNBase) for m in self.module.modules())
        if batch_norm == "batch":
            _use_batch_statistics(self.module)
        sizes = [targets.numel() for _, targets in self.batches]
        self.batch_weights = [size / sum(sizes) for size in sizes]
        """Weight of each batch in the mean; their sum is 1."""
        inputs, targets = self.batches[0]
        shape = tuple(self.batch_loss(self.weights, inputs, targets).shape)
        if shape:
            raise ValueError(f"loss: must be the mean over a batch, a scalar, not shape {shape}")

    @property
    def couples_samples(self) -> bool:
        """Whether the loss of a sample depends on the others of its batch: by batch norm."""
        norms = [m for m in self.module.modules() if isinstance(m, _BatchNorm)]
        return any(m.running_mean is None for m in norms)

    def is_tied(self, layer: nn.Module) -> bool:
        """Whether another module has one of this one's parameters."""
        own = set(layer.parameters(recurse=False))
        others = (m for m in self.module.modules() if m is not layer)
        return any(own & set(m.parameters(recurse=False)) for m in others)

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(w.numel() for w in self.weights.values())

    def outputs(self, weights: Weights, inputs: Any) -> Any:
        """The outputs of the network for a batch at these weights."""
        arguments = inputs if isinstance(inputs, tuple) else (inputs,)
        return functional_call(self.module, weights, arguments)

    def batch_loss(self, weights: Weights, inputs: Any, targets: Tensor) -> Tensor:
        """Mean loss of a batch at these weights."""
        with self.second_derivatives():
            return self.loss(self.outputs(weights, inputs), targets)

    @property
    def flat_weights(self) -> Tensor:
        """x, flat, (n,)."""
        return self.flatten(self.weights)

    def value(self) -> float:
        """f(x)."""
        return self._value(self.weights)

    def value_at(self, vector: Tensor) -> float:
        """f at other weights, flat."""
        return self._value(self.unflatten(vector))

    def gradient(self) -> Tensor:
        """The gradient of f at x, flat."""
        return self._gradient(self.weights)

    def gradient_at(self, vector: Tensor) -> Tensor:
        """The gradient of f at other weights, both flat."""
        return self._gradient(self.unflatten(vector))

    def _value(self, weights: Weights) -> float:
        with torch.no_grad():
            losses = [self.batch_loss(weights, *batch) for batch in self.batches]
        return float(
            sum(w * loss.double() for w, loss in zip(self.batch_weights, losses, strict=True))
        )

    def _gradient(self, weights: Weights) -> Tensor:
        total = torch.zeros(self.size, dtype=self.dtype, device=self.device)
        for weight, batch in zip(self.batch_weights, self.batches, strict=True):
            total += weight * self.flatten(grad(self.batch_loss)(weights, *batch))
        return total

    def flatten(self, weights: Weights, *, columns: bool = False) -> Tensor:
        """Concatenate tensors by parameter; `columns` keeps the last dimension of each."""
        parts = [weights[name] for name in self.weights]
        if columns:
            return torch.cat([part.flatten(end_dim=-2) for part in parts])
        return torch.cat([part.flatten() for part in parts])

    def unflatten(self, vector: Tensor) -> Weights:
        """The reverse of `flatten`, for a vector (size,) or a block (size, columns)."""
        parts = torch.split(vector, [w.numel() for w in self.weights.values()])
        return {
            name: part.reshape(*w.shape, *vector.shape[1:])
            for (name, w), part in zip(self.weights.items(), parts, strict=True)
        }

    @contextmanager
    def second_derivatives(self) -> Iterator[None]:
        """Fused recurrent layers, which lack second derivatives, give way to plain ones."""
        backends: list[Any] = [torch.backends.mkldnn, torch.backends.cudnn]
        enabled = [backend.enabled for backend in backends]
        try:
            for backend in backends:
                backend.enabled = backend.enabled and not self.recurrent
            yield
        finally:
            for backend, was in zip(backends, enabled, strict=True):
                backend.enabled = was

    def _moved(self, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return tuple(self._moved(part) for part in value)
        moved = value.to(self.device, self.dtype if value.is_floating_point() else None)
        return moved.contiguous()


def _use_batch_statistics(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.running_mean = layer.running_var = None
            layer.track_running_stats = False
        assert not isinstance(layer, _DropoutNd) or not layer.training
