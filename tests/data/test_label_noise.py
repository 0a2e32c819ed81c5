"""Fewer and noisier labels."""

import pytest
import torch

from widevalley.data import first, load_digits, with_label_noise


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def test_noise_changes_its_share_of_training_labels_and_nothing_else(digits):
    noisy = with_label_noise(digits, 0.4, seed=0)
    wrong = noisy.train_targets != digits.train_targets
    assert int(wrong.sum()) == round(0.4 * 1297)
    assert torch.equal(noisy.test_targets, digits.test_targets)
    assert noisy.train_inputs is digits.train_inputs
    assert set(noisy.train_targets.tolist()) == set(range(10))


def test_noise_is_symmetric(digits):
    """A wrong label is each of the nine others equally often: a chi-squared test at 1 in 1000."""
    big = first(digits, 1297)
    counts = torch.zeros(10)
    for seed in range(30):
        noisy = with_label_noise(big, 0.5, seed=seed)
        shift = (noisy.train_targets - digits.train_targets) % 10
        counts += torch.bincount(shift, minlength=10)
    wrong = counts[1:]
    expected = wrong.sum() / 9
    assert float(((wrong - expected) ** 2 / expected).sum()) < 26.1  # 8 degrees of freedom


def test_the_seed_decides(digits):
    one, same, other = (with_label_noise(digits, 0.4, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.train_targets, same.train_targets)
    assert not torch.equal(one.train_targets, other.train_targets)
    clean = with_label_noise(digits, 0.0, seed=0)
    assert torch.equal(clean.train_targets, digits.train_targets)


def test_the_first_samples(digits):
    few = first(digits, 100)
    assert torch.equal(few.train_inputs, digits.train_inputs[:100])
    assert len(few.train_targets) == 100
    assert few.test_inputs is digits.test_inputs


def test_refuses_what_is_not_there(digits):
    with pytest.raises(ValueError, match="count=1298: must be from 1 to 1297 training samples"):
        first(digits, 1298)
    with pytest.raises(ValueError, match=r"share=1.0: must be in \[0, 1\)"):
        with_label_noise(digits, 1.0, seed=0)
