"""Settings: ranges by message, schedules by their formula, optimizers by their arguments."""

import inspect
import math
from dataclasses import asdict
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from widevalley.optim import SGLD, EntropyAdam, EntropySGD
from widevalley.training import (
    AdamSettings,
    EntropyAdamSettings,
    EntropySGDSettings,
    RunConfig,
    SGDSettings,
    SGLDSettings,
)
from widevalley.training.hardware import resolve
from widevalley.training.schedules import rate_factor

BAD = [
    ("epochs", 0.0, "above 0"),
    ("batch_size", 0, "at least 1"),
    ("schedule_power", -1.0, "at least 0"),
    ("schedule_factor", 0.0, "in (0, 1]"),
    ("schedule_from", -1.0, "at least 0"),
    ("schedule_every", -1.0, "at least 0"),
    ("clip", -1.0, "at least 0"),
    ("window", 0, "at least 1"),
    ("dropout", 1.0, "in [0, 1)"),
    ("input_dropout", -0.1, "in [0, 1)"),
    ("seed", -1, "from 0 to 2^32 - 1"),
    ("holdout", -1, "at least 0"),
    ("evaluate_every", 0.0, "above 0"),
    ("checkpoint_every", -1.0, "at least 0"),
    ("threads", -1, "at least 0"),
    ("epochs", math.nan, "above 0"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_bad_settings_are_named(name, value, allowed):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        RunConfig(optimizer=SGDSettings(), **{name: value})
    assert str(caught.value) == f"{name}={value}: must be {allowed}"


@pytest.mark.parametrize(
    ("settings", "optimizer"),
    [
        (EntropySGDSettings, EntropySGD),
        (EntropyAdamSettings, EntropyAdam),
        (SGLDSettings, SGLD),
    ],
)
def test_every_argument_is_a_setting_with_the_same_default(settings, optimizer):
    arguments = inspect.signature(optimizer).parameters
    given_by_run = {"params", "seed", "worker", "maximize", "fused", "process_group"}
    defaults = {n: p.default for n, p in arguments.items() if n not in given_by_run}
    built = settings()
    assert (built.arguments() if hasattr(built, "arguments") else asdict(built)) == defaults


@pytest.mark.parametrize("settings", [SGDSettings, AdamSettings, EntropySGDSettings, SGLDSettings])
def test_settings_reach_the_optimizer(settings):
    built = settings(lr=0.025, weight_decay=0.5).build(torch.nn.Linear(2, 1), seed=3)
    assert built.param_groups[0]["lr"] == 0.025
    assert built.param_groups[0]["weight_decay"] == 0.5


def factor(step, total, **settings):
    """The rate at `step` of a run of one epoch of `total` batches."""
    config = RunConfig(optimizer=SGDSettings(), epochs=1.0, **settings)
    return rate_factor(config, step, total, schedule=config.schedule)


@given(total=st.integers(2, 10_000), schedule=st.sampled_from(["cosine", "linear"]))
def test_falling_schedules(total, schedule):
    def at(step, total=total):
        return factor(step, total, schedule=schedule)

    factors = [at(step) for step in range(0, total, max(1, total // 50))]
    assert factors[0] == 1
    assert all(a > b > 0 for a, b in pairwise(factors))
    assert at(total) == pytest.approx(0, abs=1e-12)
    assert at(total // 2 * 2, total // 2 * 4) == pytest.approx(0.5)


def test_constant_and_inverse_power():
    assert factor(5, 10, schedule="constant") == 1
    assert factor(15, 100, schedule="inverse-power", schedule_power=0.25) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("settings", "drops"),
    [
        # Adam of the paper's MNIST rows, / 5 every 30 epochs; then Zaremba's "large", / 1.15 an
        # epoch after 14; then one drop and no more.
        ((0.2, 30.0, 30.0), {0: 0, 29.99: 0, 30: 1, 59.99: 1, 60: 2, 90: 3, 99.99: 3}),
        ((1 / 1.15, 14.0, 1.0), {0: 0, 13.99: 0, 14: 1, 15: 2, 54.99: 41}),
        ((0.1, 40.0, 0.0), {39.99: 0, 40: 1, 119: 1}),
    ],
)
def test_step_schedule(settings, drops):
    by, since, every = settings
    config = RunConfig(
        optimizer=SGDSettings(),
        epochs=120.0,
        schedule="step",
        schedule_factor=by,
        schedule_from=since,
        schedule_every=every,
    )
    for epoch, count in drops.items():
        assert rate_factor(
            config, int(epoch * 468), 468, schedule=config.schedule
        ) == pytest.approx(by**count)


def test_auto_follows_the_recipe_and_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = RunConfig(optimizer=SGDSettings())
    for fast in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast)
        assert resolve(config, prefers_bf16=False).precision == "32-true"
        precision = "bf16-mixed" if fast else "32-true"
        assert resolve(config, prefers_bf16=True).precision == precision
    with pytest.raises(ValueError, match=r"device=cuda: this machine has none"):
        resolve(RunConfig(optimizer=SGDSettings(), device="cuda"), prefers_bf16=False)
