"""The Kronecker-factored approximation of Gauss-Newton, by curvlinops where it is installed."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from widevalley.valley.hessian.operators import SymmetricOperator
from widevalley.valley.hessian.samples import require_samples
from widevalley.valley.objective import Objective


class KFAC(SymmetricOperator):
    """Gauss-Newton by blocks A x B of each layer's inputs and output gradients, as an operator.

    Martens and Grosse (2015), in the exact form of their expectation over the model's own outputs
    ("type-2"), which of a linear layer under a squared loss is Gauss-Newton itself. Whatever takes
    an operator takes it; a product costs no pass over the data.

    Args:
        objective: of `nn.MSELoss`, `nn.CrossEntropyLoss` or `nn.BCEWithLogitsLoss`, batches pairs
            of tensors, and a module whose weights are all in linear and convolutional layers.

    Raises:
        ModuleNotFoundError: curvlinops is not installed.
        ValueError: another loss, batches of another form, coupled samples, a penalty.
    """

    def __init__(self, objective: Objective) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on import: torch.jit is deprecated
            from curvlinops import KFACLinearOperator
        require_samples(objective, "KFAC")
        if not isinstance(objective.loss, nn.MSELoss | nn.CrossEntropyLoss | nn.BCEWithLogitsLoss):
            raise ValueError(
                f"objective: KFAC needs nn.MSELoss, nn.CrossEntropyLoss or nn.BCEWithLogitsLoss, "
                f"not {objective.loss!r}"
            )
        if objective.penalty:
            raise ValueError("objective: KFAC knows no penalty; leave it out")
        if not all(isinstance(part, Tensor) for batch in objective.batches for part in batch):
            raise ValueError("objective: KFAC needs batches that are pairs of tensors")
        module = copy.deepcopy(objective.module)
        with torch.enable_grad(), objective.second_derivatives():
            self._operator: Any = KFACLinearOperator(
                module,
                objective.loss,
                [p for p in module.parameters() if p.requires_grad],
                objective.batches,
                fisher_type="type-2",
                check_deterministic=False,
                separate_weight_and_bias=False,
            )
            self._operator.compute_kronecker_factors()
        self.size, self.dtype, self.device = objective.size, objective.dtype, objective.device

    @property
    def factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By layer: second moment of its inputs, a 1 for the bias last, and of its gradients."""
        inputs, gradients = self._operator._input_covariances, self._operator._gradient_covariances
        return {name: (inputs[name], gradients[name]) for name in gradients}

    def _multiply(self, block: Tensor) -> Tensor:
        product: Tensor = self._operator @ block
        return product
