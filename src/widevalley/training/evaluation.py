"""The weights, and the mode, that a network is judged in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import nn
from torch.optim import Optimizer

from widevalley.optim import AnchoredOptimizer
from widevalley.training.feed import Feed


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside the block."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def judged_weights(model: nn.Module, optimizer: Optimizer, feed: Feed) -> Iterator[None]:
    """Hold the weights a method is judged by: the anchor, where the optimizer has one.

    Batch norm's statistics are re-estimated at them from training data, and the training ones
    put back on exit, as the walker is.
    """
    anchored = optimizer.at_anchor() if isinstance(optimizer, AnchoredOptimizer) else nullcontext()
    with anchored, feed.statistics(model):
        yield
