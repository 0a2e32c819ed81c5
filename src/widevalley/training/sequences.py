"""Language modelling: a text read in order by a recurrent network that carries its state on.

The text is cut into as many columns as a batch has; a gradient is taken through a window of each,
and the state after it, detached, is what the next window starts from. Every epoch starts afresh.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from widevalley.data import Corpus, contiguous, windows
from widevalley.models import State, detach
from widevalley.optim import recompute_batch_norm
from widevalley.training import metrics
from widevalley.training.config import RunConfig
from widevalley.training.evaluation import eval_mode
from widevalley.training.feed import Batch, Carried, Feed, check_no_holdout

COLUMNS = 8
"""Columns that the training and validation texts are evaluated in; the test text in one."""
ROWS = 256
"""Tokens of a column in a forward pass of an evaluation."""
STATISTICS = 100
"""Training windows that batch-norm statistics are taken from, at the most."""


class Recurrent(Protocol):
    """A network that maps tokens (steps, batch) and a state to logits and the state after."""

    def __call__(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits, and the state after the last token."""
        ...

    def initial_state(self, batch_size: int) -> State:
        """The state before the first token."""
        ...


class Sequences(Feed):
    """A `Corpus`: its validation text monitored while training, its test text for the end."""

    validates = True
    monitored_split = "validation"
    final_splits = ("test", "validation")

    def __init__(self, data: Corpus, config: RunConfig, device: torch.device) -> None:
        check_no_holdout(config)
        data = data.to(device)
        self.splits = {"train_set": data.train, "validation": data.valid, "test": data.test}
        self._columns = config.batch_size
        self._windows = windows(contiguous(data.train, config.batch_size), config.window)
        self.batches = len(self._windows)

    def begin(self, model: nn.Module, epoch: int) -> Carried:
        """The state before the text; the order of windows is that of the text."""
        columns = len(range(self._columns)[self.share])
        return cast(Recurrent, model).initial_state(columns)

    def loss(self, model: nn.Module, k: int, carried: Carried) -> tuple[Tensor, Carried]:
        """Mean cross-entropy of a window's tokens; the state is carried on in float32."""
        inputs, targets = (part[:, self.share] for part in self._windows[k])
        logits, state = cast(Recurrent, model)(inputs, cast(State, carried))
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        # Under autocast the state comes back in bfloat16, which must not add up over an epoch.
        return loss, tuple(part.float() for part in detach(state))

    def statistics(self, model: nn.Module) -> AbstractContextManager[None]:
        """A block in which batch norm has statistics of training windows, the state carried on."""
        network = cast(Recurrent, model)
        state = detach(network.initial_state(self._columns))

        def forward(inputs: Tensor) -> None:
            nonlocal state
            _, state = network(inputs, state)

        chosen = [inputs for inputs, _ in self._windows[:STATISTICS]]
        return recompute_batch_norm(model, chosen, forward=forward)

    @torch.no_grad()
    def training_batches(
        self, model: nn.Module, samples: int, chunk: int
    ) -> tuple[nn.Module, list[Batch]]:
        """The first windows, each with the state that the one before left.

        The state is carried on as in training: given to a window, not derived through.
        """
        network, left = cast(Recurrent, model), samples
        state: Carried = ()
        batches: list[Batch] = []
        with eval_mode(model):
            for inputs, targets in self._windows:
                # The first window has no state: it starts from the network's own, which is learned
                # by some networks and then part of what is derived.
                batches.append(((inputs, *state), targets.flatten()))
                initial = cast(State, state) if state else network.initial_state(self._columns)
                _, state = network(inputs, initial)
                left -= targets.numel()
                if left <= 0:
                    return _FromState(model), batches
        raise ValueError(f"samples={samples}: must be at most {samples - left} tokens")

    @torch.no_grad()
    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        """Mean loss a token in nats, and the same in the unit of the text."""
        columns = contiguous(self.splits[split], 1 if split == "test" else COLUMNS)
        network = cast(Recurrent, model)
        state = network.initial_state(columns.shape[1])
        # In float64: a text has so many tokens that a float32 sum would lose digits.
        loss = torch.zeros((), device=columns.device, dtype=torch.float64)
        with eval_mode(model):
            for inputs, targets in windows(columns, ROWS):
                logits, state = network(inputs, state)
                loss += functional.cross_entropy(
                    logits.flatten(0, 1), targets.flatten(), reduction="sum"
                )
        nats = float(loss) / columns[1:].numel()
        return {"loss": nats, **self.in_unit(nats)}

    @staticmethod
    @abstractmethod
    def in_unit(nats: float) -> dict[str, float]:
        """Nats a token in the unit the text is evaluated in, named."""


class Words(Sequences):
    """A text of words, evaluated by perplexity: exp of the nats a word."""

    @staticmethod
    def in_unit(nats: float) -> dict[str, float]:
        """The perplexity."""
        return {"perplexity": metrics.perplexity(nats)}


class Characters(Sequences):
    """A text of characters, evaluated by nats a character, which the paper calls perplexity."""

    @staticmethod
    def in_unit(nats: float) -> dict[str, float]:
        """Bits a character."""
        return {"bits": nats / math.log(2)}


class _FromState(nn.Module):
    """Logits of all tokens of a window, (steps * batch, symbols), from a state or the first."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, *state: Tensor) -> Tensor:
        network = cast(Recurrent, self.network)
        initial = cast(State, state) if state else network.initial_state(tokens.shape[1])
        logits, _ = network(tokens, initial)
        return logits.flatten(0, 1)
