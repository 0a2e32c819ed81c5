"""Curvature of a mean loss as linear operators: Hessian, Gauss-Newton, empirical Fisher."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from widevalley.valley._trees import leaves, map_tensors, tensors_of
from widevalley.valley.hessian.derivatives import (
    Product,
    Tangents,
    pull_back,
    second_order,
    slow_rules,
)
from widevalley.valley.hessian.operators import SymmetricOperator
from widevalley.valley.hessian.samples import require_samples, sample_losses
from widevalley.valley.objective import Objective

DTYPES = (torch.float64, torch.float32)
NO_SECOND_DERIVATIVE = ("is not implemented", "once_differentiable", "support double backward")
"""Parts of what torch says where it has none."""


class Curvature(SymmetricOperator):
    """A mean over batches of one curvature matrix a batch.

    Products go by reverse-mode derivatives alone, of which torch has every kind for every layer:
    whatever can be differentiated twice by `torch.autograd.grad` can be multiplied here.

    Args:
        objective: the mean loss and the weights to take it at.
        keep_graphs: keep what was computed of each batch from one product to the next: about
            twice as fast for vectors, and memory for every activation of the whole data.

    Raises:
        ValueError: numbers that are not float32 or float64, in weights or on the way to the loss,
            in which products would be off in the second digit; an operation without a second
            derivative; or two evaluations of the same product that differ.
    """

    has_penalty: ClassVar[bool] = True
    """Whether the Hessian of the objective's penalty is part of it."""

    def __init__(self, objective: Objective, *, keep_graphs: bool = False) -> None:
        given: object = objective  # a module, as users try
        if not isinstance(given, Objective):
            kind = type(given).__name__
            raise ValueError(f"objective: must be Objective(module, loss, batches), not a {kind}")
        if objective.dtype not in DTYPES:
            raise ValueError(
                f"objective: its weights are {objective.dtype}, whose products are off in the "
                "second digit; give Objective(..., dtype=torch.float32)"
            )
        if objective.precision not in DTYPES:
            raise ValueError(
                f"module or loss: computes in {objective.precision}, whose products are off in the "
                "second digit; leave autocast and casts out of the forward pass"
            )
        self.objective = objective
        self.size, self.dtype, self.device = objective.size, objective.dtype, objective.device
        self._products: dict[int, Product] | None = {} if keep_graphs else None
        self._vectorised = True
        self._check_repeatable()

    def _multiply(self, block: Tensor) -> Tensor:
        rows = block.reshape(self.size, -1).T
        total = torch.empty_like(rows)
        weighed = [(k, weight) for k, weight in enumerate(self.objective.batch_weights) if weight]
        for k, weight in weighed:
            self._add_batch(total, weight, k, rows, first=k == weighed[0][0])
        if self.objective.penalty and self.has_penalty:
            self._add(total, 1.0, self._penalty_product(), rows)
        if not math.isfinite(float(total.sum())):
            raise ArithmeticError(f"{type(self).__name__}: a product is not finite")
        return total.T.reshape(block.shape)

    def _add_batch(
        self, total: Tensor, weight: float, k: int, rows: Tensor, *, first: bool
    ) -> None:
        with self.objective.second_derivatives():
            self._add(total, weight, self._product_of(k), rows, first=first)

    def _add(
        self, total: Tensor, weight: float, product: Product, rows: Tensor, *, first: bool = False
    ) -> None:
        """Add a product with rows (k, n), at once where its operations can be vectorised."""
        shapes = [w.shape for w in self.objective.weights.values()]
        sizes = [shape.numel() for shape in shapes]
        parts = torch.split(rows, sizes, dim=1)
        columns = tuple(p.reshape(-1, *s) for p, s in zip(parts, shapes, strict=True))

        def add(found: Tangents, some: Tensor) -> None:
            # Into place part by part: a product of all parts in a row would be one vector more.
            for place, part in zip(torch.split(some, sizes, dim=1), found, strict=True):
                part = part.reshape(place.shape)
                if first:
                    torch.mul(part, weight, out=place)
                else:
                    place.add_(part, alpha=weight)

        if len(rows) > 1 and self._vectorised:
            try:
                with slow_rules():
                    found = product(columns, True)
            except RuntimeError:
                # Some operation has no rule for a block; column by column all of them work.
                self._vectorised = False
            else:
                add(found, total)
                return
        for j in range(len(rows)):
            keep = self._products is not None or j < len(rows) - 1
            add(product(tuple(c[j] for c in columns), False, keep), total[j : j + 1])

    def _product_of(self, k: int) -> Product:
        if self._products is None:
            return self._product(*self.objective.batches[k])
        if k not in self._products:
            self._products[k] = self._product(*self.objective.batches[k])
        return self._products[k]

    @property
    def precision(self) -> torch.dtype:
        """That of the objective."""
        return self.objective.precision

    @abstractmethod
    def _product(self, inputs: Any, targets: Any) -> Product:
        """The linear map of a batch's matrix; may be called again and again."""

    def _penalty_product(self) -> Product:
        """The Hessian of the penalty."""
        objective, weights = self.objective, leaves(self.objective.weights)
        assert objective.penalty is not None
        with torch.enable_grad():
            return second_order(objective.penalty(weights), list(weights.values()))

    def _check_repeatable(self) -> None:
        ones = torch.ones(1, self.size, dtype=self.dtype, device=self.device) / self.size**0.5
        first, second = torch.empty(2, *ones.shape, dtype=self.dtype, device=self.device)
        for total in (first, second):
            try:
                self._add_batch(total, 1.0, 0, ones, first=True)
            except RuntimeError as error:
                if not any(words in str(error) for words in NO_SECOND_DERIVATIVE):
                    raise
                raise ValueError(
                    f"module or loss: an operation of it has no second derivative ({error}); write "
                    "it in operations that have one"
                ) from error
        if not torch.equal(first, second):
            gap = float((first - second).norm() / first.norm())
            raise ValueError(
                f"module: one {type(self).__name__}-vector product differs by {gap:.1e} between "
                "two calls; see torch.use_deterministic_algorithms for the operation at fault"
            )


class Hessian(Curvature):
    """The matrix of second derivatives of the mean loss and its penalty.

    Of a network with ReLU or max-pooling these are the derivatives almost everywhere, which finite
    differences across kinks do not give.
    """

    def _product(self, inputs: Any, targets: Any) -> Product:
        weights = leaves(self.objective.weights)
        with torch.enable_grad():
            loss = self.objective.batch_loss(weights, inputs, targets)
            return second_order(loss, list(weights.values()))


class GaussNewton(Curvature):
    r"""The generalised Gauss-Newton matrix \sum_b w_b J_b^T H_b J_b, and the penalty's Hessian.

    J is the Jacobian of the outputs, H the Hessian of the loss with respect to them; of
    cross-entropy this is the Fisher information too. Outputs are all tensors of floating-point
    numbers that the module returns.

    Raises ValueError for an objective without a loss of its own: where the module computes it,
    outputs and loss are one.
    """

    def __init__(self, objective: Objective, *, keep_graphs: bool = False) -> None:
        require_loss(objective, "GaussNewton")
        super().__init__(objective, keep_graphs=keep_graphs)

    def _product(self, inputs: Any, targets: Any) -> Product:
        objective, weights = self.objective, leaves(self.objective.weights)
        at = list(weights.values())
        with torch.enable_grad(), objective.second_derivatives():
            outputs = objective.outputs(weights, inputs)
            values = [t for t in tensors_of(outputs) if t.requires_grad]
            # The same containers with tensors to differentiate the loss by.
            inner = map_tensors(lambda t: t.detach().requires_grad_(t.requires_grad), outputs)
            variables = [t for t in tensors_of(inner) if t.requires_grad]
            curve = second_order(objective.loss_of(inner, targets), variables)
            # J^T u is linear in u, whatever u is: its transpose is J.
            directions = [torch.zeros_like(v, requires_grad=True) for v in values]
            back = torch.autograd.grad(
                values, at, directions, create_graph=True, materialize_grads=True
            )

        def product(tangents: Tangents, block: bool, keep: bool = True) -> Tangents:
            pushed = pull_back(back, directions, tangents, block)
            return pull_back(values, at, curve(pushed, block), block, keep)

        return product


class EmpiricalFisher(Curvature):
    r"""The second moment of the gradients of single samples, \sum_n p_n g_n g_n^T.

    p_n is the weight of sample n in the mean, 1/N where all count alike. Samples lie along the
    first dimension of outputs and targets; a penalty takes no part.

    Raises ValueError for an objective without a loss of its own, or whose samples are coupled, so
    that none has a gradient of its own.
    """

    has_penalty = False

    def __init__(self, objective: Objective, *, keep_graphs: bool = False) -> None:
        require_loss(objective, "EmpiricalFisher")
        require_samples(objective, "EmpiricalFisher")
        super().__init__(objective, keep_graphs=keep_graphs)

    def _product(self, inputs: Any, targets: Any) -> Product:
        objective, weights = self.objective, leaves(self.objective.weights)
        at = list(weights.values())
        with torch.enable_grad(), objective.second_derivatives():
            losses, shares = sample_losses(objective, weights, inputs, targets)
            directions = [torch.zeros_like(losses, requires_grad=True)]
            back = torch.autograd.grad(
                losses, at, directions, create_graph=True, materialize_grads=True
            )

        def product(tangents: Tangents, block: bool, keep: bool = True) -> Tangents:
            (pushed,) = pull_back(back, directions, tangents, block)
            return pull_back([losses], at, (pushed * shares,), block, keep)

        return product


def require_loss(objective: Objective, what: str) -> None:
    """Raise ValueError where the module computes the loss itself."""
    if objective.loss is None:
        raise ValueError(
            f"objective: {what} needs outputs and loss apart; give Objective a loss, such as "
            "lambda outputs, batch: cross_entropy(outputs.logits, batch['labels'])"
        )
