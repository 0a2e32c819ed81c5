"""mnistfc: the paper's fully connected network, 784-1024-1024-10, on MNIST."""

from __future__ import annotations

from torch import nn

from widevalley.data import load_mnist
from widevalley.experiments.recipe import Recipe
from widevalley.models import MnistFC
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
    return MnistFC(dropout=config.dropout, input_dropout=config.input_dropout)


MNISTFC = Recipe(
    task=Task("mnistfc", load_mnist, _network, prefers_bf16=True),
    title="784-1024-1024-10, ReLU, dropout, on MNIST",
    tuned=(
        RunConfig(optimizer=EntropySGDSettings(), dropout=0.3),
        RunConfig(optimizer=EntropyAdamSettings(), dropout=0.3),
        RunConfig(optimizer=SGDSettings(weight_decay=5e-4), dropout=0.3),
        RunConfig(optimizer=AdamSettings(), schedule="linear", dropout=0.3),
        RunConfig(optimizer=SGLDSettings(), schedule="inverse-power", dropout=0.3),
    ),
    compared=("entropy-sgd", "entropy-adam", "sgd", "adam"),
    holdout=10_000,
)
