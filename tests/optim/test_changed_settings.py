"""Settings changed after construction: checked at the first step after it, by name."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch

from tests.optim.optimizers import (
    ANCHORED,
    OPTIMIZERS,
    build,
    entropy_adam,
    entropy_sgd,
    sgd_sgd,
)
from tests.optim.problems import backward, close, identical, mlp, same, train, weights
from widevalley import SGLD, Conventions, EntropyAdam, EntropySGD

INFOS = {info.name: info for info in OPTIMIZERS}
EVERY = list(INFOS)
WALKS = [info.name for info in ANCHORED]
OURS = ["entropy-sgd", "entropy-adam"]


def trained(build, steps=4, **settings):
    model = mlp()
    optimizer = build(model.parameters(), **settings)
    train(model, optimizer, range(steps))
    return model, optimizer


def state_of(optimizer):
    return copy.deepcopy(optimizer.state_dict()["state"])


def clock_of(optimizer):
    names = ("inner_step", "outer_step", "at_anchor")
    return [{k: g[k] for k in names if k in g} for g in optimizer.param_groups]


def unmoved(model, optimizer, before):
    found = weights(model), state_of(optimizer), clock_of(optimizer)
    return identical(list(before), list(found))


def refused_after(build, name, value, message):
    """The step after the change says what is wrong with it, and moves nothing."""
    model, optimizer = trained(build)
    twin, theirs = trained(build)
    right = optimizer.param_groups[0][name]
    optimizer.param_groups[0][name] = value
    before = weights(model), state_of(optimizer), clock_of(optimizer)
    for _ in range(2):
        backward(model, 4)
        with pytest.raises(ValueError, match=message):
            optimizer.step()
        assert unmoved(model, optimizer, before)
    optimizer.param_groups[0][name] = right
    train(model, optimizer, range(4, 9))
    train(twin, theirs, range(4, 9))
    assert same(weights(model), weights(twin)), "set right, it goes on as if nothing had been"


BAD = [
    (EVERY, "lr", -1.0, "lr must be .*got -1.0"),
    (EVERY, "lr", math.nan, "lr must be .*got nan"),
    (EVERY, "lr", "3", "lr must be .*got '3'"),
    (EVERY, "lr", True, "lr must be .*got True"),
    (EVERY, "noise", -1, "noise must be .*got -1"),
    (EVERY, "noise", math.inf, "noise must be .*got inf"),
    (EVERY, "noise", None, "noise must be .*got None"),
    (EVERY, "seed", -1, "seed must be a whole number >= 0, got -1"),
    (EVERY, "worker", 0.5, "worker must be a whole number >= 0, got 0.5"),
    (WALKS, "gamma", math.nan, "gamma must be .*got nan"),
    (WALKS, "gamma", -1, "gamma must be .*got -1"),
    (WALKS, "gamma", "3", "gamma must be .*got '3'"),
    (WALKS, "gamma", False, "gamma must be .*got False"),
    (WALKS, "averaging", 2.5, "averaging must be .*got 2.5"),
    (WALKS, "averaging", math.nan, "averaging must be .*got nan"),
    (WALKS, "langevin_steps", 0, "langevin_steps must be a whole number >= 1, got 0"),
    (WALKS, "langevin_steps", 2.0, "langevin_steps must be a whole number >= 1, got 2.0"),
    (WALKS, "gamma_growth", "fast", "gamma_growth must be .*got 'fast'"),
    (WALKS, "gamma_growth", -1, "gamma_growth must be .*got -1"),
    (OURS, "langevin_lr", -0.1, "langevin_lr must be .*got -0.1"),
    (OURS, "langevin_lr", True, "langevin_lr must be .*got True"),
    (OURS, "langevin_momentum", 1.0, r"langevin_momentum must be in \[0, 1\), got 1.0"),
    (OURS, "langevin_momentum", None, r"langevin_momentum must be in \[0, 1\), got None"),
    ([*OURS, "sgld"], "weight_decay", math.nan, "weight_decay must be .*got nan"),
    (["entropy-sgd"], "momentum", 1.5, r"momentum must be in \[0, 1\), got 1.5"),
    (["entropy-adam"], "betas", (0.9, 1.0), r"betas\[1\] must be in \[0, 1\), got 1.0"),
    (["entropy-adam"], "betas", 0.9, r"betas must be two numbers in \[0, 1\), got 0.9"),
    (["entropy-adam"], "eps", -1.0, "eps must be .*got -1.0"),
    ([*OURS, "sgld"], "maximize", "false", "maximize must be True or False, got 'false'"),
    (OURS, "langevin_nesterov", 1, "langevin_nesterov must be True or False, got 1"),
    (OURS, "reset_momentum", None, "reset_momentum must be True or False, got None"),
    (["entropy-sgd"], "nesterov", "no", "nesterov must be True or False, got 'no'"),
    (OURS, "fused", "yes", "fused must be True, False or None, got 'yes'"),
    (["local-entropy, SGD SGD"], "reset_inner", 0, "reset_inner must be True or False, got 0"),
    # finite in a float64, beyond what the arithmetic of float32 parameters can be given
    (["entropy-sgd", "entropy-adam", "sgld"], "lr", 1e300, "lr must be .*got 1e.300"),
    (EVERY, "noise", 1e300, "noise must be .*got 1e.300"),
    (OURS, "langevin_lr", 1e300, "langevin_lr must be .*got 1e.300"),
    ([*OURS, "sgld"], "weight_decay", 1e300, "weight_decay must be .*got 1e.300"),
]
TABLE = [(name, *rest) for names, *rest in BAD for name in names]


@pytest.mark.parametrize(("info", "name", "value", "message"), TABLE)
def test_a_bad_setting_is_refused_at_the_next_step(info, name, value, message):
    refused_after(INFOS[info].build, name, value, message)


@pytest.mark.parametrize(
    ("info", "name", "value", "message"),
    [row for row in TABLE if not (row[0].startswith("local-entropy") and row[1] == "lr")],
)
def test_a_bad_setting_is_refused_at_construction(info, name, value, message):
    make = INFOS[info].build
    if name in Conventions.__dataclass_fields__ and info in OURS:
        make = partial(build, EntropySGD if info == "entropy-sgd" else EntropyAdam)
    with pytest.raises(ValueError, match=message):
        make(mlp().parameters(), **{name: value})


@pytest.mark.parametrize("info", ANCHORED, ids=str)
def test_what_all_groups_share_may_not_come_to_differ(info):
    model = mlp()
    halves = [{"params": list(model[i].parameters())} for i in (0, 2)]
    optimizer = info.build(halves)
    train(model, optimizer, range(4))
    optimizer.param_groups[1]["langevin_steps"] = 7
    before = weights(model), state_of(optimizer), clock_of(optimizer)
    backward(model, 4)
    with pytest.raises(ValueError, match="langevin_steps is one for all groups, 3, got 7"):
        optimizer.step()
    assert unmoved(model, optimizer, before)


@pytest.mark.parametrize("info", ANCHORED, ids=str)
@pytest.mark.parametrize("changed", ["gamma", "noise", "averaging"])
def test_a_change_in_the_second_group_is_seen(info, changed):
    model = mlp()
    halves = [{"params": list(model[i].parameters())} for i in (0, 2)]
    optimizer = info.build(halves)
    train(model, optimizer, range(4))
    optimizer.param_groups[1][changed] = -1.0
    before = weights(model)
    backward(model, 4)
    with pytest.raises(ValueError, match=f"{changed} must be .*got -1.0"):
        optimizer.step()
    assert same(before, weights(model))


GOOD = {
    "langevin_steps": [np.int64(4), np.int32(4)],
    "gamma": [0.3, 0, np.float32(0.25), torch.tensor(0.25)],
    "noise": [0, np.float64(0.2), torch.tensor(0.2)],
    "averaging": [0.9, np.float64(0.5)],
    "lr": [0.05, np.float32(0.25), torch.tensor(0.25)],
    "seed": [np.int64(3)],
    "worker": [np.uint8(3)],
    "gamma_growth": [np.float64(0.1), lambda t: 1 + t, lambda t: torch.tensor(2.0)],
}


@pytest.mark.parametrize("info", ANCHORED, ids=str)
@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in GOOD.items() for v in vs])
def test_a_good_setting_is_taken_at_the_next_step_whatever_kind_of_number_it_is(info, name, value):
    """As Python's own number of the same value is."""
    plain = value if callable(value) else value.item() if hasattr(value, "item") else value
    (model, ours), (twin, theirs) = trained(info.build, 3), trained(info.build, 3)
    ours.param_groups[0][name], theirs.param_groups[0][name] = value, plain
    train(model, ours, range(3, 10))
    train(twin, theirs, range(3, 10))
    assert close(weights(model), weights(twin), 1e-6)  # inner's lr is torch's business


@pytest.mark.parametrize("build", [entropy_sgd, entropy_adam, sgd_sgd])
@pytest.mark.parametrize("name", ["langevin_steps", "seed", "worker"])
def test_whole_numbers_may_be_numpys_at_construction(build, name):
    _, ours = trained(build, 7, **{name: np.int64(3)})
    _, theirs = trained(build, 7, **{name: 3})
    assert identical(state_of(ours), state_of(theirs))


TURNED_ON = [
    (entropy_sgd, "momentum", 0.0, 0.9),
    (entropy_sgd, "langevin_momentum", 0.0, 0.9),
    (entropy_adam, "langevin_momentum", 0.0, 0.9),
]


@pytest.mark.parametrize(("build", "name", "off", "on"), TURNED_ON)
@pytest.mark.parametrize("at", [0, 4, 6])
def test_a_momentum_turned_on_later(build, name, off, on, at):
    """As one that was there from the start, but off."""
    model, ours = trained(build, 0, **{name: off})
    twin, theirs = trained(build, 0, **{name: on})
    theirs.param_groups[0][name] = off
    train(model, ours, range(at))
    train(twin, theirs, range(at))
    ours.param_groups[0][name] = theirs.param_groups[0][name] = on
    train(model, ours, range(at, at + 9))
    train(twin, theirs, range(at, at + 9))
    assert same(weights(model), weights(twin))


def test_adam_in_the_walk_turned_on_later_has_its_moments():
    model, optimizer = trained(entropy_adam, 4)
    optimizer.param_groups[0]["langevin_betas"] = (0.9, 0.99)
    optimizer.param_groups[0]["langevin_lr"] = 0.01
    train(model, optimizer, range(4, 12))
    assert all(w.isfinite().all() for w in weights(model))


@pytest.mark.parametrize("info", ANCHORED, ids=str)
@pytest.mark.parametrize(
    "growth",
    [
        lambda t: "fast",
        lambda t: None,
        lambda t: math.nan,
        lambda t: -1.0,
        lambda t: torch.ones(2),
        lambda: 1.0,
    ],
    ids=["text", "nothing", "nan", "below zero", "two numbers", "of no argument"],
)
def test_a_schedule_that_returns_no_factor_is_refused(info, growth):
    model = mlp()
    before = weights(model)
    backward(model, 0)
    with pytest.raises(ValueError, match="gamma_growth"):
        info.build(model.parameters(), gamma_growth=growth).step()
    assert same(before, weights(model))


@pytest.mark.parametrize("info", ANCHORED, ids=str)
def test_a_schedule_that_ends_is_refused_when_it_does(info):
    table = [1.0, 1.5]
    growth = lambda t: table[t] if t < 2 else None  # noqa: E731
    model, optimizer = trained(info.build, 6, gamma_growth=growth)
    before = weights(model), state_of(optimizer), clock_of(optimizer)
    backward(model, 6)
    with pytest.raises(ValueError, match="gamma_growth.*2.*None"):
        optimizer.step()
    assert unmoved(model, optimizer, before)


def test_a_rate_of_sgld_is_read_from_its_group_at_each_step():
    model, optimizer = trained(SGLD, 2)
    optimizer.param_groups[0]["lr"] = 0.0
    before = weights(model)
    train(model, optimizer, range(2, 4))
    assert same(before, weights(model))
