"""charlstm: the paper's char-LSTM, two layers of 128 units, on the characters of War and Peace."""

from __future__ import annotations

from functools import partial

from torch import nn

from widevalley.data import load_war_and_peace
from widevalley.experiments.recipe import Recipe
from widevalley.models import CharLSTM
from widevalley.training import (
    AdamSettings,
    Characters,
    EntropyAdamSettings,
    RunConfig,
    SGLDSettings,
    Task,
)


def _network(config: RunConfig) -> nn.Module:
    return CharLSTM(dropout=config.dropout)


# best and tuned had two trials each, evaluated on the validation text: two rates with dropout 0.1.
_charlstm = partial(RunConfig, window=50, clip=5.0)
_entropy_adam = EntropyAdamSettings(
    lr=0.01,
    betas=(0.5, 0.999),
    langevin_steps=5,
    langevin_lr=1.0,
    gamma=0.01,
    gamma_growth=0.0,
)

CHARLSTM = Recipe(
    task=Task("charlstm", load_war_and_peace, _network, feed=Characters, prefers_bf16=True),
    title="LSTM of 2 x 128 units with batch norm, on the characters of War and Peace",
    variants={
        "paper": _charlstm(
            optimizer=_entropy_adam,
            epochs=25.0,
            schedule="step",
            schedule_factor=0.5,
            schedule_from=5.0,
            schedule_every=5.0,
        ),
        "baseline": _charlstm(
            optimizer=AdamSettings(lr=2e-3),
            epochs=50.0,
            schedule="step",
            schedule_factor=0.5,
            schedule_from=5.0,
            schedule_every=5.0,
        ),
        "best": _charlstm(optimizer=_entropy_adam, epochs=25.0, dropout=0.1),
        "tuned": _charlstm(optimizer=AdamSettings(lr=5e-3), epochs=25.0, dropout=0.1),
        "sgld": _charlstm(optimizer=SGLDSettings(lr=1.0), epochs=50.0, schedule="inverse-power"),
    },
)
