"""Problems that the optimizer tests share."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Quadratic:
    """f(x) = x'Ax/2 - b'x with A positive definite."""

    def __init__(self, n: int = 5, *, seed: int = 0, lowest: float = 0.2) -> None:
        generator = torch.Generator().manual_seed(seed)
        basis, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
        self.A = basis @ torch.diag(torch.linspace(lowest, 2.0, n, dtype=torch.float64)) @ basis.T
        self.b = torch.randn(n, generator=generator, dtype=torch.float64)
        self.x0 = torch.randn(n, generator=generator, dtype=torch.float64)

    def gradient(self, x: Tensor) -> Tensor:
        return self.A @ x - self.b


def mlp(*, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def batch(i: int, *, dtype: torch.dtype = torch.float32, size: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 + i)
    inputs = torch.randn(size, 4, generator=generator)
    return inputs.to(dtype), torch.randint(3, (size,), generator=generator)


def backward(model: nn.Module, i: int) -> Tensor:
    """Leave the gradient of mini-batch i in the model and return the loss."""
    dtype = next(model.parameters()).dtype
    inputs, targets = batch(i, dtype=dtype)
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs), targets)
    loss.backward()
    return loss


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: Iterable[int]) -> None:
    for i in steps:
        backward(model, i)
        optimizer.step()


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    """Bit for bit."""
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def close(a: list[Tensor], b: list[Tensor], tolerance: float) -> bool:
    return all(torch.allclose(x, y, rtol=0, atol=tolerance) for x, y in zip(a, b, strict=True))


def identical(a: Any, b: Any) -> bool:
    """Bit for bit, through dictionaries and lists: what two state_dicts hold."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(identical(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(identical, a, b))
    return a is b or bool(a == b)
