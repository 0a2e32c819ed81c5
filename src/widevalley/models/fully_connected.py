"""Fully connected networks."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


class FullyConnected(nn.Sequential):
    """Linear layers with ReLU, and dropout after each hidden layer.

    Args:
        widths: units of the input, of each hidden layer, and of the output.
        dropout: share of hidden units dropped while training, in [0, 1).
        input_dropout: share of inputs dropped while training, in [0, 1).

    Raises:
        ValueError: a dropout outside [0, 1).
    """

    def __init__(
        self, widths: tuple[int, ...], *, dropout: float = 0.0, input_dropout: float = 0.0
    ) -> None:
        layers: list[nn.Module] = _dropout("input_dropout", input_dropout)
        for before, after in pairwise(widths[:-1]):
            layers += [nn.Linear(before, after), nn.ReLU(), *_dropout("dropout", dropout)]
        super().__init__(*layers, nn.Linear(widths[-2], widths[-1]))


class MnistFC(FullyConnected):
    """The paper's mnistfc, 784-1024-1024-10: 1,863,690 parameters."""

    def __init__(self, *, dropout: float = 0.3, input_dropout: float = 0.0) -> None:
        super().__init__((784, 1024, 1024, 10), dropout=dropout, input_dropout=input_dropout)


class DigitsMLP(FullyConnected):
    """64-64-64-10 for the 8x8 digits: 8,970 parameters."""

    def __init__(self, *, dropout: float = 0.1, input_dropout: float = 0.0) -> None:
        super().__init__((64, 64, 64, 10), dropout=dropout, input_dropout=input_dropout)


def _dropout(name: str, share: float) -> list[nn.Module]:
    if not 0 <= share < 1:
        raise ValueError(f"{name}={share}: must be in [0, 1)")
    return [nn.Dropout(share)] if share > 0 else []
