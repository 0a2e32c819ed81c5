"""A task of a second, and the comparison of two run folders."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from widevalley.data import load_digits
from widevalley.models import DigitsMLP
from widevalley.training import EntropySGDSettings, RunConfig, Task, run


def digits_network(config):
    return DigitsMLP(dropout=config.dropout)


@pytest.fixture
def task():
    return Task("digits", load_digits, digits_network)


@pytest.fixture
def config():
    """120 gradients: three epochs of 40; walks of 7, so that no boundary coincides."""
    return RunConfig(
        optimizer=EntropySGDSettings(langevin_steps=7, noise=0.01),
        epochs=3.0,
        batch_size=32,
        dropout=0.2,
        evaluate_every=0.5,
        threads=1,
    )


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """The run of a task that nothing stops, made once for all tests that compare with it."""

    @cache
    def made(task, config):
        return run(task, config, tmp_path_factory.mktemp("whole"))

    return made


@pytest.fixture
def without_network(task):
    """The task, failing at once if its data is asked for."""

    def refuse():
        raise AssertionError("a finished run must not load data")

    return replace(task, load=refuse)


def assert_same(left, right):
    """Two nested states are equal, every tensor to the bit."""
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    else:
        assert left == right


def assert_same_end(one, other):
    """Two run folders end with the same state and metrics, but for the seconds."""

    def end(folder):
        state = torch.load(folder.path / "checkpoint.pt", weights_only=True)
        del state["seconds"], state["metrics_bytes"]
        return state

    def metrics(folder):
        return [{k: v for k, v in r.items() if k != "seconds"} for r in folder.records]

    assert one.finished
    assert other.finished
    assert metrics(one) == metrics(other)
    assert_same(end(one), end(other))
