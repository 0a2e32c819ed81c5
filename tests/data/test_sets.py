"""The data sets themselves, and the hold-out."""

import pytest
import torch
from sklearn.datasets import load_digits as bundled

from widevalley.data import load_digits, load_mnist


def test_digits_split_in_file_order_and_standardised():
    data = load_digits()
    labels = torch.from_numpy(bundled().target)
    assert torch.equal(torch.cat([data.train_targets, data.test_targets]), labels)
    assert data.train_inputs.shape == (1297, 64)
    assert data.test_inputs.shape == (500, 64)
    torch.testing.assert_close(data.train_inputs.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.train_inputs.std(), torch.tensor(1.0))


def test_mnist(real_data):
    data = load_mnist()
    assert data.train_inputs.shape == (60_000, 784)
    assert data.test_inputs.shape == (10_000, 784)
    assert data.test_targets[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert torch.bincount(data.train_targets).min() == 5421
    torch.testing.assert_close(data.train_inputs.mean(), torch.tensor(0.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(data.train_inputs.std(), torch.tensor(1.0), atol=1e-3, rtol=0)


def rows(inputs):
    return {tuple(row) for row in inputs.tolist()}


def test_holdout_parts_the_training_set_and_never_shows_the_test_set():
    data = load_digits()
    held = data.holdout(297)
    assert held.split == "validation"
    assert (len(held.train_targets), len(held.test_targets)) == (1000, 297)
    assert rows(held.train_inputs) | rows(held.test_inputs) == rows(data.train_inputs)
    assert rows(held.test_inputs).isdisjoint(rows(data.test_inputs))


def test_holdout_takes_the_last_samples_as_they_come():
    data = load_digits()
    held = data.holdout(300)
    assert torch.equal(held.test_inputs, data.train_inputs[997:])
    assert torch.equal(held.train_targets, data.train_targets[:997])
    assert data.holdout(0) is data


@pytest.mark.parametrize("count", [-1, 1297])
def test_holdout_out_of_range(count):
    with pytest.raises(ValueError, match=f"holdout={count}: must be from 0 to 1296"):
        load_digits().holdout(count)
