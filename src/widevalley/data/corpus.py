"""A text in memory as numbers, and the windows a recurrent network reads it by."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Corpus:
    """Three consecutive texts of one vocabulary: int64 tokens, numbers into `symbols`."""

    train: Tensor
    valid: Tensor
    test: Tensor
    symbols: tuple[str, ...]

    def to(self, device: torch.device) -> Corpus:
        """The same corpus with its three texts on `device`."""
        return replace(
            self,
            train=self.train.to(device),
            valid=self.valid.to(device),
            test=self.test.to(device),
        )


def contiguous(tokens: Tensor, batch_size: int) -> Tensor:
    """The text cut into `batch_size` columns of equal length, each read from top to bottom.

    Of shape (len(tokens) // batch_size, batch_size); the fewer than `batch_size` tokens left
    over at the end are dropped. Raises ValueError where a column would have no token to predict.
    """
    most = len(tokens) // 2
    if not 1 <= batch_size <= most:
        raise ValueError(
            f"batch_size={batch_size}: must be from 1 to {most} for {len(tokens)} tokens"
        )
    length = len(tokens) // batch_size
    # Contiguous by rows, so that the rows of a window are one piece of memory.
    return tokens[: length * batch_size].view(batch_size, length).t().contiguous()


def windows(columns: Tensor, steps: int) -> list[tuple[Tensor, Tensor]]:
    """Inputs and targets of an epoch, in order: views of `columns` of `steps` rows each.

    Targets are the inputs a row later, so every token but the first of each column is predicted
    exactly once. The last window is shorter where `steps` does not divide the rows: an epoch
    leaves nothing out. Raises ValueError unless `steps` is at least 1.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}: must be at least 1")
    inputs, targets = columns[:-1], columns[1:]
    return list(zip(torch.split(inputs, steps), torch.split(targets, steps), strict=True))
