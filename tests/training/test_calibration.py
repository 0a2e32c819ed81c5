"""Expected calibration error, against its definition written out sample by sample."""

import numpy as np
import pytest
import torch

from widevalley.training.classification import BINS, calibration_gaps


def by_definition(probabilities, targets):
    """sum_b n_b / N |accuracy_b - confidence_b| over bins (b / B, (b + 1) / B]."""
    confidence, guess = probabilities.max(1), probabilities.argmax(1)
    total = 0.0
    for b in range(BINS):
        inside = (confidence > b / BINS) & (confidence <= (b + 1) / BINS)
        if inside.any():
            right = (guess[inside] == targets[inside]).mean()
            total += inside.mean() * abs(right - confidence[inside].mean())
    return total


def test_is_what_it_is_defined_as():
    torch.manual_seed(0)
    scores = 3 * torch.randn(500, 10)
    targets = torch.where(torch.rand(500) < 0.6, scores.argmax(1), torch.randint(10, (500,)))
    gaps = sum(calibration_gaps(*part) for part in zip(scores.split(128), targets.split(128)))
    expected = by_definition(scores.double().softmax(1).numpy(), targets.numpy())
    assert float(gaps.abs().sum()) / 500 == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(expected)
    assert expected > 0.01


def test_certain_and_right_is_calibrated_and_certain_and_wrong_is_not():
    scores = 100 * torch.eye(10)
    right, wrong = torch.arange(10), (torch.arange(10) + 1) % 10
    assert float(calibration_gaps(scores, right).abs().sum()) == pytest.approx(0, abs=1e-5)
    assert float(calibration_gaps(scores, wrong).abs().sum()) == pytest.approx(10)
