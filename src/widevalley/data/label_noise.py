"""Fewer labels, fewer classes and wrong labels: what a data set is made harder or easier by."""

from __future__ import annotations

from dataclasses import replace

import torch

from widevalley.data.dataset import Dataset


def first(data: Dataset, count: int) -> Dataset:
    """The data set with its first `count` training samples alone.

    Raises ValueError unless there are that many.
    """
    samples = len(data.train_targets)
    if not 1 <= count <= samples:
        raise ValueError(f"count={count}: must be from 1 to {samples} training samples")
    return replace(
        data,
        train_inputs=data.train_inputs[:count],
        train_targets=data.train_targets[:count],
    )


def with_label_noise(data: Dataset, share: float, *, seed: int) -> Dataset:
    """Symmetric label noise: a `share` of the training labels made wrong; test labels stay.

    Which ones, and which of the other classes each becomes, uniformly, are functions of `seed`.
    Raises ValueError unless 0 <= share < 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share={share}: must be in [0, 1)")
    generator = torch.Generator().manual_seed(seed)
    targets = data.train_targets.clone()
    samples = len(targets)
    chosen = torch.randperm(samples, generator=generator)[: round(share * samples)]
    shift = torch.randint(1, data.classes, (len(chosen),), generator=generator)
    targets[chosen] = (targets[chosen] + shift) % data.classes
    return replace(data, train_targets=targets)


def in_two_classes(data: Dataset) -> Dataset:
    """The data set with its classes in two halves: 0 the lower one, 1 the upper."""
    half = data.classes // 2
    return replace(
        data,
        train_targets=(data.train_targets >= half).long(),
        test_targets=(data.test_targets >= half).long(),
        classes=2,
    )


def with_random_labels(data: Dataset, *, seed: int) -> Dataset:
    """Every label, training and test, drawn uniformly anew: there is nothing to be learned."""
    generator = torch.Generator().manual_seed(seed)
    train, test = (
        torch.randint(data.classes, targets.shape, generator=generator)
        for targets in (data.train_targets, data.test_targets)
    )
    return replace(data, train_targets=train, test_targets=test)
