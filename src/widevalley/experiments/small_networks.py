"""The three small networks whose Hessians the paper decomposes (Fig. 1 and 3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from widevalley.data import Corpus, load_mnist, load_war_and_peace
from widevalley.experiments.recipe import Recipe
from widevalley.models import SmallCharLSTM, SmallLeNet, SmallMnistFC
from widevalley.training import AdamSettings, Characters, RunConfig, SGDSettings, Task

LINES, LENGTH, COLUMNS = 256, 32, 32
"""The text that small-charlstm learns by heart, and the columns it reads it in."""

# Pixels are not shifted here, so that the weights of dark ones have no part in the loss.
_pixels = partial(load_mnist, shifted=False)


def _lines() -> Corpus:
    """The first lines of War and Peace; validation and test are the lines after them.

    A column has one character more, which it predicts last and never reads.
    """
    text = load_war_and_peace()
    size = LINES * LENGTH + COLUMNS
    train, after, last = (text.train[k * size : (k + 1) * size] for k in range(3))
    return Corpus(train, after, last, text.symbols)


def _plain(network: type[nn.Module]) -> Callable[[RunConfig], nn.Module]:
    """How a task builds a network that takes none of a run's settings."""

    def build(config: RunConfig) -> nn.Module:
        return network()

    return build


SMALL_LENET = Recipe(
    task=Task("small-lenet", _pixels, _plain(SmallLeNet)),
    title="small LeNet, 47,658 weights, on MNIST: the paper's Fig. 1",
    variants={"paper": RunConfig(optimizer=AdamSettings(), epochs=2.0, schedule="constant")},
    holdout=10_000,
)
SMALL_MNISTFC = Recipe(
    task=Task("small-mnistfc", _pixels, _plain(SmallMnistFC)),
    title="784-64-10, 50,890 weights, on MNIST: the paper's Fig. 3",
    variants={"paper": RunConfig(optimizer=SGDSettings(lr=0.1), epochs=10.0, schedule="constant")},
    holdout=10_000,
)
SMALL_CHARLSTM = Recipe(
    task=Task("small-charlstm", _lines, _plain(SmallCharLSTM), feed=Characters),
    title="LSTM of 48 units, 32,640 weights, learns 256 lines by heart: the paper's Fig. 3",
    variants={
        "paper": RunConfig(
            optimizer=AdamSettings(lr=1e-2),
            epochs=6000.0,
            batch_size=COLUMNS,
            window=LENGTH,
            schedule="cosine",
            evaluate_every=200.0,
        )
    },
)
