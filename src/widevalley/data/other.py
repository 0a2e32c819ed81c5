"""Data that resemble what a network was trained on, to train it further: it may forget."""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import Tensor

from widevalley.data.corpus import Corpus
from widevalley.data.dataset import Dataset


def rotated(data: Dataset) -> Dataset:
    """The same data set of square images given as rows of pixels, turned by a quarter."""

    def turned(rows: Tensor) -> Tensor:
        side = round(rows.shape[1] ** 0.5)
        return torch.rot90(rows.view(-1, side, side), 1, (1, 2)).reshape(len(rows), -1)

    return replace(
        data, train_inputs=turned(data.train_inputs), test_inputs=turned(data.test_inputs)
    )


def in_characters(words: Corpus, symbols: tuple[str, ...]) -> Corpus:
    """A text of words, blanks between them, as characters of another alphabet.

    `<eos>` is a line's end; characters that the alphabet lacks are left out.
    """
    numbers = {symbol: number for number, symbol in enumerate(symbols)}

    def characters(tokens: Tensor) -> Tensor:
        text = " ".join(words.symbols[word] for word in tokens.tolist())
        text = re.sub(r" ?<eos> ?", "\n", text)
        return torch.tensor([numbers[one] for one in text if one in numbers])

    return Corpus(
        train=characters(words.train),
        valid=characters(words.valid),
        test=characters(words.test),
        symbols=symbols,
    )
