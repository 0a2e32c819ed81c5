"""Losses and gradients of single samples, which lie along the first dimension of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap

from widevalley.valley._trees import leaves, map_tensors, sample_count, take, tensors_of
from widevalley.valley.hessian.derivatives import slow_rules
from widevalley.valley.objective import Objective, Weights


def require_samples(objective: Objective, what: str) -> None:
    """Raise ValueError where samples have no gradients of their own."""
    if objective.couples_samples:
        raise ValueError(
            f"objective: {what} needs the gradient of each sample, and here samples depend on "
            "others of their batch (batch norm on batch statistics, a graph, a contrastive loss), "
            "or inputs cannot be cut into samples"
        )


def sample_losses(
    objective: Objective, weights: Weights, inputs: Any, targets: Any
) -> tuple[Tensor, Tensor]:
    """Losses of a batch's samples, and the weight of each in the batch's mean; both (samples,).

    Samples of weight 0, all of whose targets are ignored, are left out.
    """
    outputs = objective.outputs(weights, inputs)
    counted, shares = weighted_samples(objective, inputs, targets)
    count = _count(inputs, targets)
    if isinstance(outputs, Tensor) and isinstance(targets, Tensor):
        some = torch.tensor(counted, device=outputs.device)

        def sample_loss(output: Tensor, target: Tensor) -> Tensor:
            return objective.loss_of(output[None], target[None])

        # Operations without a rule for it, or with a wrong one, are taken one by one below.
        with suppress(RuntimeError, ValueError), slow_rules():
            losses: Tensor = vmap(sample_loss)(outputs[some], targets[some])
            return losses, shares
    each = [
        objective.loss_of(take(outputs, one, count), take(targets, one, count))
        for one in (slice(n, n + 1) for n in counted)
    ]
    return torch.stack(each), shares


def sample_gradients(
    objective: Objective, inputs: Any, targets: Any, *, chunk: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Gradients of a batch's samples, (chunk, n), and the weight of each in the batch's mean."""
    counted, shares = weighted_samples(objective, inputs, targets)
    count = _count(inputs, targets)
    # Fused recurrent layers cannot be mapped over samples.
    vectorised = chunk > 1 and not objective.recurrent
    for some, weights in zip(
        torch.split(torch.tensor(counted), chunk), torch.split(shares, chunk), strict=True
    ):
        if vectorised:
            try:
                part = (take(inputs, some, count), take(targets, some, count))
                yield _vectorised(objective, *part, len(some)), weights
                continue
            except (RuntimeError, ValueError):
                # An operation without a rule for it (checkpoints, what depends on the values
                # of the data): sample by sample all of them work.
                vectorised = False
        alone = [
            _gradient(objective, take(inputs, one, count), take(targets, one, count))
            for one in torch.split(some, 1)
        ]
        yield torch.stack(alone), weights


def weighted_samples(objective: Objective, inputs: Any, targets: Any) -> tuple[list[int], Tensor]:
    """Indices of the samples that count, and the weight of each in the batch's mean."""
    count = _count(inputs, targets)
    # Inputs are not cut where they are not asked for: those of some layouts cannot be.
    counts = None if tensors_of(targets) else inputs
    weights = [
        objective.weight_of(take(counts, one, count), take(targets, one, count))
        for one in (slice(n, n + 1) for n in range(count))
    ]
    counted = [n for n, weight in enumerate(weights) if weight]
    shares = torch.tensor([weights[n] for n in counted], dtype=torch.float64)
    return counted, (shares / shares.sum()).to(objective.device, objective.dtype)


def _count(inputs: Any, targets: Any) -> int:
    return sample_count((targets, inputs))


def _gradient(objective: Objective, inputs: Any, targets: Any) -> Tensor:
    weights = leaves(objective.weights)
    with torch.enable_grad(), objective.second_derivatives():
        loss = objective.batch_loss(weights, inputs, targets)
        slopes = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
    return torch.cat([slope.flatten() for slope in slopes])


def _vectorised(objective: Objective, inputs: Any, targets: Any, count: int) -> Tensor:
    """Gradients of all samples of a batch at once, (samples, n)."""
    batch = inputs, targets

    def of_samples(tensor: Tensor) -> bool:
        return tensor.dim() > 0 and len(tensor) == count

    def sample_loss(weights: Weights, *samples: Tensor) -> Tensor:
        each = iter(samples)
        sample = map_tensors(lambda t: next(each)[None] if of_samples(t) else t, batch)
        return objective.batch_loss(weights, *sample)

    mapped = [t for t in tensors_of(batch) if of_samples(t)]
    gradient = vmap(grad(sample_loss), in_dims=(None, *(0 for _ in mapped)))
    with slow_rules():
        found: Weights = gradient(objective.weights, *mapped)
    return torch.cat([found[name].reshape(count, -1) for name in objective.weights], dim=1)
