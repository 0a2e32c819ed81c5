"""Settings changed amid training: what they ask for begins there, what they no longer do ends."""

import copy

import pytest
import torch
from torch import nn

from tests.optim.optimizers import adamw_adam, build, entropy_adam, entropy_sgd, sgd_sgd
from tests.optim.problems import backward, close, mlp, same, train, weights
from widevalley import EntropySGD, LocalEntropy, gradient_point

BUILDS = [entropy_sgd, entropy_adam, sgd_sgd, adamw_adam]
every = pytest.mark.parametrize("make", BUILDS)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def parameter(n=4):
    return nn.Parameter(torch.zeros(n))


def walk(optimizer, params, steps, gradient=lambda p, i: torch.ones_like(p)):
    for i in range(steps):
        for p in params:
            p.grad = gradient(p, i)
        optimizer.step()


@every
@DTYPES
def test_without_averaging_the_anchor_goes_to_the_walker(make, dtype):
    model = mlp(dtype=dtype)
    optimizer = make(model.parameters(), noise=0.0)
    train(model, optimizer, range(4))
    for group in optimizer.param_groups:
        group["averaging"] = 1.0
    train(model, optimizer, range(4, 6))
    assert not any("mean" in state for state in optimizer.state.values())
    with optimizer.at_anchor():
        before = weights(model)
    train(model, optimizer, range(6, 9))
    with optimizer.at_anchor():
        assert not same(before, weights(model))
    if make is entropy_sgd:  # whose anchor goes to the mean of the walk, all of the way
        train(model, optimizer, range(9, 11))
        backward(model, 11)
        for group in optimizer.param_groups:
            group["langevin_lr"] = 0.0  # the last step stays where it is
        walker = weights(model)
        optimizer.step()
        with optimizer.at_anchor():
            assert close(weights(model), walker, 1e-6 if dtype is torch.float32 else 1e-2)


def test_a_mean_left_in_a_checkpoint_is_not_the_walk_without_averaging():
    p = parameter()
    optimizer = EntropySGD([p], langevin_steps=2, noise=0.0)
    walk(optimizer, [p], 3)
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["averaging"] = 1.0
    optimizer.load_state_dict(saved)
    walk(optimizer, [p], 1)
    with optimizer.at_anchor():
        before = p.detach().clone()
    walk(optimizer, [p], 2)
    with optimizer.at_anchor():
        assert torch.all(p != before)


@every
def test_fewer_steps_amid_a_walk_end_it_at_the_next(make):
    model = mlp()
    optimizer = make(model.parameters(), langevin_steps=20)
    train(model, optimizer, range(10))
    for group in optimizer.param_groups:
        group["langevin_steps"] = 5
    with optimizer.at_anchor():
        before = weights(model)
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer.load_state_dict(saved)
    train(model, optimizer, [10])
    with optimizer.at_anchor():
        assert not same(before, weights(model))
    first = optimizer.param_groups[0]
    assert (first["outer_step"], first["inner_step"]) == (1, 0)


def test_settings_that_do_not_go_together_are_refused_later_too():
    p = parameter()
    optimizer = build(EntropySGD, [p], noise_free_mean=True)
    walk(optimizer, [p], 1)
    optimizer.param_groups[0]["momentum_on_all"] = True
    before = p.detach().clone()
    for _ in range(2):
        with pytest.raises(ValueError, match="noise_free_mean must be False"):
            walk(optimizer, [p], 1)
        assert torch.equal(p, before)


def test_a_refused_setting_leaves_the_others_without_effect():
    p, q = parameter(), parameter()
    optimizer = EntropySGD([{"params": [p]}, {"params": [q]}], langevin_steps=5)
    walk(optimizer, [p, q], 2)
    mean = optimizer.state[p]["mean"].clone()
    optimizer.param_groups[0]["averaging"] = 1.0
    for name, value in (("averaging", 2.0), ("langevin_steps", 3)):
        before = optimizer.param_groups[1][name]
        optimizer.param_groups[1][name] = value
        with pytest.raises(ValueError, match=name):
            walk(optimizer, [p, q], 1)
        optimizer.param_groups[1][name] = before
        assert torch.equal(optimizer.state[p]["mean"], mean)
    optimizer.param_groups[0]["langevin_steps"] = 3
    with pytest.raises(ValueError, match="langevin_steps is one for all groups"):
        walk(optimizer, [p, q], 1)


@DTYPES
def test_a_step_that_is_refused_because_the_anchor_is_shown_shows_it_still(dtype):
    model = mlp(dtype=dtype)
    point = gradient_point.Smoothing(0.05)
    optimizer = entropy_sgd(model.parameters(), gradient_point=point)
    train(model, optimizer, range(7))
    optimizer.eval()
    before = weights(model)
    optimizer.param_groups[0]["noise"] = 0.04
    backward(model, 7)
    with pytest.raises(RuntimeError, match="call train"):
        optimizer.step()
    assert same(before, weights(model))


@pytest.mark.parametrize("which", [0, 1])
def test_each_group_resets_its_own_momentum(which):
    p, q = parameter(), parameter()
    groups = [{"params": [p]}, {"params": [q]}]
    groups[which]["reset_momentum"] = False
    optimizer = EntropySGD(groups, langevin_steps=2)
    walk(optimizer, [p, q], 2)
    kept = [bool(optimizer.state[t]["langevin_buffer"].any()) for t in (p, q)]
    assert kept == [which == 0, which == 1]


@pytest.mark.parametrize("which", [0, 1])
def test_each_group_resets_its_own_inner_state(which):
    p, q = parameter(), parameter()
    groups = [{"params": [p]}, {"params": [q]}]
    groups[which]["reset_inner"] = True
    optimizer = LocalEntropy(torch.optim.Adam(groups), langevin_steps=2)
    walk(optimizer, [p, q], 2)
    kept = [bool(optimizer.inner.state.get(t)) for t in (p, q)]
    assert kept == [which == 1, which == 0]


def test_a_scope_without_bound_holds_the_walker_at_its_anchor():
    """2^t leaves float32 at the 128th walk."""
    twin, theirs = parameter(), parameter()
    settings = {"langevin_steps": 2, "gamma": 1.0, "gamma_growth": 1.0}
    ours = LocalEntropy(torch.optim.SGD([twin], lr=0.1), **settings)
    entropy = EntropySGD([theirs], langevin_lr=0.1, langevin_momentum=0.0, noise=0.0, **settings)
    walk(ours, [twin], 400)
    walk(entropy, [theirs], 400)
    torch.testing.assert_close(twin, theirs)


@every
def test_a_frozen_parameter_with_a_gradient_stays(make):
    model = mlp()
    optimizer = make(model.parameters())
    frozen = next(model.parameters())
    train(model, optimizer, range(6))  # two whole walks
    frozen.requires_grad_(False)
    before = frozen.detach().clone()
    for i in range(6, 20):
        model[2].zero_grad()
        nn.functional.cross_entropy(model(torch.ones(1, 4)), torch.tensor([i % 3])).backward()
        assert frozen.grad is not None
        optimizer.step()
    assert torch.equal(frozen, before)


@every
@DTYPES
@pytest.mark.parametrize("again", ["loaded", "copied"])
def test_a_gradient_point_taken_out_leaves_nothing_behind(make, dtype, again):
    def trained():
        model = mlp(dtype=dtype)
        point = gradient_point.Smoothing(0.5, relative=False)
        optimizer = make(model.parameters(), noise=0.0, gradient_point=point, langevin_steps=2)
        train(model, optimizer, range(4))  # at the end of a walk the walker is known
        return model, optimizer

    (model, optimizer), (twin, theirs) = trained(), trained()
    if again == "loaded":
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    else:
        model, optimizer = copy.deepcopy((model, optimizer))
    for each in (optimizer, theirs):
        for group in each.param_groups:
            group["gradient_point"] = None
    train(model, optimizer, range(4, 6))
    train(twin, theirs, range(4, 6))
    assert same(weights(model), weights(twin))


def test_without_the_gradient_point_that_displaced_it_a_walk_cannot_go_on():
    model = mlp()
    point = gradient_point.Smoothing(0.5, relative=False)
    optimizer = entropy_sgd(model.parameters(), gradient_point=point)
    train(model, optimizer, range(4))
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    optimizer.param_groups[0]["gradient_point"] = None
    before = weights(model)
    for _ in range(2):
        backward(model, 4)
        with pytest.raises(ValueError, match="gradient_point must be that with which"):
            optimizer.step()
        assert same(before, weights(model))


def test_a_kept_walker_is_given_up_with_its_gradient_point():
    model = mlp()
    optimizer = entropy_sgd(model.parameters(), gradient_point=gradient_point.Rounding(4))
    train(model, optimizer, range(4))
    assert all("kept" in state for state in optimizer.state.values())
    optimizer.param_groups[0]["gradient_point"] = None
    train(model, optimizer, range(4, 6))
    assert not any("kept" in state for state in optimizer.state.values())


def test_noise_that_is_turned_off_leaves_the_mean_when_it_was_kept_free_of_it():
    def moved(make):
        p = parameter(4000)
        optimizer = make(p)
        walk(optimizer, [p], 3, lambda p, i: torch.zeros_like(p))
        optimizer.param_groups[0]["noise"] = 0.0
        walk(optimizer, [p], 3, lambda p, i: torch.zeros_like(p))
        with optimizer.at_anchor():
            return float(p.detach().abs().max())

    settings = {"langevin_steps": 6, "noise": 1.0, "gamma": 0.0, "noise_free_mean": True}
    assert moved(lambda p: build(EntropySGD, [p], **settings)) < 1e-5
    assert moved(lambda p: LocalEntropy(torch.optim.SGD([p], lr=0.1), **settings)) < 1e-5


@every
def test_a_read_out_that_is_turned_off_is_not_shown(make):
    model = mlp()
    optimizer = make(model.parameters(), readout=0.9)
    train(model, optimizer, range(8))
    for group in optimizer.param_groups:
        group["readout"] = None
    with optimizer.at_anchor():
        anchor = weights(model)
    walker = weights(model)
    with optimizer.at_average():
        assert same(weights(model), anchor)
    assert same(weights(model), walker)


@every
@DTYPES
def test_a_read_out_that_is_turned_off_while_it_is_shown_loses_nothing(make, dtype):
    model = mlp(dtype=dtype)
    optimizer = make(model.parameters(), readout=0.9)
    train(model, optimizer, range(7))
    walker = weights(model)
    with optimizer.at_anchor():
        anchor = weights(model)
    optimizer.eval()
    for group in optimizer.param_groups:
        group["readout"] = None
    backward(model, 7)
    with pytest.raises(RuntimeError, match="call train"):
        optimizer.step()
    with optimizer.at_anchor():
        assert same(weights(model), anchor)
    optimizer.train()
    assert same(weights(model), walker)


def test_a_refused_schedule_leaves_the_parameters_displaced():
    model = mlp()
    growth = [1.0]
    optimizer = entropy_sgd(
        model.parameters(),
        gradient_point=gradient_point.Smoothing(0.5, relative=False),
        gamma_growth=lambda t: growth[0],
    )
    train(model, optimizer, range(4))
    growth[0], before = -1.0, weights(model)
    backward(model, 4)
    with pytest.raises(ValueError, match="gamma_growth"):
        optimizer.step()
    assert same(before, weights(model))


@pytest.mark.parametrize("weight", [float("nan"), 5.0, -0.1])
def test_a_read_out_weight_that_is_none_is_refused_whenever_it_comes(weight):
    model = mlp()
    readout = {1: 1.0, 2: 0.5, 3: weight}
    optimizer = entropy_sgd(model.parameters(), readout=readout.__getitem__)
    train(model, optimizer, range(8))
    with optimizer.at_anchor():
        anchor = weights(model)
    with optimizer.at_average():
        average = weights(model)
    backward(model, 8)
    with pytest.raises(ValueError, match=r"readout\(3\) must be in \[0, 1\]"):
        optimizer.step()
    with optimizer.at_anchor():
        assert same(weights(model), anchor)
    with optimizer.at_average():
        assert same(weights(model), average)
