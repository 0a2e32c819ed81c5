"""Arguments as users give them: every form that torch takes, and a clear word for the others."""

import copy

import pytest
import torch
from torch import nn

from tests.optim.optimizers import adamw_adam, entropy_sgd, sgd_sgd
from tests.optim.problems import backward, mlp, same, train, weights
from widevalley import SGLD, Conventions, EntropySGD, LocalEntropy, gradient_point, readout


def adamw(params, **settings):
    return LocalEntropy(torch.optim.AdamW(params, lr=1e-2), **{"langevin_steps": 3, **settings})


@pytest.mark.parametrize("make", [entropy_sgd, adamw, sgd_sgd])
@pytest.mark.parametrize("given", [lambda m: m.parameters(), list, lambda m: m.weight])
def test_a_group_is_added_from_whatever_torch_takes(make, given):
    model = mlp()
    optimizer = make(model[0].parameters())
    params = given(model[2]) if given is not list else list(model[2].parameters())
    expected = [params] if isinstance(params, torch.Tensor) else list(given_again(model, given))
    optimizer.add_param_group({"params": params})
    for each in (optimizer, *(o for _, o in getattr(optimizer, "_both", list)())):
        assert [id(p) for p in each.param_groups[1]["params"]] == [id(p) for p in expected]
    train(model, optimizer, range(7))


def given_again(model, given):
    return model[2].parameters() if given is list else given(model[2])


@pytest.mark.parametrize("make", [entropy_sgd, adamw])
def test_a_set_has_no_order(make):
    model = mlp()
    optimizer = make(model[0].parameters())
    with pytest.raises(TypeError, match="in an order that runs share, not in a set"):
        optimizer.add_param_group({"params": set(model[2].parameters())})
    assert len(optimizer.param_groups) == 1


def test_inner_is_not_one_with_walks_of_its_own():
    model = mlp()
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer = LocalEntropy(inner, langevin_steps=20)
    train(model, optimizer, range(3))
    with pytest.raises(ValueError, match="inner must not be in another LocalEntropy, got SGD"):
        LocalEntropy(inner, langevin_steps=5, gamma=0.5)
    with pytest.raises(ValueError, match="inner must be without walks of its own, got EntropySGD"):
        LocalEntropy(EntropySGD(model.parameters()), langevin_steps=4)
    with pytest.raises(ValueError, match="inner must be without walks of its own, got SGLD"):
        LocalEntropy(SGLD(model.parameters(), noise=0.01), langevin_steps=4)
    assert optimizer.param_groups[0]["langevin_steps"] == 20
    with pytest.raises(ValueError, match="outer must not be in another LocalEntropy, got SGD"):
        LocalEntropy(torch.optim.SGD(model.parameters(), lr=0.1), inner)


def test_an_inner_optimizer_that_was_loaded_from_within_another_is_a_fresh_one():
    model = mlp()
    optimizer = adamw(model.parameters(), gamma=0.5)
    train(model, optimizer, range(4))
    inner = torch.optim.AdamW(model.parameters(), lr=1e-3)
    inner.load_state_dict(copy.deepcopy(optimizer.inner.state_dict()))
    again = LocalEntropy(inner, langevin_steps=7)
    group = again.param_groups[0]
    assert (group["langevin_steps"], group["gamma"], group["inner_step"]) == (7, 0.0, 0)
    assert group["lr"] == 1e-2
    train(model, again, range(8))


@pytest.mark.parametrize("outer", [False, True])
def test_an_inner_optimizer_that_loads_by_itself_stays_inside(outer):
    model = mlp()
    plain = torch.optim.AdamW(model.parameters(), lr=5e-2)
    train(model, plain, range(3))
    around = torch.optim.SGD(model.parameters(), lr=0.7) if outer else None
    inner = torch.optim.AdamW(model.parameters(), lr=1e-2)
    optimizer = LocalEntropy(inner, around, langevin_steps=3)
    inner.load_state_dict(copy.deepcopy(plain.state_dict()))
    assert inner.param_groups[0]["lr"] == 5e-2
    assert (optimizer.param_groups[0] is inner.param_groups[0]) != outer
    assert float(next(iter(inner.state.values()))["step"]) == 3
    if not outer:
        optimizer.param_groups[0]["lr"] = 0.0
        before = weights(model)
        train(model, optimizer, range(3, 6))
        assert same(before, weights(model))


def test_a_refused_group_is_added_nowhere():
    model = mlp()
    optimizer = adamw(model[0].parameters())
    for _ in range(2):
        with pytest.raises(ValueError, match="langevin_steps is one for all groups"):
            optimizer.add_param_group({"params": model[2].parameters(), "langevin_steps": 7})
        assert len(optimizer.param_groups) == len(optimizer.inner.param_groups) == 1


def test_a_setting_that_inner_has_too_is_no_longer_one_of_two():
    class Scoped(torch.optim.SGD):
        def __init__(self, params):
            super().__init__(params, lr=0.1)
            self.defaults["gamma"] = 1e-3  # as AdaBound's

    inner = Scoped(mlp().parameters())
    with pytest.raises(ValueError, match="inner must not have settings that are ours, got gamma"):
        LocalEntropy(inner, langevin_steps=4)


def test_what_is_refused_can_be_tried_again():
    model = mlp()
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [set(group) for group in inner.param_groups]
    with pytest.raises(ValueError, match="noise_free_mean|averaging"):
        LocalEntropy(inner, langevin_steps=7, averaging=2.0)
    taken = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "gamma": -1.0}]
    groups = torch.optim.SGD(taken, lr=0.1)
    with pytest.raises(ValueError, match="gamma must be"):
        LocalEntropy(groups, langevin_steps=7)
    assert [set(group) for group in inner.param_groups] == before
    assert "langevin_steps" not in groups.param_groups[0]
    groups.param_groups[1]["gamma"] = 0.5
    assert LocalEntropy(groups, langevin_steps=3).param_groups[0]["langevin_steps"] == 3


def test_several_inner_optimizers_are_refused_in_a_few_words():
    model = mlp()
    parts = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (model[0], model[2])]
    message = "inner must be one torch optimizer, got 2: wrap each of them, with a worker of its"
    with pytest.raises(ValueError, match=message):
        LocalEntropy(parts)


def test_conventions_may_differ_between_groups():
    model = mlp()
    groups = [
        {"params": model[0].parameters()},
        {"params": model[2].parameters(), "conventions": Conventions(noise_free_mean=True)},
    ]
    optimizer = EntropySGD(groups)
    assert [group["noise_free_mean"] for group in optimizer.param_groups] == [False, True]


@pytest.mark.parametrize("given", [None, {"noise_free_mean": True}, Conventions, readout.EMA(0.9)])
def test_conventions_are_conventions(given):
    with pytest.raises(ValueError, match=r"conventions must be a widevalley\.Conventions, got"):
        EntropySGD(mlp().parameters(), conventions=given)
    with pytest.raises(ValueError, match=r"conventions must be a widevalley\.Conventions, got"):
        EntropySGD([{"params": mlp().parameters(), "conventions": given}])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gradient_point", gradient_point.Smoothing),
        ("noise_law", ["gaussian"]),
        ("momentum", None),
        ("readout", readout.Weighted(lambda k: k - 1.0)),
    ],
)
def test_what_is_no_setting_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be|the sum of weights to 1 must be > 0"):
        EntropySGD(mlp().parameters(), **{name: value})
    model = mlp()
    optimizer = EntropySGD(model.parameters())
    optimizer.param_groups[0][name] = value
    before = weights(model)
    backward(model, 0)
    with pytest.raises(ValueError, match=f"{name} must be|the sum of weights to 1 must be > 0"):
        optimizer.step()
    assert same(before, weights(model))


@pytest.mark.parametrize(
    "make",
    [
        lambda p, **more: entropy_sgd(p, langevin_momentum=0.0, **more),
        lambda p, **more: LocalEntropy(torch.optim.SGD(p, lr=0.1), noise=0.1, **more),
    ],
)
def test_a_momentum_that_is_not_there_is_missed_before_anything_moves(make):
    model = mlp()
    optimizer = make(model.parameters(), gradient_point=gradient_point.AlongMomentum(0.1))
    before = weights(model)
    for _ in range(2):
        backward(model, 0)
        with pytest.raises(ValueError, match="gradient_point needs the momentum of the walk"):
            optimizer.step()
        assert same(before, weights(model))


@pytest.mark.parametrize("make", [entropy_sgd, adamw, adamw_adam])
def test_a_parameter_that_is_frozen_from_the_start_may_thaw(make):
    model = mlp()
    model[0].requires_grad_(False)
    optimizer = make(model.parameters(), gradient_point=gradient_point.AlongMomentum(0.1))
    train(model, optimizer, range(4))
    optimizer.metrics()
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    model[0].requires_grad_(True)
    train(model, optimizer, range(4, 12))
    assert optimizer.state[model[0].weight]["initialized"]


def test_complex_numbers_are_smoothed_by_the_size_of_the_whole():
    def displaced(values):
        p = nn.Parameter(values.clone())
        point = gradient_point.Smoothing(0.5)
        optimizer = entropy_sgd([p], noise=0.0, gradient_point=point)
        p.grad = torch.zeros_like(p)
        optimizer.step()
        with optimizer.at_anchor():
            anchor = p.detach().clone()
        return p.detach() - anchor

    one = torch.zeros(4096)
    one[0] = 64.0
    whole = displaced(one)
    pairs = displaced(torch.complex(one, torch.zeros_like(one)))
    assert float(whole.std()) == pytest.approx(0.5, rel=0.1)
    assert int((torch.view_as_real(pairs) != 0).sum()) == 2 * 4096
    # Of as many numbers again the root mean square is smaller by the root of 2.
    assert float(torch.view_as_real(pairs).std()) == pytest.approx(0.5 / 2**0.5, rel=0.1)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_look_at_the_anchor_keeps_every_bit_of_low_precision(relative, frozen):
    params = [nn.Parameter(torch.randn(60, 60).bfloat16()) for _ in range(4)]
    point = gradient_point.Smoothing(0.5, relative=relative)
    optimizer = entropy_sgd(params, gradient_point=point)
    for step in range(5):
        for p in params:
            p.grad = torch.randn_like(p)
        if frozen and step == 3:
            params[1].grad = None
        optimizer.step()
    before = [p.detach().clone() for p in params]
    with optimizer.at_anchor():
        pass
    assert same(before, [p.detach() for p in params])


def test_a_walk_that_has_left_all_numbers_sets_no_scope():
    p = nn.Parameter(torch.zeros(3))
    optimizer = EntropySGD([p], langevin_steps=5)
    p.grad = torch.full_like(p, float("nan"))
    optimizer.step()
    with pytest.raises(ValueError, match=r"\|x' - x\|² must be > 0, got nan"):
        optimizer.automatic_scope(1.0)
    assert optimizer.param_groups[0]["gamma"] == 1e-4
