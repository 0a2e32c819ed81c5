"""The parameters' dtype changes after construction, or differs from the checkpoint's."""

import copy

import pytest
import torch

from tests.optim.optimizers import OPTIMIZERS
from tests.optim.problems import mlp, train, weights

every = pytest.mark.parametrize("info", OPTIMIZERS, ids=str)
changes = pytest.mark.parametrize(
    ("before", "after"),
    [
        (torch.float32, torch.bfloat16),
        (torch.float32, torch.float64),
        (torch.bfloat16, torch.float32),
    ],
    ids=lambda dtype: str(dtype).removeprefix("torch."),
)


def tolerance(info, *dtypes):
    """Rounding once to bfloat16 is 2^-9 of a number; Adam makes whole steps of signs it flips."""
    if torch.bfloat16 not in dtypes:
        return 1e-5
    return 0.05 if info.widens else 0.3


def near(a, b, tolerance):
    return all(torch.allclose(x.double(), y.double(), rtol=0, atol=tolerance) for x, y in zip(a, b))


def widened(dtype, info):
    """The precision that what is kept of a parameter of this dtype has."""
    narrow = dtype in (torch.bfloat16, torch.float16)
    return torch.float32 if narrow and info.widens else dtype


@every
@changes
@pytest.mark.parametrize("at", [0, 4])
def test_a_model_converted_after_construction_trains_on(info, before, after, at):
    """As one that was not converted, but for rounding; from the middle and the end of a walk."""
    model, twin = mlp(dtype=before), mlp(dtype=before)
    ours, theirs = info.build(model.parameters()), info.build(twin.parameters())
    train(model, ours, range(at))
    train(twin, theirs, range(at))
    model.to(after)
    for i in range(at, at + 50):
        train(model, ours, [i])
        train(twin, theirs, [i])
        assert near(weights(model), weights(twin), tolerance(info, before, after)), i
    assert all(p.dtype == after for p in model.parameters())
    if info.anchored:
        for p in model.parameters():
            assert ours.state[p]["anchor"].dtype == widened(after, info)


@pytest.mark.parametrize("info", [i for i in OPTIMIZERS if i.anchored], ids=str)
@changes
def test_the_anchor_is_shown_in_the_new_dtype_and_the_walker_comes_back(info, before, after):
    model = mlp(dtype=before)
    optimizer = info.build(model.parameters())
    train(model, optimizer, range(4))
    with optimizer.at_anchor():
        anchor = weights(model)
    model.to(after)
    walker = weights(model)
    with optimizer.at_anchor():
        assert all(p.dtype == after for p in model.parameters())
        assert near(weights(model), anchor, 0.005)
    assert near(weights(model), walker, 0.005)


@pytest.mark.parametrize("info", [i for i in OPTIMIZERS if i.anchored], ids=str)
@changes
def test_a_model_converted_at_the_anchor_walks_on(info, before, after):
    model, twin = mlp(dtype=before), mlp(dtype=before)
    ours, theirs = info.build(model.parameters()), info.build(twin.parameters())
    train(model, ours, range(4))
    train(twin, theirs, range(4))
    ours.eval()
    model.to(after)
    ours.train()
    assert near(weights(model), weights(twin), 0.005)
    train(model, ours, range(4, 10))
    train(twin, theirs, range(4, 10))
    assert near(weights(model), weights(twin), tolerance(info, before, after))


@every
def test_after_a_conversion_steps_below_the_spacing_of_bfloat16_add_up(info):
    if not info.widens:
        pytest.skip("the arithmetic is that of the wrapped optimizers")
    model = torch.nn.ParameterList([torch.ones(3)])
    settings = {"noise": 0.0, "gamma": 0.0} if info.anchored else {"noise": 0.0}
    optimizer = info.build(model.parameters(), **settings)
    model.bfloat16()
    (p,) = model.parameters()
    for _ in range(60):
        p.grad = torch.full((3,), 1e-3, dtype=torch.bfloat16)
        optimizer.step()
    assert float(p.detach()[0]) < 1 - 2**-8


@every
@changes
@pytest.mark.parametrize("at", [0, 4])
def test_a_checkpoint_goes_on_beside_parameters_of_another_dtype(info, before, after, at):
    whole = mlp(dtype=before)
    theirs = info.build(whole.parameters())
    train(whole, theirs, range(at))
    saved = copy.deepcopy((whole.state_dict(), theirs.state_dict()))

    model = mlp(dtype=after, seed=9)
    ours = info.build(model.parameters())
    model.load_state_dict(saved[0])
    ours.load_state_dict(saved[1])
    if info.anchored:
        for p in model.parameters():
            assert ours.state[p]["anchor"].dtype == widened(after, info)
    for i in range(at, at + 50):
        train(model, ours, [i])
        train(whole, theirs, [i])
        assert near(weights(model), weights(whole), tolerance(info, before, after)), i
