"""lenet: the paper's LeNet with batch norm, on MNIST."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from widevalley.data import load_mnist
from widevalley.experiments.mnistfc import MNISTFC
from widevalley.experiments.recipe import Recipe, with_dropout
from widevalley.models import LeNet
from widevalley.training import (
    AdamSettings,
    EntropyAdamSettings,
    EntropySGDSettings,
    RunConfig,
    SGDSettings,
    SGLDSettings,
    Task,
)

_lenet = partial(RunConfig, evaluate_every=2.0)
_short = partial(_lenet, epochs=40.0, dropout=0.25)

# Evaluated on 10,000 held-out training samples: 18 trials of Entropy-SGD, 12 of SGD, four of
# Entropy-Adam and two of Adam, some of three seeds; results/lenet-tuning has them all.
_entropy_sgd = _short(optimizer=EntropySGDSettings(noise=1e-3), schedule="step", schedule_from=24.0)
_entropy_adam = _short(
    optimizer=EntropyAdamSettings(
        lr=3e-3, langevin_steps=5, langevin_lr=3e-3, langevin_betas=(0.9, 0.999)
    ),
    walk_schedule="cosine",
)
_adam = _short(optimizer=AdamSettings(lr=3e-3))

LENET = Recipe(
    task=Task("lenet", load_mnist, with_dropout(LeNet), prefers_bf16=True),
    title="LeNet: two convolutions with batch norm, 500-10, dropout, on MNIST",
    variants={
        "paper": _lenet(
            optimizer=EntropySGDSettings(noise=1e-3),
            epochs=100.0,
            schedule="step",
            schedule_from=40.0,
            dropout=0.25,
        ),
        "baseline": replace(MNISTFC.variant("baseline"), evaluate_every=2.0),
        "best": _entropy_adam,
        "tuned": _adam,
        "sgld": _lenet(
            optimizer=SGLDSettings(), epochs=300.0, schedule="inverse-power", dropout=0.25
        ),
    },
    tuned=(
        _entropy_sgd,
        _entropy_adam,
        _short(optimizer=SGDSettings(weight_decay=5e-4)),
        _adam,
        _short(optimizer=SGLDSettings(), schedule="inverse-power"),
    ),
    compared=("entropy-sgd", "entropy-adam", "sgd", "adam"),
    holdout=10_000,
)
