"""lenet: the paper's LeNet with batch norm, on MNIST."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from widevalley.data import load_mnist
from widevalley.experiments.mnistfc import MNISTFC
from widevalley.experiments.recipe import Recipe, with_dropout
from widevalley.models import LeNet
from widevalley.training import EntropySGDSettings, RunConfig, SGDSettings, SGLDSettings, Task

_lenet = partial(RunConfig, evaluate_every=2.0)

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
        "best": _lenet(
            optimizer=EntropySGDSettings(noise=1e-3),
            epochs=40.0,
            schedule="step",
            schedule_from=24.0,
            dropout=0.25,
        ),
        "tuned": _lenet(optimizer=SGDSettings(weight_decay=5e-4), epochs=40.0, dropout=0.25),
        "sgld": _lenet(
            optimizer=SGLDSettings(), epochs=300.0, schedule="inverse-power", dropout=0.25
        ),
    },
    holdout=10_000,
)
