"""The swap between walker and anchor."""

import copy
import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from tests.optim.optimizers import ANCHORED
from tests.optim.problems import backward, batch, mlp, same, train, weights
from widevalley import EntropySGD, LocalEntropy
from widevalley.gradient_point import Smoothing
from widevalley.optim._held import mean_of

anchored = pytest.mark.parametrize("info", ANCHORED, ids=str)
DTYPES = [torch.float64, torch.float32, torch.bfloat16]


@anchored
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_hundred_swaps_leave_every_bit_alone(info, dtype):
    model = mlp(dtype=dtype)
    optimizer = info.build(model.parameters())
    train(model, optimizer, range(4))
    walker, state = weights(model), str(optimizer.state_dict())
    with optimizer.at_anchor():
        anchor = weights(model)
    assert not same(walker, anchor)
    for _ in range(100):
        optimizer.eval()
        assert same(anchor, weights(model))
        optimizer.train()
        assert same(walker, weights(model))
    assert state == str(optimizer.state_dict())


@anchored
@pytest.mark.parametrize("dtype", DTYPES)
def test_looking_at_the_anchor_does_not_change_training(info, dtype):
    model, twin = mlp(dtype=dtype), mlp(dtype=dtype)
    ours, theirs = info.build(model.parameters()), info.build(twin.parameters())
    for i in range(8):
        train(model, ours, [i])
        train(twin, theirs, [i])
        with ours.at_anchor():
            pass
    assert same(weights(model), weights(twin))


@anchored
def test_the_swap_is_idempotent_and_nests(info):
    model = mlp()
    optimizer = info.build(model.parameters())
    train(model, optimizer, range(4))
    walker = weights(model)
    optimizer.train()
    assert same(walker, weights(model))
    with optimizer.at_anchor():
        anchor = weights(model)
        optimizer.eval()
        with optimizer.at_anchor():
            assert same(anchor, weights(model))
        assert same(anchor, weights(model))
    assert same(walker, weights(model))
    optimizer.train(False)
    with optimizer.at_anchor():
        pass
    assert same(anchor, weights(model)), "what was held before the block is held after it"


@anchored
def test_an_error_inside_the_block_still_swaps_back(info):
    model = mlp()
    optimizer = info.build(model.parameters())
    train(model, optimizer, range(4))
    walker = weights(model)
    with pytest.raises(KeyError), optimizer.at_anchor():
        raise KeyError
    assert same(walker, weights(model))


@anchored
def test_a_step_at_the_anchor_is_refused(info):
    model = mlp()
    optimizer = info.build(model.parameters())
    train(model, optimizer, range(4))
    optimizer.eval()
    anchor = weights(model)
    with pytest.raises(RuntimeError, match=r"hold the anchor: call train\(\)"):
        train(model, optimizer, [4])
    assert same(anchor, weights(model))


@anchored
def test_at_the_end_of_a_walk_walker_and_anchor_are_one(info):
    model = mlp()
    optimizer = info.build(model.parameters(), langevin_steps=3)
    for i in range(9):
        train(model, optimizer, [i])
        walker = weights(model)
        with optimizer.at_anchor():
            assert same(walker, weights(model)) == (i % 3 == 2)


def test_the_scope_grows_with_outer_updates_and_may_be_set_like_lr():
    model = mlp()
    optimizer = EntropySGD(model.parameters(), langevin_steps=2, gamma=0.5, gamma_growth=0.1)
    scopes = []
    for i in range(6):
        scopes.append(optimizer.scope())
        train(model, optimizer, [i])
    assert scopes == pytest.approx([0.5, 0.5, 0.55, 0.55, 0.605, 0.605])
    optimizer.param_groups[0]["gamma"] = 1.0
    assert optimizer.scope() == pytest.approx(1.1**3)


@anchored
def test_metrics_are_those_of_the_walk_and_change_nothing(info):
    model, twin = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    ours, theirs = info.build(model.parameters()), info.build(twin.parameters())
    train(model, ours, range(2))
    train(twin, theirs, range(2))
    far = torch.cat([(p - ours.state[p]["anchor"]).flatten() for p in model.parameters()])
    found = ours.metrics()
    assert found["distance"] == pytest.approx(float(far.detach().norm()), rel=1e-12)
    assert found["scope"] == ours.scope()
    assert found["temperature"] == ours.param_groups[0]["noise"] ** 2 / 2
    assert found["pseudo_gradient"] > 0
    with ours.at_anchor():
        assert ours.metrics() == found
    train(model, ours, range(2, 9))
    train(twin, theirs, range(2, 9))
    assert same(weights(model), weights(twin))


@pytest.mark.parametrize("dtype", DTYPES)
def test_metrics_leave_weights_beside_which_gradients_are_taken(dtype):
    model = mlp(dtype=dtype)
    settings = {"langevin_steps": 3, "gradient_point": Smoothing(0.3), "averaging": 1.0}
    optimizer = EntropySGD(model.parameters(), **settings)
    for i in range(7):
        train(model, optimizer, [i])
        before = weights(model)
        found = optimizer.metrics()
        assert same(before, weights(model))
        assert found["distance"] == found["pseudo_gradient"]
        assert (found["distance"] == 0) == (i % 3 == 2)


@anchored
def test_gain_and_cosine_are_those_of_successive_pseudo_gradients(info):
    """From the anchors and means that states show before and after each walk."""
    model = mlp(dtype=torch.float64)
    optimizer = info.build(model.parameters())
    steps = optimizer.param_groups[0]["langevin_steps"]
    assert "gain" not in optimizer.metrics()
    last = None
    for walk in range(3):
        anchors, newest = pseudo_gradient_of_a_walk(model, optimizer, walk, steps)
        after = flat(optimizer.state[p]["anchor"] for p in model.parameters())
        found = optimizer.metrics()
        moved = (after - anchors).norm() / newest.norm()
        assert found["gain"] == pytest.approx(float(moved), rel=1e-9)
        assert ("cosine" in found) == (last is not None)
        if last is not None:
            cosine = torch.nn.functional.cosine_similarity(newest, last, dim=0)
            assert found["cosine"] == pytest.approx(float(cosine), rel=1e-9)
        last = newest
    with optimizer.at_anchor():
        assert optimizer.metrics()["gain"] == found["gain"]
    optimizer.load_state_dict(optimizer.state_dict())
    assert "gain" not in optimizer.metrics()


@pytest.mark.parametrize(("outer_lr", "cosine"), [(0.5, 1), (1.5, 1), (3.0, -1)])
def test_an_outer_rate_that_is_too_high_turns_pseudo_gradients_around(outer_lr, cosine):
    """A step of SGD at rate .5 on x²/2 goes half of the way: twice that is the minimum."""
    x = nn.Parameter(torch.tensor([3.0, -4.0]))
    inner = torch.optim.SGD([x], lr=0.5)
    optimizer = LocalEntropy(inner, langevin_steps=1, averaging=1, outer_lr=outer_lr)
    optimizer.metrics()
    for _ in range(2):
        optimizer.zero_grad()
        (x.square().sum() / 2).backward()
        optimizer.step()
    found = optimizer.metrics()
    assert found["gain"] == pytest.approx(outer_lr)
    assert found["cosine"] == pytest.approx(cosine)


def test_metrics_of_an_optimizer_that_lost_its_parameters_amid_a_walk():
    """All frozen before the walk ends: nothing follows anything."""
    model = mlp()
    optimizer = EntropySGD(model.parameters(), langevin_steps=2)
    train(model, optimizer, [0])
    optimizer.metrics()
    for p in model.parameters():
        p.requires_grad_(False)
        p.grad = None
    optimizer.step()
    assert "gain" not in optimizer.metrics()


def flat(tensors):
    return torch.cat([t.detach().flatten().clone() for t in tensors])


def pseudo_gradient_of_a_walk(model, optimizer, walk, steps):
    """The anchors before it, and what its mean is off from them just before they move."""
    seen = {}
    move = optimizer._move_anchors

    def moving(groups):
        anchors = flat(optimizer.state[p]["anchor"] for p in model.parameters())
        seen["x"] = anchors
        seen["d"] = anchors - flat(mean_of(p, optimizer.state[p]) for p in model.parameters())
        move(groups)

    optimizer._move_anchors = moving
    train(model, optimizer, range(walk * steps, (walk + 1) * steps))
    optimizer._move_anchors = move
    return seen["x"], seen["d"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e38])
@pytest.mark.parametrize("info", ANCHORED, ids=str)
def test_a_walk_that_leaves_all_numbers_leaves_the_anchor(info, bad):
    """The step that would end it says which parameter, again and again; the anchor is as it was."""
    model = mlp()
    optimizer = info.build(model.parameters())
    steps = optimizer.param_groups[0]["langevin_steps"]
    train(model, optimizer, range(steps))
    with optimizer.at_anchor():
        before = weights(model)
    said = []
    for i in range(steps):
        inputs, targets = batch(i)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        if i == 0:
            next(model.parameters()).grad.view(-1)[0] = bad
        try:
            optimizer.step()
        except FloatingPointError as error:
            said.append(str(error))
    if not said:  # Adam divides a huge gradient by its own size
        assert math.isfinite(bad)
        return
    assert "parameter 0 of group 0, of shape" in said[0]
    with optimizer.at_anchor():
        assert same(weights(model), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("inside", [True, False])
def test_a_model_saved_at_the_anchor_beside_a_state_amid_a_walk_is_told(dtype, inside):
    def made():
        model = mlp(dtype=dtype)
        return model, EntropySGD(model.parameters(), langevin_steps=5)

    model, optimizer = made()
    train(model, optimizer, range(3))
    with optimizer.at_anchor():
        saved = copy.deepcopy(model.state_dict())
        state = copy.deepcopy(optimizer.state_dict()) if inside else None
    state = state or copy.deepcopy(optimizer.state_dict())
    fresh, other = made()
    fresh.load_state_dict(saved)
    other.load_state_dict(state)
    other.train()
    backward(fresh, 3)
    told = not inside and dtype is torch.float32  # low precision keeps its walker in the state
    with pytest.warns(match="the parameters hold the anchor") if told else nullcontext():
        other.step()
    train(fresh, other, range(4, 12))


def test_a_group_that_does_not_move_is_no_model_at_its_anchor(recwarn):
    p, q = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    optimizer = EntropySGD([{"params": [p]}, {"params": [q]}], langevin_steps=5, noise=0.0)
    for _ in range(4):
        p.grad, q.grad = torch.ones(3), torch.zeros(3)
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        optimizer.step()
    assert not recwarn.list
