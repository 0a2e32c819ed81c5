"""The 1,797 handwritten digits (8x8 pixels) inside scikit-learn's wheel; no network needed."""

from __future__ import annotations

import torch

from widevalley.data.dataset import Dataset

TEST_SAMPLES = 500


def load_digits() -> Dataset:
    """1,297 training and 500 test samples of 64 pixels, in the order of the file.

    The writers of the last 500 samples did not write the first ones, so the test is harder than
    a shuffled one. Pixels are standardised by the training set's mean and standard deviation
    (two numbers, not two per pixel).
    """
    from sklearn.datasets import load_digits as bundled  # slow to import

    pixels, labels = bundled(return_X_y=True)
    inputs = torch.from_numpy(pixels).to(torch.float32) / 16
    targets = torch.from_numpy(labels).to(torch.int64)
    train, test = inputs[:-TEST_SAMPLES], inputs[-TEST_SAMPLES:]
    mean, std = train.mean(), train.std()
    return Dataset(
        train_inputs=(train - mean) / std,
        train_targets=targets[:-TEST_SAMPLES],
        test_inputs=(test - mean) / std,
        test_targets=targets[-TEST_SAMPLES:],
        classes=10,
    )
