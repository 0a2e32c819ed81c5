"""Data as the training loop sees them: batches of an epoch, and splits to evaluate on.

A subclass a kind of problem: `classification` and `sequences`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from widevalley.training.config import RunConfig

Batch = tuple[Any, Tensor]
"""Inputs, one tensor or a tuple of arguments, and targets."""
Carried = tuple[Tensor, ...]
"""What one batch hands to the next, detached: a recurrent network's state, else nothing."""


class Feed(ABC):
    """The data of one run, on its device.

    Raises ValueError naming the setting that does not suit the data.
    """

    validates: ClassVar[bool] = False
    """Whether the data come with a validation split of their own."""

    batches: int
    """Gradient evaluations an epoch."""
    monitored_split: str
    """The split that is evaluated while training."""
    final_splits: tuple[str, ...]
    """The splits that are evaluated in the end, beside the training set."""
    share = slice(None)
    """Of a batch's samples those that gradients are taken of here: each worker has its own."""

    @abstractmethod
    def __init__(self, data: Any, config: RunConfig, device: torch.device) -> None: ...

    @abstractmethod
    def begin(self, model: nn.Module, epoch: int) -> Carried:
        """Prepare the batches of an epoch; returns what its first batch is handed."""

    @abstractmethod
    def loss(self, model: nn.Module, k: int, carried: Carried) -> tuple[Tensor, Carried]:
        """Mean loss of batch `k` of this epoch, and what the next batch is handed."""

    @abstractmethod
    def statistics(self, model: nn.Module) -> AbstractContextManager[None]:
        """A block in which batch norm has statistics of training data at the present weights."""

    @abstractmethod
    def training_batches(
        self, model: nn.Module, samples: int, chunk: int
    ) -> tuple[nn.Module, list[Batch]]:
        """The first `samples` training samples in batches of `chunk`, and what maps them to logits.

        The training loss is their mean cross-entropy. Of a text samples are tokens, taken in whole
        windows and batches as they are. Raises ValueError where there are fewer.
        """

    @abstractmethod
    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        """Loss in nats, and the other metrics of the problem, on a split, in float32."""


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """A generator that is a function of seed and epoch alone."""
    return torch.Generator().manual_seed(key_of(seed, epoch))


def key_of(*numbers: int) -> int:
    """A seed for torch of a few whole numbers."""
    # Hashed, so that neighbouring seeds and epochs share nothing; torch takes 63 bits.
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


def check_no_holdout(config: RunConfig) -> None:
    """Raise ValueError where samples of a text are to be held out."""
    if config.holdout:
        raise ValueError(
            f"holdout={config.holdout}: must be 0 for a text, which has validation tokens "
            "of its own"
        )
