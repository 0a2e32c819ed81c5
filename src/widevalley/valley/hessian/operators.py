"""Symmetric matrices that are known by their products.

Each stands for an (n, n) matrix over the flat weights, without forming it; `A @ v` takes a vector
(n,) or a block of columns (n, k), which costs less than k vectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor


class SymmetricOperator(ABC):
    """A symmetric matrix that is known by its products."""

    size: int
    """n."""
    dtype: torch.dtype
    """Of the products."""
    device: torch.device

    @property
    def precision(self) -> torch.dtype:
        """Of the numbers that products go through; bounds of errors and checks follow it."""
        return self.dtype

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
