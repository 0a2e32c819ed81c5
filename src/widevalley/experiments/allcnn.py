"""allcnn: the paper's All-CNN with batch norm, on CIFAR-10 without augmentation."""

from __future__ import annotations

from functools import partial

from widevalley.data import load_cifar10
from widevalley.experiments.recipe import Recipe, with_dropout
from widevalley.models import AllCNN
from widevalley.training import (
    EntropySGDSettings,
    LocalEntropyAdamWAverageSettings,
    RunConfig,
    SGDSettings,
    SGLDSettings,
    Task,
)

_allcnn = partial(RunConfig, dropout=0.5, input_dropout=0.2, evaluate_every=2.0)
_entropy_sgd = EntropySGDSettings(gamma=0.03, weight_decay=1e-3)

# best and tuned had three trials each, of one epoch, on 5,000 held-out samples: the rate.
ALLCNN = Recipe(
    task=Task("allcnn", load_cifar10, with_dropout(AllCNN), prefers_bf16=True),
    title="All-CNN: nine convolutions with batch norm, dropout, on CIFAR-10",
    variants={
        "paper": _allcnn(
            optimizer=_entropy_sgd,
            epochs=200.0,
            schedule="step",
            schedule_factor=0.2,
            schedule_from=80.0,
            schedule_every=80.0,
        ),
        "baseline": _allcnn(
            optimizer=SGDSettings(weight_decay=1e-3),
            epochs=200.0,
            schedule="step",
            schedule_factor=0.2,
            schedule_from=60.0,
            schedule_every=60.0,
        ),
        "best": _allcnn(
            optimizer=LocalEntropyAdamWAverageSettings(langevin_lr=1e-3, weight_decay=0.1),
            epochs=160.0,
            schedule="constant",
            walk_schedule="cosine",
        ),
        "tuned": _allcnn(optimizer=SGDSettings(lr=0.3, weight_decay=1e-3), epochs=160.0),
        "sgld": _allcnn(
            optimizer=SGLDSettings(weight_decay=1e-3),
            epochs=500.0,
            schedule="inverse-power",
            evaluate_every=5.0,
        ),
    },
    holdout=5_000,
)
