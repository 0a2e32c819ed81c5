"""digits: a small network on scikit-learn's digits; the first thing to run, no network needed."""

from __future__ import annotations

from functools import partial

from torch import nn

from widevalley.data import load_digits
from widevalley.experiments.recipe import Recipe
from widevalley.models import DigitsMLP
from widevalley.training import (
    AdamSettings,
    EntropyAdamSettings,
    EntropySGDSettings,
    RunConfig,
    SGDSettings,
    SGLDSettings,
    Task,
)


def _network(config: RunConfig) -> nn.Module:
    return DigitsMLP(dropout=config.dropout, input_dropout=config.input_dropout)


_digits = partial(
    RunConfig, epochs=100.0, batch_size=32, evaluate_every=2.0, dropout=0.2, threads=1
)

DIGITS = Recipe(
    task=Task("digits", load_digits, _network),
    title="64-64-64-10, ReLU, dropout, on 8x8 handwritten digits",
    tuned=(
        _digits(optimizer=EntropySGDSettings()),
        _digits(optimizer=EntropyAdamSettings()),
        _digits(optimizer=SGDSettings()),
        _digits(optimizer=AdamSettings()),
        _digits(optimizer=SGLDSettings(), schedule="inverse-power"),
    ),
    compared=("entropy-sgd", "entropy-adam", "sgd", "adam"),
    holdout=297,
)
