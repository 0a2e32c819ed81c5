"""binary-mnist: small digits or large ones, with true labels and with random ones.

What a PAC-Bayes bound is tried on (Dziugaite & Roy, 2018): digits 0 to 4 against 5 to 9, the loss
bounded, so that walks at a high temperature are private.
"""

from __future__ import annotations

import math
from functools import partial

from torch import nn

from widevalley.data import Dataset, in_two_classes, load_mnist, with_random_labels
from widevalley.experiments.recipe import Recipe
from widevalley.models import BoundedLogProbabilities, FullyConnected
from widevalley.training import (
    EntropySGDSettings,
    EntropySGLDSettings,
    RunConfig,
    SGLDSettings,
    Task,
)

SAMPLES, BOUND = 60_000, 4.0
"""Training images, and the interval of the loss of one, in nats."""
COLD = 0.005
"""The largest thermal noise at which Entropy-SGD is said to fit random labels."""
FEW = 10_000
"""Images that it is trained on; the others are held out, and bound its error in their own way."""
PRIOR = 0.2
"""Standard deviation of a weight in the Gaussian measure that the walks' laws are relative to."""


def _true() -> Dataset:
    return in_two_classes(load_mnist(shifted=False))


def _random() -> Dataset:
    return with_random_labels(_true(), seed=0)


def _network(config: RunConfig) -> nn.Module:
    return FullyConnected((784, 100, 100, 2)).append(BoundedLogProbabilities(BOUND))


def _noise(tau: float) -> float:
    return math.sqrt(2 / tau)


def _decay(tau: float) -> float:
    return 1 / (tau * PRIOR**2)


def _sgld(tau: float) -> SGLDSettings:
    return SGLDSettings(lr=0.05, noise=_noise(tau), weight_decay=_decay(tau))


_run = partial(RunConfig, schedule="constant", evaluate_every=2.0)
_ROOT = math.sqrt(SAMPLES)
_VARIANTS = {
    "entropy-sgld": _run(
        optimizer=EntropySGLDSettings(
            lr=0.5,
            langevin_lr=0.02,
            gamma=10.0,
            noise=_noise(_ROOT),
            weight_decay=_decay(_ROOT),
        ),
        epochs=16.0,
    ),
    "sgld": _run(optimizer=_sgld(_ROOT), epochs=6.0),
    "sgld-cooler": _run(optimizer=_sgld(4 * _ROOT), epochs=8.0),
    "entropy-sgd": RunConfig(
        optimizer=EntropySGDSettings(noise=COLD),
        epochs=100.0,
        evaluate_every=20.0,
        holdout=SAMPLES - FEW,
    ),
}

BINARY_MNIST = Recipe(
    task=Task("binary-mnist", _true, _network),
    title="784-100-100-2 on MNIST, digits to 4 or from 5 on",
    variants=_VARIANTS,
)
RANDOM_MNIST = Recipe(
    task=Task("random-mnist", _random, _network),
    title="the same with labels drawn at random",
    variants=_VARIANTS,
)
