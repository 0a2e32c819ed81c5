"""A classification data set in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs (float32, one sample a row) and targets (int64 class numbers).

    The second pair is what a run is evaluated on. `split` says what it is: "test", or
    "validation" after `holdout`.
    """

    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    classes: int
    split: str = "test"

    def holdout(self, count: int) -> Dataset:
        """Evaluate on the last `count` training samples instead of the test set, which is dropped.

        They are taken as they come, not shuffled: where neighbours in the file are alike (digits
        of one writer), a shuffle would put near-copies of the training samples among them.
        `count` 0 returns the data set itself. Raises ValueError unless 0 <= count < training
        samples.
        """
        samples = len(self.train_targets)
        if not 0 <= count < samples:
            raise ValueError(f"holdout={count}: must be from 0 to {samples - 1} samples")
        if count == 0:
            return self
        return replace(
            self,
            train_inputs=self.train_inputs[:-count],
            train_targets=self.train_targets[:-count],
            test_inputs=self.train_inputs[-count:],
            test_targets=self.train_targets[-count:],
            split="validation",
        )

    def to(self, device: torch.device) -> Dataset:
        """The same data set with its four tensors on `device`."""
        return replace(
            self,
            train_inputs=self.train_inputs.to(device),
            train_targets=self.train_targets.to(device),
            test_inputs=self.test_inputs.to(device),
            test_targets=self.test_targets.to(device),
        )
