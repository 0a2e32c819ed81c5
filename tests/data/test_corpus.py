"""Columns keep the order of the text, and an epoch predicts each token once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from widevalley.data import Corpus, contiguous, windows


@given(batch=st.integers(1, 9), length=st.integers(2, 30), rest=st.integers(0, 8))
def test_columns_read_in_order_are_the_text(batch, length, rest):
    text = torch.arange(batch * length + min(rest, batch - 1))
    columns = contiguous(text, batch)
    assert columns.shape == (length, batch)
    assert torch.cat(list(columns.t())).tolist() == text[: batch * length].tolist()


@given(batch=st.integers(1, 4), length=st.integers(2, 30), steps=st.integers(1, 40))
def test_an_epoch_predicts_every_token_but_the_first_of_a_column_once(batch, length, steps):
    columns = contiguous(torch.arange(batch * length), batch)
    cut = windows(columns, steps)
    assert torch.equal(torch.cat([inputs for inputs, _ in cut]), columns[:-1])
    assert torch.equal(torch.cat([targets for _, targets in cut]), columns[1:])
    assert {len(inputs) for inputs, _ in cut[:-1]} <= {steps}
    for inputs, targets in cut:
        assert torch.equal(targets, inputs + 1)


@pytest.mark.parametrize("batch_size", [0, 6])
def test_bad_batch_size(batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size}: must be from 1 to 5 for 11"):
        contiguous(torch.arange(11), batch_size)


def test_bad_steps():
    with pytest.raises(ValueError, match="steps=0: must be at least 1"):
        windows(torch.zeros(4, 2), 0)


def test_to_moves_all_three_texts():
    moved = Corpus(*(torch.zeros(2) for _ in range(3)), symbols=("a",)).to(torch.device("meta"))
    assert [t.device.type for t in (moved.train, moved.valid, moved.test)] == ["meta"] * 3
