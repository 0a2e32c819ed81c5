"""The weights, and the mode, that a network is evaluated in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from widevalley.training.feed import Feed


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode inside the block."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        # As it was, which need not be training mode.
        model.train(training)


@contextmanager
def evaluation_weights(model: nn.Module, optimizer: Optimizer, feed: Feed) -> Iterator[None]:
    """Give the model the weights a method stands for: anchor, average or slow weights.

    Batch norm's statistics are re-estimated at them from training data, and the training ones
    put back on exit, as the weights are, bit for bit.
    """
    with _own_weights(optimizer), feed.statistics(model):
        yield


def _own_weights(optimizer: Any) -> AbstractContextManager[None]:
    """A block in which the parameters are what an optimizer says is to be used.

    Each library has methods of its own for that; an optimizer without any means its parameters.
    """
    for name in ("at_average", "at_anchor"):
        if hasattr(optimizer, name):
            swapped: AbstractContextManager[None] = getattr(optimizer, name)()
            return swapped
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
    """Between two switches of an optimizer."""
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    saved = [p.detach().clone() for p in weights]
    to()
    try:
        yield
    finally:
        back()
        # Schedule-Free comes back by arithmetic, true to rounding alone; training must not notice.
        with torch.no_grad():
            for p, before in zip(weights, saved, strict=True):
                p.copy_(before)
