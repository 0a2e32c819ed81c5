"""Checkpoints: bit for bit from every inner index, by every road."""

import copy
import io
import pickle

import pytest
import torch

from tests.optim.optimizers import ANCHORED, OPTIMIZERS
from tests.optim.problems import mlp, same, train, weights
from widevalley import EntropySGD, LocalEntropy, scoping

every = pytest.mark.parametrize("info", OPTIMIZERS, ids=str)
STEPS = 10


def through_a_file(*objects):
    """Save and load without executing code."""
    file = io.BytesIO()
    torch.save(objects, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("at", range(5))
def test_resume_is_bit_for_bit_from_every_inner_index(info, dtype, at):
    whole = mlp(dtype=dtype)
    train(whole, info.build(whole.parameters()), range(STEPS))

    first = mlp(dtype=dtype)
    optimizer = info.build(first.parameters())
    train(first, optimizer, range(at))
    saved_model, saved = through_a_file(first.state_dict(), optimizer.state_dict())

    second = mlp(dtype=dtype, seed=9)
    resumed = info.build(second.parameters())
    second.load_state_dict(saved_model)
    resumed.load_state_dict(saved)
    train(second, resumed, range(at, STEPS))
    assert same(weights(whole), weights(second))


@pytest.mark.parametrize("info", ANCHORED, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resume_from_a_checkpoint_saved_at_the_anchor(info, dtype):
    whole = mlp(dtype=dtype)
    train(whole, info.build(whole.parameters()), range(STEPS))

    first = mlp(dtype=dtype)
    optimizer = info.build(first.parameters())
    train(first, optimizer, range(4))
    with optimizer.at_anchor():
        saved_model, saved = through_a_file(first.state_dict(), optimizer.state_dict())

    second = mlp(dtype=dtype, seed=9)
    resumed = info.build(second.parameters())
    second.load_state_dict(saved_model)
    resumed.load_state_dict(saved)
    resumed.train()
    train(second, resumed, range(4, STEPS))
    assert same(weights(whole), weights(second))


@every
def test_loading_shares_no_tensor_with_its_source(info):
    first, second = mlp(), mlp()
    ours, theirs = info.build(first.parameters()), info.build(second.parameters())
    train(first, ours, range(4))
    second.load_state_dict(first.state_dict())
    theirs.load_state_dict(ours.state_dict())
    before = str(ours.state_dict())
    train(second, theirs, range(4, 8))
    assert str(ours.state_dict()) == before


@every
def test_a_state_dict_round_trip_in_a_constructor_changes_nothing(info):
    """As accelerate does, before the first step."""
    model, twin = mlp(), mlp()
    ours, theirs = info.build(model.parameters()), info.build(twin.parameters())
    ours.load_state_dict(ours.state_dict())
    train(model, ours, range(7))
    train(twin, theirs, range(7))
    assert same(weights(model), weights(twin))


@every
@pytest.mark.parametrize("road", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_go_on_alike_and_apart(info, road):
    model = mlp()
    optimizer = info.build(model.parameters())
    train(model, optimizer, range(4))
    other_model, other = road((model, optimizer))
    train(other_model, other, range(4, 8))
    assert not same(weights(model), weights(other_model))
    train(model, optimizer, range(4, 8))
    assert same(weights(model), weights(other_model))


@pytest.mark.parametrize("info", ANCHORED, ids=str)
def test_state_is_there_before_the_first_step(info):
    model = mlp()
    optimizer = info.build(model.parameters())
    before = {k: sorted(v) for k, v in optimizer.state_dict()["state"].items()}
    assert set(before) == {0, 1, 2, 3}
    train(model, optimizer, range(4))
    after = {k: sorted(v) for k, v in optimizer.state_dict()["state"].items()}
    tensors = [k for k, v in optimizer.state_dict()["state"][0].items() if torch.is_tensor(v)]
    assert set(tensors) <= set(before[0])
    assert set(before) == set(after)


def test_the_bytes_a_parameter_costs():
    """anchor and mean, and the walk's momentum where there is one: 8 and 12 bytes in fp32."""
    p = torch.nn.Parameter(torch.zeros(1000))

    def cost(**settings):
        state = EntropySGD([p], **settings).state[p].values()
        return sum(v.nbytes for v in state if torch.is_tensor(v)) / p.numel()

    assert cost(langevin_momentum=0.0) == 8
    assert cost() == 12
    assert cost(momentum=0.9) == 16


def test_a_schedule_is_left_out_of_the_checkpoint_and_kept_by_the_optimizer():
    model = mlp()
    growth = scoping.Linear(0.5)
    optimizer = EntropySGD(model.parameters(), langevin_steps=2, gamma=1.0, gamma_growth=growth)
    train(model, optimizer, range(4))
    (saved,) = through_a_file(optimizer.state_dict())
    assert saved["param_groups"][0]["gamma_growth"] == "a function"
    other = EntropySGD(mlp().parameters(), langevin_steps=2, gamma_growth=growth)
    other.load_state_dict(saved)
    assert other.scope() == optimizer.scope() == 2.0


def test_local_entropy_refuses_a_state_dict_of_another_kind():
    model = mlp()
    params = list(model.parameters())
    sgd = torch.optim.SGD(params, lr=0.1)
    optimizer = LocalEntropy(torch.optim.SGD(params, lr=0.1), torch.optim.SGD(params, lr=1.0))
    before = str(optimizer.state_dict())
    with pytest.raises(ValueError, match="must hold 'inner_step' .* inner's goes to inner.load"):
        optimizer.load_state_dict(sgd.state_dict())
    other = LocalEntropy(torch.optim.SGD(params, lr=0.1)).state_dict()
    with pytest.raises(ValueError, match="state_dict must hold 'inner'"):
        optimizer.load_state_dict(other)
    assert str(optimizer.state_dict()) == before


def test_schedulers_still_steer_local_entropy_after_a_load():
    model = mlp()
    params = list(model.parameters())
    optimizer = LocalEntropy(torch.optim.SGD(params, lr=0.1), torch.optim.SGD(params, lr=1.0))
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.param_groups[0]["lr"] = 0.25
    assert optimizer.outer.param_groups[0]["lr"] == 0.25
