"""War and Peace, a byte at a time: 3,258,246 bytes, 87 different ones."""

from __future__ import annotations

import torch

from widevalley.data.corpus import Corpus
from widevalley.data.files import RemoteFile, fetch

FILE = RemoteFile(
    "war-and-peace/warpeace_input.txt",
    "https://cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt",
    "fb66ba999dafe24017cdd59e04c56d385a9c8466993d374fd4c6f08b2142985e",
)


def load_war_and_peace() -> Corpus:
    """The novel in file order: 80 % to train on, 10 % and 10 % to evaluate on.

    Raises widevalley.data.DataUnavailable where the file is neither at hand nor downloadable.
    """
    return split_bytes(fetch(FILE).read_bytes())


def split_bytes(content: bytes) -> Corpus:
    """The first 80 % of the bytes, the next 10 % and the last 10 %, rounded down to whole bytes.

    The symbols are the bytes that occur anywhere in `content`, smallest first, each written as
    the Latin-1 character of its value.
    """
    # A copy in a bytearray, as torch wants memory it could write to.
    values, tokens = torch.unique(
        torch.frombuffer(bytearray(content), dtype=torch.uint8), return_inverse=True
    )
    valid, test = len(content) * 8 // 10, len(content) * 9 // 10
    return Corpus(
        train=tokens[:valid],
        valid=tokens[valid:test],
        test=tokens[test:],
        symbols=tuple(map(chr, values.tolist())),
    )
