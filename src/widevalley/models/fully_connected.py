"""Fully connected networks."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from widevalley.models.dropout import dropout as dropout_layers


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
        layers: list[nn.Module] = dropout_layers("input_dropout", input_dropout)
        for before, after in pairwise(widths[:-1]):
            layers += [nn.Linear(before, after), nn.ReLU(), *dropout_layers("dropout", dropout)]
        super().__init__(*layers, nn.Linear(widths[-2], widths[-1]))


class MnistFC(FullyConnected):
    """The paper's mnistfc, 784-1024-1024-10: 1,863,690 parameters."""

    def __init__(self, *, dropout: float = 0.3, input_dropout: float = 0.0) -> None:
        super().__init__((784, 1024, 1024, 10), dropout=dropout, input_dropout=input_dropout)


class SmallMnistFC(FullyConnected):
    """The paper's small-mnistfc, whose spectrum is in Fig. 3, 784-64-10: 50,890 parameters.

    Its text says 32 hidden units; only 64 give the number of parameters it states.
    """

    def __init__(self, *, dropout: float = 0.0, input_dropout: float = 0.0) -> None:
        super().__init__((784, 64, 10), dropout=dropout, input_dropout=input_dropout)


class DigitsMLP(FullyConnected):
    """64-64-64-10 for the 8x8 digits: 8,970 parameters."""

    def __init__(self, *, dropout: float = 0.1, input_dropout: float = 0.0) -> None:
        super().__init__((64, 64, 64, 10), dropout=dropout, input_dropout=input_dropout)


class BoundedLogProbabilities(nn.Module):
    r"""Scores of two classes as log-probabilities from -bound to 0, which add up to 1.

    log(e^-bound + (1 - 2 e^-bound) p), p the softmax: cross-entropy is at most bound, so that one
    of m samples can move the mean loss by bound/m at most. The privacy of a walk stands on that
    (Dziugaite & Roy, 2018, Appendix B).
    """

    def __init__(self, bound: float) -> None:
        super().__init__()
        if not bound > math.log(2):
            raise ValueError(f"bound={bound}: must be above ln 2")
        self.bound = bound

    def forward(self, scores: Tensor) -> Tensor:
        """Log-probabilities, (samples, 2)."""
        floor = math.exp(-self.bound)
        return torch.log(floor + (1 - 2 * floor) * scores.softmax(dim=1))
