"""Language modelling in windows: a network that sees the tokens of its window and no others.

The training text is cut into windows, which come in a new order each epoch and from a new place
on; texts to evaluate on are cut into windows from their first token on. Every token of a window is
predicted from those before it there.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional

from widevalley.data import Corpus
from widevalley.optim import recompute_batch_norm
from widevalley.training.config import RunConfig
from widevalley.training.evaluation import eval_mode
from widevalley.training.feed import Batch, Carried, Feed, check_no_holdout, epoch_generator

CHUNK = 64
"""Windows in a forward pass of an evaluation."""
EVALUATED = 2**18
"""Tokens of the training text that are evaluated in the end, from its first on."""
STATISTICS = 2048
"""Training windows that batch-norm statistics are taken from, at the most."""


class CharacterWindows(Feed):
    """A `Corpus` of characters for a network that maps (batch, steps) tokens to logits.

    `config.window` is the steps a window has, `config.batch_size` the windows in a gradient.
    """

    validates = True
    monitored_split = "validation"
    final_splits = ("test", "validation")

    def __init__(self, data: Corpus, config: RunConfig, device: torch.device) -> None:
        check_no_holdout(config)
        data = data.to(device)
        self._text, self._config = data.train, config
        self.splits = {
            "train_set": cut(data.train[: EVALUATED + 1], config.window),
            "validation": cut(data.valid, config.window),
            "test": cut(data.test, config.window),
        }
        # One window less than there are, so that an epoch may begin anywhere in the first.
        self._count = (len(data.train) - 1) // config.window - 1
        self.batches = self._count // config.batch_size
        if self.batches < 1:
            raise ValueError(
                f"batch_size={config.batch_size}: must be at most the {self._count} windows of "
                f"{config.window} tokens in the training text"
            )
        self._order = torch.empty(0, dtype=torch.int64)
        self._windows = self._text

    def begin(self, model: nn.Module, epoch: int) -> Carried:
        """Cut the text from a new place on and shuffle the windows, by seed and epoch alone."""
        generator = epoch_generator(self._config.seed, epoch)
        start = int(torch.randint(self._config.window, (), generator=generator))
        self._order = torch.randperm(self._count, generator=generator).to(self._text.device)
        self._windows = cut(self._text[start:], self._config.window)
        return ()

    def loss(self, model: nn.Module, k: int, carried: Carried) -> tuple[Tensor, Carried]:
        """Mean cross-entropy of the tokens of a batch of windows."""
        size = self._config.batch_size
        windows = self._windows[self._order[k * size : (k + 1) * size][self.share]]
        logits = model(windows[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()), ()

    def statistics(self, model: nn.Module) -> AbstractContextManager[None]:
        """Hold batch-norm statistics of training windows."""
        windows = self.splits["train_set"][:STATISTICS, :-1]
        return recompute_batch_norm(model, torch.split(windows, CHUNK))

    def training_batches(
        self, model: nn.Module, samples: int, chunk: int
    ) -> tuple[nn.Module, list[Batch]]:
        """The first windows, `chunk` of them a batch; `samples` tokens at the least."""
        windows = self.splits["train_set"]
        count, most = -(-samples // self._config.window), windows[:, 1:].numel()
        if not 1 <= samples <= most:
            raise ValueError(f"samples={samples}: must be from 1 to {most} tokens")
        parts = torch.split(windows[:count], chunk)
        return _AllTokens(model), [(part[:, :-1], part[:, 1:].flatten()) for part in parts]

    @torch.no_grad()
    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        """Mean loss a character in nats, and in bits."""
        windows = self.splits[split]
        loss = torch.zeros((), device=windows.device, dtype=torch.float64)
        with eval_mode(model):
            for part in torch.split(windows, CHUNK):
                logits = model(part[:, :-1]).flatten(0, 1)
                targets = part[:, 1:].flatten()
                loss += functional.cross_entropy(logits, targets, reduction="sum")
        nats = float(loss) / windows[:, 1:].numel()
        return {"loss": nats, "bits": nats / math.log(2)}


def cut(tokens: Tensor, window: int) -> Tensor:
    """Rows of window + 1 tokens, the last of each the first of the next; what is left is dropped.

    Raises ValueError where not one row fits.
    """
    if len(tokens) <= window:
        raise ValueError(f"window={window}: must be below the {len(tokens)} tokens of a text")
    return tokens.unfold(0, window + 1, window)


class _AllTokens(nn.Module):
    """Logits of all tokens of a batch of windows, (windows * steps, symbols)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.network(tokens)
        return logits.flatten(0, 1)
