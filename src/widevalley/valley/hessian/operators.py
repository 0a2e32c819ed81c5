"""Curvature of a mean loss as linear operators: Hessian, Gauss-Newton, empirical Fisher.

Each stands for a symmetric (n, n) matrix over the flat weights, without forming it; `A @ v` takes a
vector (n,) or a block of columns (n, k), which costs less than k vectors.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from widevalley.valley._trees import map_tensors, tensors_of
from widevalley.valley.hessian.samples import sample_losses
from widevalley.valley.objective import Objective, leaves

Tangents = tuple[Tensor, ...]
"""A vector by parameter; of a block the columns come first."""
Product = Callable[[Tangents, bool], Tangents]
"""The linear map of a batch's matrix; the flag says whether it is of a block of columns."""
DTYPES = (torch.float64, torch.float32)


class SymmetricOperator(ABC):
    """A symmetric matrix that is known by its products."""

    size: int
    """n."""
    dtype: torch.dtype
    """Of the products."""
    device: torch.device

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self.size, self.size

    def __matmul__(self, block: Tensor) -> Tensor:
        """The product with a vector (n,) or with columns (n, k), in the dtype it came in.

        Raises ValueError where `block` is no such tensor of floating-point numbers.
        """
        if not isinstance(block, Tensor) or not block.is_floating_point():
            what = str(block.dtype) if isinstance(block, Tensor) else type(block).__name__
            raise ValueError(f"block: must be a tensor of floating-point numbers, not {what}")
        if block.dim() not in (1, 2) or len(block) != self.size:
            raise ValueError(
                f"block: must be of shape ({self.size},) or ({self.size}, k), not "
                f"{tuple(block.shape)}"
            )
        return self._multiply(block.to(self.device, self.dtype)).to(block)

    @abstractmethod
    def _multiply(self, block: Tensor) -> Tensor:
        """The product, of a tensor of the operator's dtype and device."""

    def to_scipy(self) -> Any:
        """The operator as a `scipy.sparse.linalg.LinearOperator`, on the processor."""
        from scipy.sparse.linalg import LinearOperator

        def multiply(block: Any) -> Any:
            product = self @ torch.from_numpy(block).to(self.device, self.dtype)
            return product.cpu().numpy()

        dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        how = {"matvec": multiply, "rmatvec": multiply, "matmat": multiply, "rmatmat": multiply}
        return LinearOperator(self.shape, dtype=dtype, **how)


class DenseOperator(SymmetricOperator):
    """A matrix that is formed, (n, n), as an operator: what takes an operator takes it."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.size, self.dtype, self.device = len(matrix), matrix.dtype, matrix.device

    def _multiply(self, block: Tensor) -> Tensor:
        return self.matrix @ block


class Curvature(SymmetricOperator):
    """A mean over batches of one curvature matrix a batch.

    Products go by reverse-mode derivatives alone, of which torch has every kind for every layer:
    whatever can be differentiated twice by `torch.autograd.grad` can be multiplied here.

    Args:
        objective: the mean loss and the weights to take it at.
        keep_graphs: keep what was computed of each batch from one product to the next: about
            twice as fast for vectors, and memory for every activation of the whole data.

    Raises:
        ValueError: weights that are not float32 or float64, in which products would be off in the
            second digit; or two evaluations of the same product that differ, saying in what.
    """

    has_penalty: ClassVar[bool] = True
    """Whether the Hessian of the objective's penalty is part of it."""

    def __init__(self, objective: Objective, *, keep_graphs: bool = False) -> None:
        if objective.dtype not in DTYPES:
            raise ValueError(
                f"objective: its weights are {objective.dtype}, whose products are off in the "
                "second digit; give Objective(..., dtype=torch.float32)"
            )
        self.objective = objective
        self.size, self.dtype, self.device = objective.size, objective.dtype, objective.device
        self._products: dict[int, Product] | None = {} if keep_graphs else None
        self._vectorised = True
        self._check_repeatable()

    def _multiply(self, block: Tensor) -> Tensor:
        rows = block.reshape(self.size, -1).T
        total = torch.zeros_like(rows)
        for k, weight in enumerate(self.objective.batch_weights):
            if weight:
                total += weight * self._of_batch(k, rows)
        if self.objective.penalty and self.has_penalty:
            total += self._through(self._penalty_product(), rows)
        if not bool(torch.isfinite(total).all()):
            raise ArithmeticError(f"{type(self).__name__}: a product is not finite")
        return total.T.reshape(block.shape)

    def _of_batch(self, k: int, rows: Tensor) -> Tensor:
        with self.objective.second_derivatives():
            return self._through(self._product_of(k), rows)

    def _through(self, product: Product, rows: Tensor) -> Tensor:
        """A batch's product with rows (k, n), at once where its operations can be vectorised."""
        shapes = [w.shape for w in self.objective.weights.values()]
        parts = torch.split(rows, [shape.numel() for shape in shapes], dim=1)
        columns = tuple(p.reshape(-1, *s) for p, s in zip(parts, shapes, strict=True))
        if len(rows) > 1 and self._vectorised:
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "There is a performance drop")
                    return _joined(product(columns, True))
            except RuntimeError:
                # Some operation has no rule for a block; column by column all of them work.
                self._vectorised = False
        each = [
            _joined([o[None] for o in product(tuple(c[j] for c in columns), False)])
            for j in range(len(rows))
        ]
        return torch.cat(each)

    def _product_of(self, k: int) -> Product:
        if self._products is None:
            return self._product(*self.objective.batches[k])
        if k not in self._products:
            self._products[k] = self._product(*self.objective.batches[k])
        return self._products[k]

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
        objective = self.objective
        with torch.no_grad():
            losses = [
                objective.batch_loss(objective.weights, *objective.batches[0]) for _ in range(2)
            ]
        if not torch.equal(*losses):
            raise ValueError(
                f"module or loss: the loss of one batch was {float(losses[0])!r}, then "
                f"{float(losses[1])!r}; must be the same at each call (functional dropout?)"
            )
        ones = torch.ones(1, self.size, dtype=self.dtype, device=self.device) / self.size**0.5
        first, second = (self._of_batch(0, ones) for _ in range(2))
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
        # Of torch.func's compositions, two with forward mode are silently wrong through batch norm
        # on batch statistics (torch 2.13), and all of them refuse checkpoints and hooks; the
        # gradient of the gradient by autograd is right for all.
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

        def product(tangents: Tangents, block: bool) -> Tangents:
            pushed = pull_back(back, directions, tangents, block)
            return pull_back(values, at, curve(pushed, block), block)

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

        def product(tangents: Tangents, block: bool) -> Tangents:
            (pushed,) = pull_back(back, directions, tangents, block)
            return pull_back([losses], at, (pushed * shares,), block)

        return product


def second_order(value: Tensor, variables: Sequence[Tensor]) -> Product:
    """The Hessian of a scalar by some tensors, as a linear map; of a linear one it is zero."""
    if not value.requires_grad:
        slopes: tuple[Tensor, ...] = tuple(torch.zeros_like(v) for v in variables)
    else:
        slopes = torch.autograd.grad(value, variables, create_graph=True, materialize_grads=True)
    return lambda tangents, block: pull_back(slopes, variables, tangents, block)


def pull_back(
    values: Sequence[Tensor], variables: Sequence[Tensor], tangents: Sequence[Tensor], block: bool
) -> Tangents:
    """J^T v of the Jacobian J of values by variables; of a block all at once."""
    pairs = [(v, t) for v, t in zip(values, tangents, strict=True) if v.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(variables)
    if pairs:
        found = torch.autograd.grad(
            [v for v, _ in pairs],
            variables,
            [t for _, t in pairs],
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=block,
        )
    lead = tangents[0].shape[:1] if block else ()
    return tuple(
        v.new_zeros((*lead, *v.shape)) if f is None else f
        for v, f in zip(variables, found, strict=True)
    )


def require_loss(objective: Objective, what: str) -> None:
    """Raise ValueError where the module computes the loss itself."""
    if objective.loss is None:
        raise ValueError(
            f"objective: {what} needs outputs and loss apart; give Objective a loss, such as "
            "lambda outputs, batch: cross_entropy(outputs.logits, batch['labels'])"
        )


def require_samples(objective: Objective, what: str) -> None:
    """Raise ValueError where samples have no gradients of their own."""
    if objective.couples_samples:
        raise ValueError(
            f"objective: {what} needs the gradient of each sample, and here samples depend on "
            "others of their batch (batch norm on batch statistics, a graph, a contrastive loss)"
        )


def _joined(tangents: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.flatten(1) for t in tangents], dim=1)
