"""Classification: samples in a new order each epoch, evaluated by cross-entropy and error."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional

from widevalley.data import Dataset
from widevalley.optim import recompute_batch_norm
from widevalley.training.config import RunConfig
from widevalley.training.evaluation import eval_mode
from widevalley.training.feed import Batch, Carried, Feed, epoch_generator

CHUNK = 512
"""Samples in a forward pass of an evaluation."""
BINS = 15
"""Of confidence, in the expected calibration error."""
STATISTICS = 20_000
"""Training samples that batch-norm statistics are taken from, evenly spread, at the most."""


class Classification(Feed):
    """A `Dataset`, its training samples shuffled anew each epoch; the last few are left out."""

    def __init__(self, data: Dataset, config: RunConfig, device: torch.device) -> None:
        data = data.holdout(config.holdout)
        samples = len(data.train_targets)
        if config.batch_size > samples:
            raise ValueError(
                f"batch_size={config.batch_size}: must be at most the {samples} training samples"
            )
        # All of it, so that no step waits for a copy.
        data = data.to(device)
        self.batches = samples // config.batch_size
        self.monitored_split = data.split
        self.final_splits = (data.split,)
        self.splits = {
            "train_set": (_channels_last(data.train_inputs), data.train_targets),
            data.split: (_channels_last(data.test_inputs), data.test_targets),
        }
        self._config = config
        self._order = torch.empty(0, dtype=torch.int64)

    def begin(self, model: nn.Module, epoch: int) -> Carried:
        """Shuffle the samples, by seed and epoch alone."""
        inputs, targets = self.splits["train_set"]
        # On the CPU, whose generator gives every device the same order.
        order = torch.randperm(len(targets), generator=epoch_generator(self._config.seed, epoch))
        self._order = order.to(inputs.device)
        return ()

    def loss(self, model: nn.Module, k: int, carried: Carried) -> tuple[Tensor, Carried]:
        """Cross-entropy of a batch."""
        inputs, targets = self.splits["train_set"]
        size = self._config.batch_size
        chosen = self._order[k * size : (k + 1) * size][self.share]
        return functional.cross_entropy(model(inputs[chosen]), targets[chosen]), ()

    def statistics(self, model: nn.Module) -> AbstractContextManager[None]:
        """A block in which batch norm has statistics of training samples."""
        # Every k-th sample: the first ones may be alike.
        inputs, _ = self.splits["train_set"]
        spread = inputs[:: -(-len(inputs) // STATISTICS)]
        parts = list(torch.split(spread, CHUNK))
        if len(parts) > 1 and len(parts[-1]) == 1:  # of one sample alone there is no variance
            parts[-2:] = [torch.cat(parts[-2:])]
        return recompute_batch_norm(model, parts)

    def training_batches(
        self, model: nn.Module, samples: int, chunk: int
    ) -> tuple[nn.Module, list[Batch]]:
        """The first training samples, and the model itself."""
        inputs, targets = self.splits["train_set"]
        if not 1 <= samples <= len(targets):
            raise ValueError(f"samples={samples}: must be from 1 to {len(targets)}")
        parts = (torch.split(part[:samples], chunk) for part in (inputs, targets))
        return model, list(zip(*parts, strict=True))

    @torch.no_grad()
    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        """Mean cross-entropy in nats; error and expected calibration error in percent."""
        inputs, targets = self.splits[split]
        # Summed on the device, so that it is read, and waited for, once.
        loss = torch.zeros((), device=inputs.device)
        wrong = torch.zeros((), device=inputs.device)
        gaps = torch.zeros(BINS, device=inputs.device)
        with eval_mode(model):
            for x, y in zip(torch.split(inputs, CHUNK), torch.split(targets, CHUNK), strict=True):
                scores = model(x)
                loss += functional.cross_entropy(scores, y, reduction="sum")
                wrong += (scores.argmax(dim=1) != y).sum()
                gaps += calibration_gaps(scores, y)
        samples = len(targets)
        return {
            "loss": float(loss) / samples,
            "error": 100 * float(wrong) / samples,
            "ece": 100 * float(gaps.abs().sum()) / samples,
        }


def calibration_gaps(scores: Tensor, targets: Tensor) -> Tensor:
    r"""Sum of (confidence - right) over the samples of each of `BINS` equal bins of confidence.

    Confidence is the largest softmax probability. Summed over all samples, the absolute values add
    up to N times the expected calibration error, \sum_b n_b / N |accuracy_b - confidence_b| (Guo
    et al., 2017).
    """
    confidence, guess = scores.float().softmax(dim=1).max(dim=1)
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    gap = confidence - (guess == targets).float()
    return torch.zeros(BINS, device=scores.device).index_add_(0, bins, gap)


def _channels_last(inputs: Tensor) -> Tensor:
    """Images in the memory format that convolutions are fast in; rows as they are."""
    if inputs.dim() != 4:
        return inputs
    return inputs.contiguous(memory_format=torch.channels_last)
