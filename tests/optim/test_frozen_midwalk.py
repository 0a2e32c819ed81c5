"""Parameters frozen amid a walk: they stay, in and out of at_anchor()."""

import copy

import pytest

from tests.optim.optimizers import ANCHORED
from tests.optim.problems import mlp, same, train, weights

anchored = pytest.mark.parametrize("info", ANCHORED, ids=str)


@anchored
@pytest.mark.parametrize("at", range(3, 7))
@pytest.mark.parametrize("after", range(4))
def test_a_parameter_frozen_amid_a_walk_stays_put_at_the_anchor(info, at, after):
    model = mlp()
    optimizer = info.build(model.parameters())
    train(model, optimizer, range(at))
    model[0].requires_grad_(False)
    frozen = weights(model[0])
    train(model, optimizer, range(at, at + after))
    with optimizer.at_anchor():
        assert same(frozen, weights(model[0]))
    assert same(frozen, weights(model[0]))


@anchored
def test_one_frozen_while_the_anchor_is_shown_stays_at_its_anchor(info):
    """A frozen parameter does not move; it walks on from its walker where it thaws."""
    model = mlp()
    optimizer = info.build(model.parameters())
    train(model, optimizer, range(4))
    walker = weights(model[2])
    with optimizer.at_anchor():
        model[0].requires_grad_(False)
        frozen = weights(model[0])
    assert same(frozen, weights(model[0]))
    assert same(walker, weights(model[2]))
    train(model, optimizer, range(4, 9))
    assert same(frozen, weights(model[0]))
    model[0].requires_grad_(True)
    train(model, optimizer, range(9, 15))
    assert not same(frozen, weights(model[0]))


@anchored
@pytest.mark.parametrize("at", [4, 6])
def test_one_that_thaws_goes_on(info, at):
    model = mlp()
    optimizer = info.build(model.parameters())
    train(model, optimizer, range(at))
    model[0].requires_grad_(False)
    frozen = weights(model[0])
    train(model, optimizer, range(at, at + 4))
    model[0].requires_grad_(True)
    train(model, optimizer, range(at + 4, at + 12))
    assert not same(frozen, weights(model[0]))
    assert all(w.isfinite().all() for w in weights(model))


@anchored
def test_a_checkpoint_with_a_frozen_parameter_goes_on_bit_for_bit(info):
    model = mlp()
    optimizer = info.build(model.parameters())
    train(model, optimizer, range(4))
    model[0].requires_grad_(False)
    train(model, optimizer, range(4, 5))
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    other = mlp(seed=9)
    other[0].requires_grad_(False)
    resumed = info.build(other.parameters())
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    for m, o in ((model, optimizer), (other, resumed)):
        train(m, o, range(5, 10))
    assert same(weights(model), weights(other))
