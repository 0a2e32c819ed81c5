"""What a forward pass goes through beside its weights: chance, others' weights, short numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from widevalley.valley._trees import leaves, map_tensors, tensors_of

if TYPE_CHECKING:
    from widevalley.valley.objective import Objective

ROUNDING = 8
"""Difference of two evaluations that is taken for rounding, in units of the last place."""


def check_closures(objective: Objective) -> None:
    """Refuse a loss that is no scalar, or a use of parameters that are not the objective's."""
    inputs, targets = objective.batches[0]
    with torch.enable_grad(), objective.second_derivatives():
        outputs = objective.outputs(objective.weights, inputs)
        # All that came in was detached: gradients can only lead to what the module does not hold.
        if _lead_to_a_parameter(tensors_of(outputs)):
            raise ValueError(
                "module: its forward pass uses parameters that are none of its own, such as those "
                "of a module it closes over; make that a submodule"
            )
        loss = objective.loss_of(map_tensors(Tensor.detach, outputs), targets)
    if not isinstance(loss, Tensor) or loss.dim():
        what = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"loss: must be the mean over a batch, a scalar, not {what}")
    if loss.requires_grad:
        raise ValueError(
            "loss: depends on parameters that are no weights of the objective, which has a copy of "
            "the module; give a regulariser as penalty=, a function of the weights by name, and "
            "put parameters of the loss into the module"
        )


def precision_of(objective: Objective) -> torch.dtype:
    """The least precise numbers on the way from weights to loss; refuses a loss that varies."""
    weighed = zip(objective.batch_weights, objective.batches, strict=True)
    batch = next(batch for weight, batch in weighed if weight)
    shortest = _ShortestNumbers(objective.dtype)
    losses = []
    for _ in range(2):
        with torch.enable_grad(), shortest:
            losses.append(objective.batch_loss(leaves(objective.weights), *batch).detach())
    rounding = ROUNDING * torch.finfo(shortest.dtype).eps
    first, second = losses
    if not torch.allclose(first, second, rtol=rounding, atol=0, equal_nan=True):
        raise ValueError(
            f"module or loss: the loss of one batch was {float(first)!r}, then "
            f"{float(second)!r}; must be the same at each call (functional dropout?), and "
            "the forward pass must change no buffer that it reads"
        )
    return shortest.dtype


class _ShortestNumbers(TorchFunctionMode):
    """Inside, every operation through which gradients flow is looked at."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, Tensor) and each.requires_grad:
                self.dtype = max(self.dtype, each.dtype.to_real(), key=_eps)
        return result


def _eps(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def _lead_to_a_parameter(tensors: Iterable[Tensor]) -> bool:
    nodes, seen = [t.grad_fn for t in tensors], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        if isinstance(getattr(node, "variable", None), nn.Parameter):
            return True
        seen.add(node)
        nodes += [following for following, _ in node.next_functions]
    return False
