"""Batch-norm statistics for weights other than those the training saw."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def recompute_batch_norm(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    forward: Callable[[Any], object] | None = None,
) -> Iterator[None]:
    """Inside the block, batch norm uses statistics of ``loader`` at the present weights.

    The statistics are means over the samples of the loader (each batch weighs by its size), taken
    in one pass with dropout off. After the block everything is as it was, bit for bit: running
    statistics, counters, the modes of all modules, and torch's global generators. Give it
    training data::

        with optimizer.at_anchor(), recompute_batch_norm(model, train_loader):
            evaluate(model)

    Args:
        model: a module; without batch norm that keeps statistics the loader is not read.
        loader: batches; a batch is a tensor, or a tuple, list or dict whose first entry is one.
        forward: called with each batch, whatever it is, instead of ``model(inputs)``.

    Raises:
        ValueError: the loader is empty, or a batch begins with no tensor.
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not layers:
        yield
        return
    modes = {module: module.training for module in model.modules()}
    kept = [({k: v.clone() for k, v in m.named_buffers(recurse=False)}, m.momentum) for m in layers]
    try:
        model.eval()
        _estimate(model, layers, loader, forward)
        yield
    finally:
        for layer, (buffers, momentum) in zip(layers, kept, strict=True):
            for name, value in buffers.items():
                getattr(layer, name).copy_(value)
            layer.momentum = momentum
        for module, mode in modes.items():
            module.training = mode


@torch.no_grad()
def _estimate(
    model: nn.Module,
    layers: list[_BatchNorm],
    loader: Iterable[Any],
    forward: Callable[[Any], object] | None,
) -> None:
    device = layers[0].running_mean.device  # type: ignore[union-attr]
    seen = dict.fromkeys(layers, 0)

    def weigh(layer: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        """Each time that a layer is passed counts by its samples."""
        seen[layer] += len(inputs[0])
        layer.momentum = len(inputs[0]) / max(seen[layer], 1)

    hooks = [layer.register_forward_pre_hook(weigh) for layer in layers]
    try:
        for layer in layers:
            layer.train()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for batch in loader:
                if forward is None:
                    model(_first_tensor(batch).to(device))
                else:
                    forward(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not any(seen.values()):
        raise ValueError("loader must yield at least one sample, got none")
    model.eval()


def _first_tensor(batch: Any) -> Tensor:
    found = batch
    while isinstance(found, (Mapping, Sequence)) and len(found) and not isinstance(found, str):
        found = next(iter(found.values() if isinstance(found, Mapping) else found))
    if not isinstance(found, Tensor):
        raise ValueError(f"loader must yield tensors, or what begins with one, got {batch!r}")
    return found
