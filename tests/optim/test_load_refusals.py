"""What load_state_dict refuses, before anything changes."""

import copy
import math

import pytest
import torch

from tests.optim.optimizers import ANCHORED, OPTIMIZERS, entropy_adam, entropy_sgd
from tests.optim.problems import identical, mlp, same, train, weights
from widevalley import SGLD

every = pytest.mark.parametrize("info", OPTIMIZERS, ids=str)
anchored = pytest.mark.parametrize("info", ANCHORED, ids=str)


def trained(build):
    model = mlp()
    optimizer = build(model.parameters())
    train(model, optimizer, range(4))
    return model, optimizer


def refused(build, saved, message):
    """Loading raises ValueError that says so, and model, state and settings are what they were."""
    (model, optimizer), (twin, theirs) = trained(build), trained(build)
    before = copy.deepcopy((weights(model), optimizer.state_dict(), saved))
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(saved)
    assert identical(before, (weights(model), optimizer.state_dict(), saved))
    for i in range(4, 10):
        train(model, optimizer, [i])
        train(twin, theirs, [i])
    assert same(weights(model), weights(twin))


SETTINGS = [
    ("lr", -1.0, "lr must be >= 0.*got -1.0"),
    ("noise", math.nan, "noise must be >= 0.*got nan"),
    ("seed", -1, "seed must be a whole number >= 0, got -1"),
    ("worker", 0.5, "worker must be a whole number >= 0, got 0.5"),
]
OF_THE_WALK = [
    ("gamma", "3", "gamma must be >= 0.*got '3'"),
    ("averaging", 2.5, "averaging must be in .*got 2.5"),
    ("langevin_steps", 0, "langevin_steps must be a whole number >= 1, got 0"),
    ("inner_step", -5, "inner_step must be a whole number >= 0, got -5"),
    ("inner_step", 1.5, "inner_step must be a whole number >= 0, got 1.5"),
    ("outer_step", -1, "outer_step must be a whole number >= 0, got -1"),
    ("at_anchor", "yes", "at_anchor must be True or False, got 'yes'"),
]


@every
@pytest.mark.parametrize(("name", "value", "message"), SETTINGS)
def test_a_setting_out_of_its_range(info, name, value, message):
    saved = copy.deepcopy(trained(info.build)[1].state_dict())
    saved["param_groups"][0][name] = value
    refused(info.build, saved, message)


@anchored
@pytest.mark.parametrize(("name", "value", "message"), OF_THE_WALK)
def test_a_setting_of_the_walk_out_of_its_range(info, name, value, message):
    saved = copy.deepcopy(trained(info.build)[1].state_dict())
    saved["param_groups"][0][name] = value
    refused(info.build, saved, message)


def test_a_count_of_steps_below_zero():
    saved = copy.deepcopy(trained(SGLD)[1].state_dict())
    saved["param_groups"][0]["outer_step"] = -5
    refused(SGLD, saved, "outer_step must be a whole number >= 0, got -5")


@anchored
@pytest.mark.parametrize("name", ["anchor", "mean"])
def test_a_tensor_of_another_shape(info, name):
    saved = copy.deepcopy(trained(info.build)[1].state_dict())
    saved["state"][1][name] = torch.zeros(3)
    refused(info.build, saved, rf"{name}.*parameter 1.*shape.*\(8,\).*\(3,\)")


@anchored
def test_the_state_of_a_model_of_another_width(info):
    wide = torch.nn.Sequential(torch.nn.Linear(4, 9), torch.nn.Tanh(), torch.nn.Linear(9, 3))
    optimizer = info.build(wide.parameters())
    train(wide, optimizer, range(4))
    refused(info.build, optimizer.state_dict(), r"parameter 0.*shape.*\(8, 4\).*\(9, 4\)")


@anchored
@pytest.mark.parametrize("name", ["anchor", "mean"])
def test_an_entry_that_is_missing(info, name):
    saved = copy.deepcopy(trained(info.build)[1].state_dict())
    if name == "mean" and saved["param_groups"][0]["averaging"] == 1:
        pytest.skip("there the mean is the walker")
    del saved["state"][2][name]
    refused(info.build, saved, rf"{name}.*parameter 2")


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (entropy_sgd, "langevin_buffer"),
        (lambda p: entropy_sgd(p, momentum=0.5), "momentum_buffer"),
        (entropy_adam, "exp_avg"),
        (lambda p: entropy_adam(p, langevin_betas=(0.9, 0.99)), "langevin_exp_avg_sq"),
    ],
)
def test_a_buffer_that_is_missing(build, name):
    saved = copy.deepcopy(trained(build)[1].state_dict())
    del saved["state"][0][name]
    refused(build, saved, rf"{name}.*parameter 0")


@every
@pytest.mark.parametrize("other", ["SGD", "Adam"])
def test_the_state_of_one_of_torchs_optimizers(info, other):
    _, optimizer = trained(lambda p: getattr(torch.optim, other)(p, lr=0.1))
    refused(info.build, optimizer.state_dict(), "state_dict")


OTHERS = [
    ("entropy-sgd", "entropy-adam"),
    ("entropy-adam", "entropy-sgd"),
    ("entropy-sgd", "local-entropy, SGD SGD"),
    ("local-entropy, SGD SGD", "entropy-sgd"),
    ("local-entropy, SGD SGD", "local-entropy, AdamW Adam"),
    ("local-entropy, AdamW Adam", "local-entropy, SGD SGD"),
    ("entropy-sgd", "sgld"),
    ("sgld", "entropy-sgd"),
]


@pytest.mark.parametrize(("saved", "loading"), OTHERS)
def test_the_state_of_another_of_ours(saved, loading):
    builds = {info.name: info.build for info in OPTIMIZERS}
    refused(builds[loading], trained(builds[saved])[1].state_dict(), "state_dict")


@every
def test_another_number_of_parameters(info):
    """As torch's own message has it."""
    narrow = mlp()[:1]
    optimizer = info.build(narrow.parameters())
    refused(info.build, optimizer.state_dict(), "parameter group")


@every
def test_what_an_older_version_did_not_save_stays_as_it_is(info):
    """A setting may be absent; what the state's meaning hangs on may not."""
    model, optimizer = trained(info.build)
    saved = copy.deepcopy(optimizer.state_dict())
    del saved["param_groups"][0]["noise"]
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["noise"] == 0.1
    train(model, optimizer, range(4, 8))


@every
@pytest.mark.parametrize("kind", ["pre", "post"])
def test_hooks_of_loading_are_heard(info, kind):
    """What a pre-hook returns is loaded, tensors and all; a post-hook comes after all is."""
    (model, optimizer), (_, other) = trained(info.build), trained(info.build)
    train(model, other, range(3))
    saved = copy.deepcopy(other.state_dict())

    def doubled(optimizer, state_dict):
        changed = copy.deepcopy(state_dict)
        for state in changed["state"].values():
            for name, value in state.items():
                if torch.is_tensor(value) and value.is_floating_point():
                    state[name] = 2 * value
        return changed

    seen = []
    if kind == "pre":
        optimizer.register_load_state_dict_pre_hook(doubled)
    else:
        optimizer.register_load_state_dict_post_hook(
            lambda o: seen.append(copy.deepcopy(o.state_dict()))
        )
    optimizer.load_state_dict(saved)
    if kind == "post":
        assert identical(seen, [saved])
        return
    assert identical(optimizer.state_dict()["state"], doubled(None, saved)["state"])


@pytest.mark.parametrize("build", [entropy_sgd, entropy_adam])
def test_states_are_matched_by_name_where_a_hook_does_so(build):
    """torch's documented hook for parameters that come in another order."""
    settings = {"noise": 0.0}
    whole = mlp()
    first = build(list(whole.named_parameters()), **settings)
    train(whole, first, range(4))
    saved = copy.deepcopy((whole.state_dict(), first.state_dict()))

    def names_matching(optimizer, state_dict):
        adapted = copy.deepcopy(optimizer.state_dict())
        for group, old in zip(adapted["param_groups"], state_dict["param_groups"], strict=True):
            group.update({k: v for k, v in old.items() if k not in ("params", "param_names")})
            numbered = dict(zip(old["param_names"], old["params"], strict=True))
            for number, name in zip(group["params"], group["param_names"], strict=True):
                adapted["state"][number] = state_dict["state"][numbered[name]]
        return adapted

    again = mlp(seed=9)
    second = build(list(again.named_parameters())[::-1], **settings)
    second.register_load_state_dict_pre_hook(names_matching)
    again.load_state_dict(saved[0])
    second.load_state_dict(saved[1])
    train(whole, first, range(4, 10))
    train(again, second, range(4, 10))
    assert same(weights(whole), weights(again))
