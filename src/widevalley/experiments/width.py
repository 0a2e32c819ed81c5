"""width: digits by optimizers that end at one training loss, to see whose valleys are wider."""

from __future__ import annotations

from functools import partial

from widevalley.data import load_digits
from widevalley.experiments.recipe import Recipe, with_dropout
from widevalley.models import DigitsMLP
from widevalley.optim import scoping
from widevalley.training import (
    AdamWSettings,
    EntropySGDSettings,
    LocalEntropyAdamWSettings,
    RunConfig,
    SGDSettings,
    SmoothedAdamWSettings,
    Task,
)

SAMPLES, BATCHES, L = 1297, 40, 20
DECAY = 1e-4
"""Weight decay of everything that is SGD inside."""

_run = partial(RunConfig, batch_size=32, evaluate_every=1000.0, threads=1)
_walk_anneals = partial(_run, schedule="constant", walk_schedule="cosine")


def _exploring(
    epochs: float,
    temperature: float,
    *,
    gamma: float = 0.1,
    growth: float = 100.0,
    free: bool = True,
) -> RunConfig:
    """A walk at a temperature whose scope grows from gamma by the factor of growth over the run."""
    updates = epochs * BATCHES / L
    walk = EntropySGDSettings(
        weight_decay=DECAY,
        noise=scoping.noise_at(temperature),
        gamma=gamma,
        gamma_growth=growth ** (1 / updates) - 1,
        noise_free_mean=free,
    )
    return _walk_anneals(optimizer=walk, epochs=epochs)


def _around_adamw(epochs: float, temperature: float, *, preconditioned: bool = True) -> RunConfig:
    """A walk of AdamW, with pull and noise in the metric of its second moment or without."""
    walk = LocalEntropyAdamWSettings(
        langevin_lr=3e-3,
        averaging=0.75,
        noise=scoping.noise_at(temperature),
        gamma=0.1,
        gamma_growth=100.0 ** (1 / (epochs * BATCHES / L)) - 1,
        noise_free_mean=True,
        preconditioned=preconditioned,
    )
    return _walk_anneals(optimizer=walk, epochs=epochs)


# The epochs are those at which a run of seed 9 came to a training loss of 0.0027 to 0.0033; that of
# walk-raw, which came to none, are walk's.
WIDTH = Recipe(
    task=Task("width", load_digits, with_dropout(DigitsMLP)),
    title="64-64-64-10 on 8x8 handwritten digits, by optimizers that end at one training loss",
    variants={
        "sgd-0.03": _run(optimizer=SGDSettings(lr=0.03, weight_decay=DECAY), epochs=30.0),
        "sgd-0.1": _run(optimizer=SGDSettings(lr=0.1, weight_decay=DECAY), epochs=8.5),
        "sgd-0.2": _run(optimizer=SGDSettings(lr=0.2, weight_decay=DECAY), epochs=20.0),
        "adamw": _run(optimizer=AdamWSettings(lr=3e-3), epochs=30.0),
        "entropy-sgd": _walk_anneals(optimizer=EntropySGDSettings(weight_decay=DECAY), epochs=12.5),
        "smoothed": _walk_anneals(
            optimizer=EntropySGDSettings(
                weight_decay=DECAY, gamma=0.0, gamma_growth=0.0, noise=0.0, smoothing=0.2
            ),
            epochs=12.5,
        ),
        "smoothed-adamw": _walk_anneals(
            optimizer=SmoothedAdamWSettings(langevin_lr=3e-3, smoothing=0.2), epochs=28.0
        ),
        "walk-adamw": _around_adamw(30.0, 0.01, preconditioned=False),
        "walk-preconditioned": _around_adamw(140.0, 0.01),
        "walk-preconditioned-cold": _around_adamw(75.0, 0.001),
        "walk-posterior": _exploring(15.0, 1 / SAMPLES),
        "walk": _exploring(21.0, 0.01),
        "walk-pac-bayes": _exploring(65.0, SAMPLES**-0.5),
        "walk-automatic": _exploring(26.0, 0.01, gamma=0.0102, growth=1e4),
        "walk-raw": _exploring(21.0, 0.01, free=False),
    },
)
