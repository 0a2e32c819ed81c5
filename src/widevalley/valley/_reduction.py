"""What a user's loss is: a mean, a sum, a function of the weights, one that compares samples.

An instrument adds losses of batches up; whether that gives the loss of all data is found by
comparing a batch with two parts of it, chosen at random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from widevalley.valley._trees import map_tensors, sample_count, take, tensors_of

if TYPE_CHECKING:
    from widevalley.valley.objective import Objective

ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Relative difference that is taken for rounding; of shorter numbers 0.1."""


def default_batch_weight(loss: Any) -> Callable[[Any], float]:
    """What the mean that `loss` takes of a batch is divided by, to a factor, from its targets."""
    if getattr(loss, "reduction", "mean") == "sum":
        raise ValueError("loss: reduction='sum' adds over samples; must be the mean of a batch")
    if isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss):
        return lambda targets: _class_weights(loss, targets)
    return _count


def _count(targets: Any) -> float:
    if isinstance(targets, Mapping):
        return float(sample_count(targets))
    return float(tensors_of(targets)[0].numel())


def _class_weights(loss: nn.CrossEntropyLoss | nn.NLLLoss, targets: Any) -> float:
    if not isinstance(targets, Tensor) or targets.is_floating_point():
        return _count(targets)  # probabilities: torch divides by their number alone
    counted = targets[targets != loss.ignore_index]
    return float(len(counted) if loss.weight is None else loss.weight[counted].double().sum())


def network_couples_samples(objective: Objective) -> bool:
    """Whether outputs of a sample depend on which others are in its batch."""
    inputs, targets = max(objective.batches, key=lambda batch: sample_count(batch[::-1]))
    count = sample_count((targets, inputs))
    if count < 2:
        return False
    with torch.no_grad(), objective.second_derivatives():
        whole = _per_sample(objective.outputs(objective.weights, inputs), count)
        for samples in _parts(count):
            # Networks that need all samples, such as graphs by their edges, fail in their own ways.
            try:
                part = objective.outputs(objective.weights, take(inputs, samples, count))
            except Exception:
                return True
            found = _per_sample(part, len(samples))
            expected = [output[samples] for output in whole]
            if [f.shape for f in found] != [e.shape for e in expected]:
                return True
            rounding = _rounding(objective.precision)
            if any(_differ(f, e, rounding) for f, e in zip(found, expected, strict=True)):
                return True
    return False


def loss_couples_samples(objective: Objective, network_couples: bool) -> bool:
    """Whether `loss` compares samples; refuses one that does not and is no mean.

    Raises ValueError for a loss that is not finite, is a sum, or is weighted otherwise than
    `batch_weight` says.
    """
    coupled = False
    for k, (inputs, targets) in enumerate(objective.batches):
        if not objective.batch_weights[k]:
            continue
        with torch.no_grad(), objective.second_derivatives():
            outputs = objective.outputs(objective.weights, inputs)
            loss = objective.loss_of(outputs, targets)
        if not bool(torch.isfinite(loss)):
            raise ValueError(f"loss: is {float(loss)} on batches[{k}]")
        count = sample_count((targets, inputs))
        if count < 2 or coupled:
            continue
        if objective.loss is None and network_couples:
            continue  # the loss of parts of a batch says nothing
        coupled = objective.loss is not None and _loss_couples(objective, outputs, targets, count)
        if not coupled:
            _check_mean(objective, k, outputs, float(loss), count)
    return coupled


def _loss_couples(objective: Objective, outputs: Any, targets: Any, count: int) -> bool:
    """Whether second derivatives of the loss by outputs of different samples are not zero."""
    with torch.enable_grad(), objective.second_derivatives():
        fresh = map_tensors(_fresh, outputs)
        varied = [t for t in tensors_of(fresh) if t.requires_grad and len(t) == count]
        first, second = _parts(count)
        try:
            loss = objective.loss_of(fresh, targets)
            slopes = torch.autograd.grad(loss, varied, create_graph=True, materialize_grads=True)
            generator = torch.Generator().manual_seed(0)
            along = objective.loss_of(outputs, targets) * 0
            for slope in slopes:
                random = torch.randn(slope[first].shape, generator=generator).to(slope)
                along = along + (slope[first] * random).sum()
            if not along.requires_grad:  # linear
                return False
            bends = torch.autograd.grad(along, varied, materialize_grads=True)
        except RuntimeError:  # no second derivative is known, and none is found here
            return False
    own = max(float(bend.abs().max()) for bend in bends)
    cross = max(float(bend[second].abs().max()) for bend in bends)
    return cross > _rounding(objective.precision) * own


def _check_mean(objective: Objective, k: int, outputs: Any, loss: float, count: int) -> None:
    inputs, targets = objective.batches[k]
    parts = []
    for samples in _parts(count):
        chosen = take(targets, samples, count)
        counted = None if tensors_of(targets) else take(inputs, samples, count)
        with torch.no_grad(), objective.second_derivatives():
            if objective.loss is None:
                part = objective.outputs(objective.weights, take(inputs, samples, count))
            else:
                part = take(outputs, samples, count)
            weight = objective.weight_of(counted, chosen)
            parts.append((weight, float(objective.loss_of(part, chosen)) if weight else 0.0))
    (a, left), (b, right) = parts
    rounding = _rounding(objective.precision) * (abs(loss) + abs(left) + abs(right))
    if abs(loss * (a + b) - (a * left + b * right)) <= rounding * (a + b):
        return
    values = f"of batches[{k}] it is {loss:.6g}, of two parts of it {left:.6g} and {right:.6g}"
    if abs(loss - left - right) <= rounding:
        raise ValueError(f"loss: adds over samples ({values}); must be the mean of a batch")
    raise ValueError(
        f"loss: is not the mean that batch_weight says ({values}, with weights {a:g} and {b:g}); "
        "give batch_weight=, what the mean of a batch is divided by, from its targets: for class "
        "weights w and an ignored index i, lambda t: float(w[t[t != i]].sum())"
    )


def _fresh(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.requires_grad_() if tensor.is_floating_point() and tensor.dim() else tensor


def _per_sample(outputs: Any, count: int) -> list[Tensor]:
    return [t for t in tensors_of(outputs) if t.dim() and len(t) == count]


def _parts(count: int) -> tuple[Tensor, Tensor]:
    """Two halves, mixed: neighbours may belong together, as pairs do."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[: count // 2], order[count // 2 :]


def _differ(found: Tensor, expected: Tensor, rounding: float) -> bool:
    if not found.is_floating_point():
        return not torch.equal(found, expected)
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    gap = float((found - expected).abs().max()) if expected.numel() else 0.0
    return not gap <= rounding * max(scale, 1e-30)


def _rounding(dtype: torch.dtype) -> float:
    return ROUNDING.get(dtype, 0.1)
