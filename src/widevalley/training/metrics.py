"""The metrics that runs are evaluated by, and how a record names them.

A record has them by split: test_error, validation_perplexity, train_set_loss. Loss is in nats
(a sample, or a token) throughout. What the paper calls the perplexity of char-LSTM is its loss:
nats a character; bits are nats / log 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

SPLITS = ("test", "validation")
"""What a run may be evaluated on, what counts for more first."""


@dataclass(frozen=True)
class Metric:
    """What a run is evaluated by; less is better for all of them."""

    field: str
    """What follows the split in a record's field."""
    title: str
    """Heads a column or an axis."""
    digits: int
    """Decimal places worth showing."""
    unit: str
    """Follows a value."""


ERROR = Metric("error", "error, %", 2, " %")
PERPLEXITY = Metric("perplexity", "perplexity", 2, "")
NATS = Metric("loss", "nats a character", 4, " nats")


def perplexity(nats: float) -> float:
    """exp(nats), of the mean loss a word; clipped to stay finite, as the loss says the rest."""
    return math.exp(min(nats, 700.0))


def split_of(record: dict[str, Any]) -> str:
    """The split a record is evaluated on: the test set where it has that."""
    return next(s for s in SPLITS if any(field.startswith(f"{s}_") for field in record))


def metric_of(record: dict[str, Any]) -> Metric:
    """The metric of a record. A record does not name it: the fields of each task tell it."""
    split = split_of(record)
    if f"{split}_perplexity" in record:
        return PERPLEXITY
    return NATS if f"{split}_bits" in record else ERROR


def result_of(record: dict[str, Any], split: str | None = None) -> float:
    """A record's value of its metric, on a split or on that of `split_of`."""
    return float(record[f"{split or split_of(record)}_{metric_of(record).field}"])
