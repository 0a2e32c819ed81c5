"""Data to train further on."""

import torch

from widevalley.data import Corpus, in_characters, load_digits, rotated


def test_four_quarter_turns_are_none():
    digits = load_digits()
    turned = rotated(digits)
    assert not torch.equal(turned.train_inputs, digits.train_inputs)
    expected = torch.rot90(digits.test_inputs[7].view(8, 8))
    assert torch.equal(turned.test_inputs[7].view(8, 8), expected)
    for _ in range(3):
        turned = rotated(turned)
    assert torch.equal(turned.train_inputs, digits.train_inputs)
    assert torch.equal(turned.train_targets, digits.train_targets)


def test_words_become_characters_that_the_alphabet_has():
    words = ("the", "cat", "<eos>", "<unk>", "sat")
    text = torch.tensor([0, 1, 4, 2, 0, 3, 2])
    alphabet = tuple("\n acehknstu")
    found = in_characters(Corpus(train=text, valid=text[:2], test=text, symbols=words), alphabet)
    assert "".join(alphabet[k] for k in found.train.tolist()) == "the cat sat\nthe unk\n"
    assert "".join(alphabet[k] for k in found.valid.tolist()) == "the cat"
    assert found.symbols == alphabet


def test_every_end_of_a_line_is_one():
    words, alphabet = ("a", "<eos>"), ("a", "\n", "<", "e", "o", "s", ">", " ")
    text = torch.tensor([1, 0, 1, 1, 0])
    found = in_characters(Corpus(train=text, valid=text, test=text, symbols=words), alphabet)
    assert "".join(alphabet[n] for n in found.train.tolist()) == "\na\n\na"
