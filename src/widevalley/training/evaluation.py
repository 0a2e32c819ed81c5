"""The loss and error of a network on a set of samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from widevalley.optim import AnchoredOptimizer, recompute_batch_norm

CHUNK = 2048
"""Samples in a forward pass."""


@torch.no_grad()
def evaluate(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[float, float]:
    """Mean cross-entropy in nats and error in percent, in eval mode and float32."""
    training = model.training
    model.eval()
    loss = torch.zeros((), device=inputs.device)
    wrong = torch.zeros((), device=inputs.device)
    for x, y in zip(torch.split(inputs, CHUNK), torch.split(targets, CHUNK), strict=True):
        scores = model(x)
        loss += functional.cross_entropy(scores, y, reduction="sum")
        wrong += (scores.argmax(dim=1) != y).sum()
    model.train(training)
    return float(loss) / len(targets), 100 * float(wrong) / len(targets)


@contextmanager
def judged_weights(model: nn.Module, optimizer: Optimizer, inputs: Tensor) -> Iterator[None]:
    """Hold the weights a method is judged by: the anchor, where the optimizer has one.

    Batch norm's statistics are re-estimated at them from the training `inputs`, and the
    training ones put back on exit, as the walker is.
    """
    anchored = optimizer.at_anchor() if isinstance(optimizer, AnchoredOptimizer) else nullcontext()
    with anchored, recompute_batch_norm(model, torch.split(inputs, CHUNK)):
        yield
