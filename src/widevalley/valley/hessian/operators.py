"""Curvature of a mean loss as linear operators: Hessian, Gauss-Newton, empirical Fisher.

Each stands for a symmetric (n, n) matrix over the flat weights, without forming it; `A @ v` takes a
vector (n,) or a block of columns (n, k), which costs less than k vectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from widevalley.valley.objective import Objective, Weights

Product = Callable[[Weights], Weights]


class SymmetricOperator(ABC):
    """A symmetric matrix that is known by its products."""

    size: int
    """n."""
    dtype: torch.dtype
    device: torch.device

    @abstractmethod
    def __matmul__(self, block: Tensor) -> Tensor:
        """The product with a vector (n,) or with columns (n, k)."""


class DenseOperator(SymmetricOperator):
    """A matrix that is formed, (n, n), as an operator: what takes an operator takes it."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.size, self.dtype, self.device = len(matrix), matrix.dtype, matrix.device

    def __matmul__(self, block: Tensor) -> Tensor:
        """The product with a vector or columns."""
        return self.matrix @ block


class Curvature(SymmetricOperator):
    """A mean over batches of one curvature matrix a batch.

    Products go by reverse-mode derivatives alone, of which torch has every kind for every layer.

    Args:
        objective: the mean loss and the weights to take it at.
        keep_graphs: keep what was computed of each batch from one product to the next: about
            twice as fast for vectors, and memory for every activation of the whole data.

    Raises:
        ValueError: two evaluations of the same product differ; the message says in what.
    """

    def __init__(self, objective: Objective, *, keep_graphs: bool = False) -> None:
        self.objective = objective
        self.size, self.dtype, self.device = objective.size, objective.dtype, objective.device
        self._products: dict[int, Product] | None = {} if keep_graphs else None
        self._check_repeatable()

    def __matmul__(self, block: Tensor) -> Tensor:
        """The product with a vector (n,) or a block of columns (n, k)."""
        total = torch.zeros_like(block, device=self.device, dtype=self.dtype)
        tangents = self.objective.unflatten(block.to(total))
        for k, weight in enumerate(self.objective.batch_weights):
            total += weight * self._multiplied(k, tangents, columns=block.dim() > 1)
        return total.to(block)

    def _multiplied(self, k: int, tangents: Weights, *, columns: bool) -> Tensor:
        with self.objective.second_derivatives():
            product = self._product_of(k)
            if not columns:
                return self.objective.flatten(product(tangents))
            # Columns come out first: where a batch does not use a weight, vmap with out_dims=-1
            # reads memory that is not its own (torch 2.13).
            block = vmap(product, in_dims=-1)(tangents)
            block = {name: each.movedim(0, -1) for name, each in block.items()}
            return self.objective.flatten(block, columns=True)

    def _product_of(self, k: int) -> Product:
        if self._products is None:
            return self._product(*self.objective.batches[k])
        if k not in self._products:
            self._products[k] = self._product(*self.objective.batches[k])
        return self._products[k]

    @abstractmethod
    def _product(self, inputs: Any, targets: Tensor) -> Product:
        """The linear map of a batch's matrix; may be called again and again."""

    def _check_repeatable(self) -> None:
        objective = self.objective
        losses = [objective.batch_loss(objective.weights, *objective.batches[0]) for _ in range(2)]
        if not torch.equal(*losses):
            raise ValueError(
                f"module or loss: the loss of one batch was {float(losses[0])!r}, then "
                f"{float(losses[1])!r}; must be the same at each call (functional dropout?)"
            )
        ones = torch.ones(self.size, dtype=self.dtype, device=self.device) / self.size**0.5
        tangents = objective.unflatten(ones)
        first, second = (self._multiplied(0, tangents, columns=False) for _ in range(2))
        if not torch.equal(first, second):
            gap = float((first - second).norm() / first.norm())
            raise ValueError(
                f"module: one {type(self).__name__}-vector product differs by {gap:.1e} between "
                "two calls; see torch.use_deterministic_algorithms for the operation at fault"
            )


class Hessian(Curvature):
    """The matrix of second derivatives of the mean loss.

    Of a network with ReLU or max-pooling these are the derivatives almost everywhere, which finite
    differences across kinks do not give.
    """

    def _product(self, inputs: Any, targets: Tensor) -> Product:
        # Of torch.func's compositions, two with forward mode are silently wrong through batch norm
        # on batch statistics (torch 2.13); the gradient of the gradient is right.
        def gradient(weights: Weights) -> Weights:
            first: Weights = grad(self.objective.batch_loss)(weights, inputs, targets)
            return first

        _, product = pullback(gradient, self.objective.weights)
        return product


class GaussNewton(Curvature):
    r"""The generalised Gauss-Newton matrix (1/N) \sum_n J_n^T H_n J_n.

    J_n is the Jacobian of the outputs, H_n the Hessian of the loss with respect to them; of
    cross-entropy this is the Fisher information too.
    """

    def _product(self, inputs: Any, targets: Tensor) -> Product:
        def outputs(weights: Weights) -> Any:
            return self.objective.outputs(weights, inputs)

        def loss(value: Any) -> Tensor:
            return self.objective.loss(value, targets)

        value, pull = pullback(outputs, self.objective.weights)
        _, push = pullback(pull, torch.zeros_like(value))  # the transpose of J^T is J
        _, curve = pullback(grad(loss), value)
        return lambda tangent: pull(curve(push(tangent)))


class EmpiricalFisher(Curvature):
    r"""The second moment of the gradients of single samples, (1/N) \sum_n g_n g_n^T.

    Samples lie along the first dimension of outputs and targets.
    """

    def _product(self, inputs: Any, targets: Tensor) -> Product:
        def losses(weights: Weights) -> Tensor:
            return sample_losses(self.objective, weights, inputs, targets)

        value, pull = pullback(losses, self.objective.weights)
        _, push = pullback(pull, torch.zeros_like(value))
        return lambda tangent: pull(push(tangent) / len(targets))


def pullback(function: Callable[[Any], Any], at: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The value at a point, and v -> J^T v of the Jacobian J there; of a linear f its transpose."""
    value, pull = cast(Any, vjp)(function, at)
    return value, lambda v: pull(v)[0]


def sample_losses(objective: Objective, weights: Weights, inputs: Any, targets: Tensor) -> Tensor:
    """The loss of each sample of a batch, (samples,)."""

    def sample_loss(output: Tensor, target: Tensor) -> Tensor:
        return objective.loss(output[None], target[None])

    losses: Tensor = vmap(sample_loss)(objective.outputs(weights, inputs), targets)
    return losses
