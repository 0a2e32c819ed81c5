"""gpt and small-gpt: transformers on the characters of War and Peace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from widevalley.data import Corpus, load_war_and_peace
from widevalley.experiments.recipe import Recipe
from widevalley.models import GPT
from widevalley.training import AdamWSettings, CharacterWindows, RunConfig, Task

JUDGED = 2**17
"""Characters of the validation text, and of the test text, that are judged: the first ones."""


def _text() -> Corpus:
    text = load_war_and_peace()
    return replace(text, valid=text.valid[: JUDGED + 1], test=text.test[: JUDGED + 1])


def _network(width: int, blocks: int) -> Callable[[RunConfig], nn.Module]:
    def build(config: RunConfig) -> nn.Module:
        return GPT(width=width, blocks=blocks, window=config.window, dropout=config.dropout)

    return build


_variant = partial(RunConfig, optimizer=AdamWSettings(lr=3e-3), batch_size=16, clip=1.0)

GPT_1M = Recipe(
    task=Task("gpt", _text, _network(128, 5), feed=CharacterWindows, prefers_bf16=True),
    title="GPT of 5 blocks of 128, 1.03 million weights, on the characters of War and Peace",
    variants={"adamw": _variant(epochs=1.6, window=128, evaluate_every=0.1)},
)
SMALL_GPT = Recipe(
    task=Task("small-gpt", _text, _network(64, 2), feed=CharacterWindows),
    title="GPT of 2 blocks of 64, 115,328 weights, on the characters of War and Peace",
    variants={"adamw": _variant(epochs=0.4, window=64, evaluate_every=0.05)},
)
