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
    given_by_run = {"params", "seed", "worker", "maximize"}
    defaults = {n: p.default for n, p in arguments.items() if n not in given_by_run}
    assert asdict(settings()) == defaults


@pytest.mark.parametrize("settings", [SGDSettings, AdamSettings, EntropySGDSettings, SGLDSettings])
def test_settings_reach_the_optimizer(settings):
    built = settings(lr=0.025, weight_decay=0.5).build([torch.nn.Parameter(torch.ones(2))], seed=3)
    assert built.param_groups[0]["lr"] == 0.025
    assert built.param_groups[0]["weight_decay"] == 0.5


@given(total=st.integers(2, 10_000), schedule=st.sampled_from(["cosine", "linear"]))
def test_falling_schedules(total, schedule):
    factors = [rate_factor(schedule, step, total) for step in range(0, total, max(1, total // 50))]
    assert factors[0] == 1
    assert all(a > b > 0 for a, b in pairwise(factors))
    assert rate_factor(schedule, total, total) == pytest.approx(0, abs=1e-12)
    assert rate_factor(schedule, total // 2 * 2, total // 2 * 4) == pytest.approx(0.5)


def test_constant_and_inverse_power():
    assert rate_factor("constant", 5, 10) == 1
    assert rate_factor("inverse-power", 15, 100, power=0.25) == pytest.approx(0.5)


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
