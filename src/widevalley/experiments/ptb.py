"""ptb: the paper's PTB-LSTM, two layers of 1,500 units, on the words of the Penn Treebank.

ptb-medium is the same with 650 units, for machines without an accelerator.
"""

from __future__ import annotations

import math
from functools import partial

from torch import nn

from widevalley.data import load_ptb
from widevalley.experiments.recipe import Recipe
from widevalley.models import PTBLSTM
from widevalley.training import (
    EntropySGDSettings,
    RunConfig,
    SGDSettings,
    SGLDSettings,
    Task,
    Words,
)

STEPS = 35
"""Words in a window. The paper's loss is their sum, after Zaremba et al., and ours their mean: a
rate of the paper is multiplied by this here, its clipping and scope divided, and its noise by the
root, which gives the same steps."""


def _network(config: RunConfig) -> nn.Module:
    return PTBLSTM(dropout=config.dropout)


def _medium_network(config: RunConfig) -> nn.Module:
    return PTBLSTM(units=650, dropout=config.dropout, spread=0.05)


_ptb = partial(RunConfig, batch_size=20, window=STEPS, dropout=0.65)
_medium = partial(_ptb, dropout=0.5, clip=5 / STEPS, schedule="step")
_entropy_sgd = EntropySGDSettings(
    langevin_steps=5,
    langevin_lr=1.0 * STEPS,
    langevin_momentum=0.5,
    gamma=1e-3 / STEPS,
    gamma_growth=0.0,
    noise=1e-4 / math.sqrt(STEPS),
)

PTB = Recipe(
    task=Task("ptb", load_ptb, _network, feed=Words, prefers_bf16=True),
    title="LSTM of 2 x 1500 units, dropout, on the words of the Penn Treebank",
    variants={
        "paper": _ptb(
            optimizer=_entropy_sgd,
            epochs=25.0,
            schedule="step",
            schedule_from=15.0,
            schedule_every=5.0,
            clip=5 / STEPS,
        ),
        "baseline": _ptb(
            optimizer=SGDSettings(lr=1.0 * STEPS, momentum=0.0),
            epochs=55.0,
            schedule="step",
            schedule_factor=1 / 1.15,
            schedule_from=14.0,
            schedule_every=1.0,
            clip=10 / STEPS,
        ),
        "best": _ptb(optimizer=_entropy_sgd, epochs=25.0, clip=5 / STEPS),
        "sgld": _ptb(
            optimizer=SGLDSettings(lr=1.0 * STEPS, noise=1e-4 / math.sqrt(STEPS)),
            epochs=55.0,
            schedule="inverse-power",
            clip=10 / STEPS,
        ),
    },
)

PTB_MEDIUM = Recipe(
    task=Task("ptb-medium", load_ptb, _medium_network, feed=Words, prefers_bf16=True),
    title="LSTM of 2 x 650 units, dropout, on the words of the Penn Treebank",
    variants={
        "paper": _medium(
            optimizer=_entropy_sgd, epochs=25.0, schedule_from=15.0, schedule_every=5.0
        ),
        # Zaremba et al.'s for their medium network.
        "baseline": _medium(
            optimizer=SGDSettings(lr=1.0 * STEPS, momentum=0.0),
            epochs=39.0,
            schedule_factor=1 / 1.2,
            schedule_from=6.0,
            schedule_every=1.0,
        ),
    },
)
