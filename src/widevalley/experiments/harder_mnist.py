"""mnist-1000 and mnist-noise: MNIST with few labels, and with many that are wrong."""

from __future__ import annotations

from functools import partial

from widevalley.data import Dataset, first, load_mnist, with_label_noise
from widevalley.experiments.recipe import Recipe, with_dropout
from widevalley.models import FullyConnected
from widevalley.training import AdamWSettings, RunConfig, Task

FEW, NOISY, NOISE = 1_000, 10_000, 0.4
HELD_OUT = 5_000
"""Images that tuning is judged by: those after the training images, which a run never sees."""

_network = with_dropout(partial(FullyConnected, (784, 256, 256, 10)))
_variant = partial(RunConfig, optimizer=AdamWSettings(), batch_size=100)


def _few(extra: int = 0) -> Dataset:
    return first(load_mnist(), FEW + extra)


def _noisy(extra: int = 0) -> Dataset:
    return with_label_noise(first(load_mnist(), NOISY + extra), NOISE, seed=0)


MNIST_1000 = Recipe(
    task=Task("mnist-1000", _few, _network),
    title="784-256-256-10 on the first 1,000 images of MNIST",
    variants={"adamw": _variant(epochs=200.0, evaluate_every=10.0)},
)
MNIST_NOISE = Recipe(
    task=Task("mnist-noise", _noisy, _network),
    title="784-256-256-10 on 10,000 images of MNIST, 40 % of their labels wrong",
    variants={"adamw": _variant(epochs=30.0, evaluate_every=1.0)},
)
MNIST_1000_TUNING = Task("mnist-1000", partial(_few, HELD_OUT), _network)
MNIST_NOISE_TUNING = Task("mnist-noise", partial(_noisy, HELD_OUT), _network)
