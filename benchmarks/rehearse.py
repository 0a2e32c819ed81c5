"""The command `widevalley reproduce` on made-up data: where the real ones are not, or too many.

    python benchmarks/rehearse.py allcnn --scale small --variants paper --runs runs/rehearsal

Settings are the recipes' own, and so are the networks but for the 66 million weights of PTB-LSTM;
a handful of samples stands for CIFAR-10 or a text.
"""

import sys
from dataclasses import replace
from functools import partial

import torch

from widevalley.cli import main
from widevalley.data import Corpus, Dataset
from widevalley.experiments import PAPER
from widevalley.models import PTBLSTM
from widevalley.training import RunConfig

SHAPES = {"mnistfc": (784,), "lenet": (784,), "allcnn": (3, 32, 32)}
SYMBOLS = 87
SAMPLES, TOKENS = 64, 400


def made_up(name: str) -> Dataset | Corpus:
    """Random images in ten classes, or a random text."""
    generator = torch.Generator().manual_seed(0)
    if name not in SHAPES:
        text = torch.randint(SYMBOLS, (TOKENS,), generator=generator)
        return Corpus(text, text, text, tuple(map(str, range(SYMBOLS))))
    inputs = torch.randn(SAMPLES, *SHAPES[name], generator=generator)
    targets = torch.arange(SAMPLES) % 10
    return Dataset(inputs, targets, inputs, targets, classes=10)


def narrow(config: RunConfig) -> PTBLSTM:
    """PTB-LSTM of few units."""
    return PTBLSTM(symbols=SYMBOLS, units=16, dropout=config.dropout)


if __name__ == "__main__":
    for name, recipe in PAPER.items():
        task = replace(recipe.task, load=partial(made_up, name))
        PAPER[name] = replace(recipe, task=replace(task, build=narrow) if name == "ptb" else task)
    raise SystemExit(main(["reproduce", *sys.argv[1:]]))
