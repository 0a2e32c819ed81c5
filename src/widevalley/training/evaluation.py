"""The weights, and the mode, that a network is judged in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

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
    """Hold the weights a method is judged by: anchor, average or slow weights where it has them.

    Batch norm's statistics are re-estimated at them from training data, and the training ones
    put back on exit, as the weights are, bit for bit.
    """
    with _own_weights(optimizer), feed.statistics(model):
        yield


def _own_weights(optimizer: Any) -> AbstractContextManager[None]:
    """Hold the weights that an optimizer says are to be used, by the methods it has for that."""
    for show in ("at_average", "at_anchor"):
        if hasattr(optimizer, show):
            held: AbstractContextManager[None] = getattr(optimizer, show)()
            return held
    if hasattr(optimizer, "eval"):  # Schedule-Free
        return _switched(optimizer, optimizer.eval, optimizer.train)
    if hasattr(optimizer, "backup_and_load_cache"):  # pytorch_optimizer's Lookahead
        to_slow, back = optimizer.backup_and_load_cache, optimizer.clear_and_load_backup
        return _switched(optimizer, to_slow, back)
    return nullcontext()


@contextmanager
def _switched(
    optimizer: Optimizer, to: Callable[[], None], back: Callable[[], None]
) -> Iterator[None]:
    """Between two switches of an optimizer, of which the second may be true to rounding alone."""
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    kept = [p.detach().clone() for p in weights]
    to()
    try:
        yield
    finally:
        back()
        with torch.no_grad():
            for p, before in zip(weights, kept, strict=True):
                p.copy_(before)
