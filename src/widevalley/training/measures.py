"""The numbers that runs are judged by, and how a record names them.

A record holds them by split: test_error, validation_perplexity, train_set_loss. Loss is in nats
(a sample, or a token) throughout. What the paper calls the perplexity of char-LSTM is its loss:
nats a character; bits are nats / log 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

SPLITS = ("test", "validation")
"""What a run may be judged by, what counts for more first."""


@dataclass(frozen=True)
class Measure:
    """A number to judge by; less is better for all of them."""

    field: str
    """What follows the split in a record's field."""
    title: str
    """Heads a column or an axis."""
    digits: int
    """Decimal places worth showing."""
    unit: str
    """Follows a value."""


ERROR = Measure("error", "error, %", 2, " %")
PERPLEXITY = Measure("perplexity", "perplexity", 2, "")
NATS = Measure("loss", "nats a character", 4, " nats")


def perplexity(nats: float) -> float:
    """exp(nats), of the mean loss a word; held below infinity, which the loss itself reports."""
    return math.exp(min(nats, 700.0))


def bits(nats: float) -> float:
    """Nats in bits."""
    return nats / math.log(2)


def split_of(record: dict[str, Any]) -> str:
    """The split a record is judged by: the test set where it was looked at."""
    return next(s for s in SPLITS if any(field.startswith(f"{s}_") for field in record))


def measure_of(record: dict[str, Any]) -> Measure:
    """What a record is judged by, told from the fields it has."""
    split = split_of(record)
    if f"{split}_perplexity" in record:
        return PERPLEXITY
    return NATS if f"{split}_bits" in record else ERROR


def judged(record: dict[str, Any], split: str | None = None) -> float:
    """The number that a record is judged by."""
    return float(record[f"{split or split_of(record)}_{measure_of(record).field}"])
