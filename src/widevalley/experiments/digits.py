"""digits: a small network on scikit-learn's digits; the first thing to run, no network needed."""

from __future__ import annotations

from functools import partial

from widevalley.data import load_digits
from widevalley.experiments.recipe import Recipe, with_dropout
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

_digits = partial(RunConfig, epochs=100.0, batch_size=32, evaluate_every=2.0, threads=1)

# Each of the four compared had 24 trials of 3 seeds (four rates, three weight decays, two
# dropouts), evaluated on 397 held-out training samples; these are the winners. SGLD had 12.
DIGITS = Recipe(
    task=Task("digits", load_digits, with_dropout(DigitsMLP)),
    title="64-64-64-10, ReLU, dropout, on 8x8 handwritten digits",
    tuned=(
        _digits(optimizer=EntropySGDSettings(langevin_lr=0.05, weight_decay=5e-4), dropout=0.1),
        _digits(optimizer=EntropyAdamSettings(lr=0.01, weight_decay=2e-3), dropout=0.1),
        _digits(optimizer=SGDSettings(lr=0.01, weight_decay=5e-4), dropout=0.3),
        _digits(optimizer=AdamSettings(lr=0.001, weight_decay=2e-3), dropout=0.3),
        _digits(
            optimizer=SGLDSettings(lr=1.0, weight_decay=2e-3), schedule="inverse-power", dropout=0.1
        ),
    ),
    compared=("entropy-sgd", "entropy-adam", "sgd", "adam"),
    holdout=397,
)
