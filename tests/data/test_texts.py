"""Texts become numbers and back; the real ones have the published sizes."""

import pytest
import torch

from widevalley.data import DataUnavailable, load_ptb, load_war_and_peace
from widevalley.data.ptb import read_words
from widevalley.data.war_and_peace import split_bytes

LINES = {"train": " a b a \n c \n", "valid": " b b \n", "test": " c \n\n"}


@pytest.fixture
def paths(tmp_path):
    for name, text in LINES.items():
        (tmp_path / f"{name}.txt").write_text(text)
    return {name: tmp_path / f"{name}.txt" for name in LINES}


def test_words_and_line_ends_in_order_of_appearance(paths):
    corpus = read_words(**paths)
    assert corpus.symbols == ("a", "b", "<eos>", "c")
    assert corpus.train.tolist() == [0, 1, 0, 2, 3, 2]
    assert corpus.valid.tolist() == [1, 1, 2]
    assert corpus.test.tolist() == [3, 2, 2]
    assert corpus.train.dtype == torch.int64


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b" b b", "cut short at 4 characters"),
        (b"", "cut short at 0 characters"),
        (b" b \xff \n", "not UTF-8 text"),
        (b" b d \n", "'d' is not a word of the training file"),
    ],
)
def test_a_wrong_file_is_refused_by_name(paths, content, reason):
    paths["valid"].write_bytes(content)
    with pytest.raises(ValueError, match=rf"valid\.txt: {reason}"):
        read_words(**paths)


def test_bytes_are_split_in_order():
    content = bytes([200, 7, 200, 7, 7, 7, 9, 9, 9, 200, 7, 0, 9])
    corpus = split_bytes(content)
    assert corpus.symbols == ("\x00", "\x07", "\x09", "\xc8")
    parts = (corpus.train, corpus.valid, corpus.test)
    assert [len(part) for part in parts] == [10, 1, 2]
    decoded = "".join(corpus.symbols[token] for part in parts for token in part)
    assert decoded.encode("latin-1") == content


@pytest.mark.parametrize(
    ("load", "file"),
    [(load_ptb, "ptb/ptb.train.txt"), (load_war_and_peace, "war-and-peace/warpeace_input.txt")],
)
def test_a_cut_or_absent_file_is_unavailable(monkeypatch, tmp_path, load, file):
    monkeypatch.setenv("WIDEVALLEY_DATA", str(tmp_path))
    with pytest.raises(DataUnavailable, match=f"{file} is missing"):
        load()
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_bytes(b" aer banknote berlitz")
    with pytest.raises(DataUnavailable, match=f"{file} fails its checksum"):
        load()


def test_ptb(real):
    real("ptb")
    corpus = load_ptb()
    assert [len(t) for t in (corpus.train, corpus.valid, corpus.test)] == [929_589, 73_760, 82_430]
    assert len(corpus.symbols) == 10_000
    assert [corpus.symbols[k] for k in corpus.test[:5]] == ["no", "it", "was", "n't", "black"]
    ends = [(t == corpus.symbols.index("<eos>")).sum() for t in (corpus.train, corpus.test)]
    assert ends == [42_068, 3_761]


def test_war_and_peace(real):
    real("war-and-peace")
    corpus = load_war_and_peace()
    assert [len(t) for t in (corpus.train, corpus.valid, corpus.test)] == [
        2_606_596,
        325_825,
        325_825,
    ]
    assert len(corpus.symbols) == 87
    opening = "".join(corpus.symbols[k] for k in corpus.train[:17])
    assert opening.encode("latin-1").decode("utf-8-sig") == '"Well, Prince,'
