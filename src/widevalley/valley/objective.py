"""The mean loss of a network over fixed data, as a function of its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence

from widevalley.valley._forward_pass import check_closures, precision_of
from widevalley.valley._module_copy import (
    copy_of,
    in_precision,
    second_derivatives,
    use_batch_statistics,
)
from widevalley.valley._reduction import (
    default_batch_weight,
    loss_couples_samples,
    network_couples_samples,
)
from widevalley.valley._trees import leaves, map_tensors, tensors_of

Weights = dict[str, Tensor]
"""Tensors by parameter name."""
Batch = tuple[Any, Any]
"""Inputs and targets."""
Loss = Callable[[Any, Any], Tensor]
"""Outputs and targets of a batch in, their mean loss out."""
Progress = Callable[[int, int], None]
"""Called with how much of the work is done, and of how much."""
BatchNormStatistics = Literal["running", "batch"]
"""Which statistics batch norm uses: its running ones, or each batch's own."""


class Objective:
    r"""f(x) = \sum_b w_b loss_b(x) + penalty(x) over the batches of a loader, \sum_b w_b = 1.

    With the default weights, the number of targets in each batch, this is the mean over all samples
    however they are cut into batches, an uneven last one included.

    The module is copied as it stands: what is done here leaves the caller's module and what is
    done to that later leaves this untouched. x are the parameters that require a gradient, in the
    order of `module.named_parameters()` and flattened; shared ones count once.

    Dropout is off. Batch norm uses its running statistics, which makes f a mean over samples; with
    `batch_norm="batch"` it uses those of each batch, as in training, and then f depends on how the
    data are cut into batches, as it does for losses that compare samples (contrastive ones).

    Args:
        module: any module; all of its parameters on one device.
        loss: maps outputs and targets to the mean loss of a batch, a scalar. None takes `.loss` of
            the outputs, which Hugging Face's models compute from `labels`.
        batches: pairs (inputs, targets), each of one or more samples; read once, into memory.
            Inputs may be a tensor, a tuple of positional arguments or a mapping of keywords;
            targets whatever `loss` takes. A batch that is a mapping itself goes to the module as
            keywords, and to `loss` as targets.
        dtype: of all that is computed; by default that of the parameters. float64 is worth its
            price where eigenvalues near zero matter.
        batch_norm: "running" or "batch".
        batch_weight: maps the targets of a batch to what its loss is divided by. By default the
            number of targets, or of samples where batches are mappings; of `nn.CrossEntropyLoss`
            and `nn.NLLLoss` the class weights of the targets that are not ignored.
        penalty: a function of the weights by name that is added once, a scalar: weight decay and
            other regularisers belong here, not in `loss`.

    Raises:
        ValueError: no batch, or one of another form; no parameter that requires a gradient, weights
            that are complex or of several dtypes, an embedding with `max_norm`; a loss that is no
            scalar, not finite, another one at each call, no mean (a sum, or one that `batch_weight`
            does not fit), or that depends on parameters which are not the module's; an unknown
            `batch_norm`.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss | None,
        batches: Iterable[Any],
        *,
        dtype: torch.dtype | None = None,
        batch_norm: BatchNormStatistics = "running",
        batch_weight: Callable[[Any], float] | None = None,
        penalty: Callable[[Weights], Tensor] | None = None,
    ) -> None:
        if batch_norm not in ("running", "batch"):
            raise ValueError(f"batch_norm={batch_norm!r}: must be 'running' or 'batch'")
        if dtype is not None and not dtype.is_floating_point:
            raise ValueError(f"dtype={dtype}: must be of floating-point numbers")
        if not (loss is None or callable(loss)):
            raise ValueError(f"loss={loss!r}: must be a function of outputs and targets, or None")
        self.module = copy_of(module, dtype)
        trained = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        self.weights = {name: p.detach() for name, p in trained.items() if p.numel()}
        self.dtype, self.device = _kind_of(self.weights)
        # A loss with tensors of its own, such as class weights, goes where the weights are.
        if isinstance(loss, nn.Module):
            loss = copy.deepcopy(loss).to(self.device, self.dtype)
        self.loss = loss
        self.penalty = penalty
        self.batches = [self._moved(_pair(batch, k)) for k, batch in enumerate(batches)]
        if not self.batches:
            raise ValueError("batches: there is none")
        self.recurrent = any(isinstance(m, nn.RNNBase) for m in self.module.modules())
        if batch_norm == "batch":
            use_batch_statistics(self.module)
        self._given_weight, self._default_weight = batch_weight, default_batch_weight(self.loss)
        totals = [self.weight_of(*batch) for batch in self.batches]
        if not sum(totals) > 0 or min(totals) < 0:
            raise ValueError(f"batch_weight: must be 0 or more and not all 0, not {totals}")
        self.batch_weights = [total / sum(totals) for total in totals]
        """Weight of each batch in the mean; their sum is 1."""
        check_closures(self)
        self.precision = precision_of(self)
        """The least precise numbers that a forward pass goes through; by default `dtype`."""
        network_couples = network_couples_samples(self)
        self.couples_samples = loss_couples_samples(self, network_couples) or network_couples
        """Whether the loss of a sample depends on others of its batch, by network or by loss."""

    def weight_of(self, inputs: Any, targets: Any) -> float:
        """What the mean loss of a batch, or of a part of one, is divided by."""
        if self._given_weight:
            return float(self._given_weight(targets))
        return self._default_weight(targets if tensors_of(targets) else inputs)

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(w.numel() for w in self.weights.values())

    @property
    def flat_weights(self) -> Tensor:
        """x, flat, (n,)."""
        return self.flatten(self.weights)

    def outputs(self, weights: Weights, inputs: Any) -> Any:
        """The outputs of the network for a batch at these weights."""
        if isinstance(inputs, Mapping):
            return functional_call(self.module, weights, (), dict(inputs))
        several = isinstance(inputs, tuple) and not isinstance(inputs, PackedSequence)
        arguments = inputs if several else (inputs,)
        return functional_call(self.module, weights, arguments)

    def loss_of(self, outputs: Any, targets: Any) -> Tensor:
        """The mean loss of a batch from its outputs."""
        if self.loss is None and not hasattr(outputs, "loss"):
            kind = type(outputs).__name__
            raise ValueError(f"loss: must be given, for the module's outputs, a {kind}, hold none")
        loss: Tensor = outputs.loss if self.loss is None else self.loss(outputs, targets)
        return loss

    def batch_loss(self, weights: Weights, inputs: Any, targets: Any) -> Tensor:
        """Mean loss of a batch at these weights, without the penalty."""
        with self.second_derivatives():
            return self.loss_of(self.outputs(weights, inputs), targets)

    def value(self) -> float:
        """f(x)."""
        return self._value(self.weights)

    def value_at(self, vector: Tensor) -> float:
        """f at other weights, flat."""
        return self._value(self.unflatten(vector))

    def gradient(self) -> Tensor:
        """The gradient of f at x, flat."""
        return self.gradient_at(self.flat_weights)

    def gradient_at(self, vector: Tensor) -> Tensor:
        """The gradient of f at other weights, both flat."""
        total = torch.zeros(self.size, dtype=self.dtype, device=self.device)
        for k, weight in enumerate(self.batch_weights):
            if weight:
                total += weight * self.batch_gradient_at(vector, k)[1]
        return total

    def batch_gradient_at(self, vector: Tensor, k: int) -> tuple[float, Tensor]:
        """Loss of the k-th batch, the penalty in it, and its gradient, at flat weights."""
        weights = leaves(self.unflatten(vector))
        # Checkpoints run their part again in the backward pass, which must take the same kernels.
        with torch.enable_grad(), self.second_derivatives():
            loss = self.batch_loss(weights, *self.batches[k])
            if self.penalty:
                loss = loss + self.penalty(weights)
            slopes = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        return float(loss.detach()), self.flatten(dict(zip(weights, slopes, strict=True)))

    def _value(self, weights: Weights) -> float:
        with torch.no_grad():
            losses = [self.batch_loss(weights, *batch) for batch in self.batches]
            penalty = float(self.penalty(weights)) if self.penalty else 0.0
        pairs = zip(self.batch_weights, losses, strict=True)
        # A batch of weight 0 has no target that counts; its mean is 0/0.
        return penalty + float(sum(w * loss.double() for w, loss in pairs if w))

    def flatten(self, weights: Weights, *, columns: bool = False) -> Tensor:
        """Concatenate tensors by parameter; `columns` keeps the last dimension of each."""
        parts = [weights[name] for name in self.weights]
        return torch.cat([part.flatten(end_dim=-2 if columns else -1) for part in parts])

    def unflatten(self, vector: Tensor) -> Weights:
        """The reverse of `flatten`, for a vector (size,) or a block (size, columns)."""
        parts = torch.split(vector, [w.numel() for w in self.weights.values()])
        return {
            name: part.reshape((*w.shape, *vector.shape[1:]))
            for (name, w), part in zip(self.weights.items(), parts, strict=True)
        }

    def second_derivatives(self) -> AbstractContextManager[None]:
        """Kernels that lack second derivatives give way to those that have them."""
        return second_derivatives(self.device, recurrent=self.recurrent)

    def _moved(self, batch: Any) -> Any:
        def moved(tensor: Tensor) -> Tensor:
            tensor = in_precision(tensor, self.dtype).to(self.device)
            return tensor.contiguous() if tensor.layout == torch.strided else tensor

        return map_tensors(moved, batch)


def _pair(batch: Any, k: int) -> Batch:
    """Inputs and targets. Raises ValueError for a batch of another form, or without tensors."""
    if isinstance(batch, Mapping):
        pair: Batch = dict(batch), dict(batch)
    elif isinstance(batch, tuple | list) and len(batch) == 2:
        inputs, targets = batch
        pair = tuple(inputs) if isinstance(inputs, list) else inputs, targets
    else:
        what = f"{len(batch)} parts" if isinstance(batch, tuple | list) else type(batch).__name__
        raise ValueError(
            f"batches[{k}]: must be a pair (inputs, targets) or a mapping of keywords, not {what}; "
            "several inputs go in a tuple, ((a, b), targets)"
        )
    if not tensors_of(pair):
        raise ValueError(f"batches[{k}]: must hold tensors, not {type(pair[0]).__name__}")
    return pair


def _kind_of(weights: Weights) -> tuple[torch.dtype, torch.device]:
    if not weights:
        raise ValueError("module: none of its parameters requires a gradient")
    for name, w in weights.items():
        if w.is_complex():
            raise ValueError(
                f"module: {name} is complex; must be real, such as torch.view_as_real of it as the "
                "parameter and torch.view_as_complex in the forward pass"
            )
        if w.is_meta:
            raise ValueError(f"module: {name} has no numbers, it is on the device 'meta'")
    dtypes = {w.dtype for w in weights.values()}
    if len(dtypes) > 1:
        raise ValueError(
            f"module: its parameters are of {', '.join(sorted(map(str, dtypes)))}; give dtype="
        )
    first = next(iter(weights.values()))
    return first.dtype, first.device
