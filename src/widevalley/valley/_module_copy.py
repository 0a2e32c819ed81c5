"""A copy of a module that computes the same by operations which have second derivatives."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DataParallel, DistributedDataParallel


def copy_of(module: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """A copy in evaluation mode that computes the same, fit for second derivatives."""
    module = _unwrapped(module)
    if any(isinstance(layer, torch.jit.ScriptModule) for layer in module.modules()):
        raise ValueError("module: is compiled by torch.jit; give the module that it was made of")
    copied = copy.deepcopy(module).eval()
    # vmap has no derivatives of max-pooling in any other memory order (torch 2.13).
    copied.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for name, layer in copied.named_modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            if layer.max_norm is not None:
                raise ValueError(
                    f"module: {name or 'it'} has max_norm={layer.max_norm}, which rewrites weights "
                    "in the forward pass; set max_norm to None and scale the weights yourself"
                )
            layer.sparse = False  # the same function; its gradient is a dense tensor
        if type(layer).__name__ == "_WeightNorm":
            # The second derivatives of torch._weight_norm are wrong by half (torch 2.13).
            layer.forward = partial(_weight_norm, dim=layer.dim)
        layer._compiled_call_impl = None  # what is compiled has no second derivatives
    if dtype is not None:
        copied._apply(partial(in_precision, dtype=dtype))  # type: ignore[no-untyped-call]
    return copied


def in_precision(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Numbers in this precision; complex ones stay complex, which `Module.to` makes real."""
    if tensor.is_complex():
        return tensor.to(dtype.to_complex())
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _unwrapped(module: nn.Module) -> nn.Module:
    """What parallel wrappers and `torch.compile` hold."""
    while True:
        if isinstance(module, DataParallel | DistributedDataParallel):
            module = module.module
        elif isinstance(module, OptimizedModule):
            module = module._orig_mod
        else:
            return module


def _weight_norm(magnitude: Tensor, direction: Tensor, *, dim: int) -> Tensor:
    return direction * (magnitude / torch.norm_except_dim(direction, 2, dim))


def use_batch_statistics(module: nn.Module) -> None:
    """Let batch norm take those of each batch, and keep none."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.running_mean = layer.running_var = None
            layer.track_running_stats = False


@contextmanager
def second_derivatives(device: torch.device, *, recurrent: bool) -> Iterator[None]:
    """Kernels that lack second derivatives give way to those that have them."""
    with ExitStack() as stack:
        # Flash and memory-efficient attention have none.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        # Autocast would round products of float32 to three digits.
        stack.enter_context(torch.autocast(device.type, enabled=False))
        mha: Any = torch.backends.mha  # its fused path in evaluation mode
        stack.callback(mha.set_fastpath_enabled, mha.get_fastpath_enabled())
        mha.set_fastpath_enabled(False)
        backends: list[Any] = [torch.backends.mkldnn, torch.backends.cudnn]
        for backend in backends if recurrent else []:  # their fused layers have none
            stack.callback(setattr, backend, "enabled", backend.enabled)
            backend.enabled = False
        yield
