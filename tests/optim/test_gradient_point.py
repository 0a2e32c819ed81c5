"""The gradient beside the walker: noise made anew, added before a gradient, taken off after it."""

import copy
import io

import pytest
import torch

from tests.optim.optimizers import BUILDS, entropy_sgd
from tests.optim.problems import Quadratic, backward, close, mlp, same, train, weights
from widevalley import EntropySGD, LocalEntropy
from widevalley.gradient_point import (
    AlongMomentum,
    Extrapolation,
    Interpolation,
    Rounding,
    Smoothing,
)
from widevalley.optim._noise import noise, step_key
from widevalley.optim._part import BESIDE
from widevalley.valley.robustness import quantised

POINTS = {
    "smoothing": Smoothing(0.1),
    "momentum": AlongMomentum(0.3),
    "interpolation": Interpolation(0.5),
    "extrapolation": Extrapolation(0.1),
    "rounding": Rounding(4),
    "one's own": lambda part: part.row_means(part.anchor()).expand_as(part.anchor()).clone(),
}
every = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
everywhere = pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
STEPS = 11


def beside(params, build, point, **settings):
    return build(params, gradient_point=point, readout=0.9, **settings)


def smoothed(params, build, sigma=0.1, **settings):
    return build(params, gradient_point=Smoothing(sigma, **settings))


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("law", ["gaussian", "two-point"])
@pytest.mark.parametrize("period", [1, 3])
def test_with_sgd_it_is_randomly_perturbed_sgd(relative, law, period):
    """w <- w - lr g(w + sigma s z), s the root mean square of each row, z of the step's key."""
    sigma, lr = 0.2, 0.05
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    p = torch.nn.Parameter(start.clone())
    point = Smoothing(sigma, relative, period, law)
    inner = torch.optim.SGD([p], lr=lr)
    optimizer = LocalEntropy(inner, langevin_steps=1, averaging=1.0, gradient_point=point)
    w, y = start.clone(), start.clone()
    for k in range(STEPS):
        assert torch.allclose(p.detach(), y, rtol=0, atol=1e-12), k
        p.grad = torch.sin(3 * p.detach())
        optimizer.step()
        w = w - lr * torch.sin(3 * y)
        with optimizer.at_anchor():
            assert torch.allclose(p.detach(), w, rtol=0, atol=1e-12), k
        z = noise(w, step_key(0, 0, k + 1, 0, BESIDE), 0, law)
        s = w.square().mean(1, keepdim=True).sqrt() if relative else 1.0
        y = w + sigma * s * z if (k + 1) % period == 0 else w


def test_rounding_takes_the_gradient_where_weights_will_be_rounded_to():
    """w <- A(w, g(round(w))), as `valley.robustness` rounds, large and small."""
    model = torch.nn.Sequential(mlp(), torch.nn.Linear(3, 11_000)).double()
    twin = copy.deepcopy(model)
    ours, theirs = (torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9) for m in (model, twin))
    point = Rounding(3, start=2)
    optimizer = LocalEntropy(ours, langevin_steps=3, averaging=1.0, gradient_point=point)
    for k in range(9):
        at = quantised(twin, 3) if k >= 2 else twin
        assert close(weights(at), weights(model), 1e-12), k
        for p, q, y in zip(model.parameters(), twin.parameters(), at.parameters(), strict=True):
            p.grad = q.grad = torch.sin(3 * y.detach())
        optimizer.step()
        theirs.step()
    with optimizer.at_anchor():
        assert close(weights(twin), weights(model), 1e-12)


def test_of_a_quadratic_the_smoothed_gradient_is_the_gradient():
    """E ∇f(x + sigma z) = ∇f(x) where f is quadratic: steps of many chains average to SGD's."""
    quadratic, chains = Quadratic(3), 20_000
    p = torch.nn.Parameter(quadratic.x0.expand(chains, 3).clone())
    inner = torch.optim.SGD([p], lr=0.1)
    point = Smoothing(0.3, relative=False)
    optimizer = LocalEntropy(inner, langevin_steps=1, averaging=1.0, gradient_point=point)
    x = quadratic.x0.clone()
    for _ in range(10):
        p.grad = p.detach() @ quadratic.A - quadratic.b
        optimizer.step()
        x = x - 0.1 * quadratic.gradient(x)
    with optimizer.at_anchor():
        assert torch.allclose(p.detach().mean(0), x, rtol=0, atol=0.01)


@every
def test_without_spread_nothing_changes(build):
    one, two = mlp(), mlp()
    train(one, smoothed(one.parameters(), build, 0.0), range(STEPS))
    train(two, build(two.parameters()), range(STEPS))
    assert same(weights(one), weights(two))


@every
@everywhere
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_looking_at_the_anchor_does_not_change_training(build, point, dtype):
    one, two = mlp(dtype=dtype), mlp(dtype=dtype)
    ours, theirs = beside(one.parameters(), build, point), beside(two.parameters(), build, point)
    for i in range(STEPS):
        train(one, ours, [i])
        train(two, theirs, [i])
        shown = weights(one)
        with ours.at_anchor():
            assert not same(shown, weights(one)) or point is not POINTS["smoothing"]
        with ours.at_average():
            pass
        assert same(shown, weights(one))
    assert same(weights(one), weights(two))


@every
@everywhere
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("at", "shown"), [(1, "eval"), (3, "train"), (5, "train"), (5, "eval")])
def test_resume_is_bit_for_bit(build, point, dtype, at, shown):
    """Read-out and all."""
    whole, first, second = mlp(dtype=dtype), mlp(dtype=dtype), mlp(dtype=dtype, seed=9)
    straight = beside(whole.parameters(), build, point)
    train(whole, straight, range(STEPS))
    optimizer, resumed = (beside(m.parameters(), build, point) for m in (first, second))
    train(first, optimizer, range(at))
    getattr(optimizer, shown)()
    file = io.BytesIO()
    torch.save((first.state_dict(), optimizer.state_dict()), file)
    file.seek(0)
    model, state = torch.load(file, weights_only=True)
    second.load_state_dict(model)
    resumed.load_state_dict(state)
    resumed.train()
    train(second, resumed, range(at, STEPS))
    assert same(weights(whole), weights(second))
    with straight.at_average(), resumed.at_average():
        assert same(weights(whole), weights(second))


@every
@everywhere
def test_a_group_at_lr_zero_stays_where_it_is(build, point):
    model = mlp()
    groups = [{"params": list(model[i].parameters())} for i in (0, 2)]
    optimizer = beside(groups, build, point)
    train(model, optimizer, range(4))
    optimizer.param_groups[0]["lr"] = 0.0
    before = weights(model[0])
    train(model, optimizer, range(4, 9))
    assert same(before, weights(model[0]))


@everywhere
def test_side_by_side_small_parameters_go_where_each_goes_on_its_own(point):
    """A group of its own for each of them, beside one that is large."""
    models = [
        torch.nn.Sequential(mlp(dtype=torch.float64), torch.nn.Linear(3, 11_000)).double()
        for _ in range(2)
    ]
    models[1].load_state_dict(models[0].state_dict())
    one_each = [{"params": [p]} for p in models[1].parameters()]
    together, apart = (
        beside(params, entropy_sgd, point, noise=0.0)
        for params in (models[0].parameters(), one_each)
    )
    for model, optimizer in zip(models, (together, apart), strict=True):
        train(model, optimizer, range(STEPS))
    assert close(weights(models[0]), weights(models[1]), 1e-6)  # to which kernel and lines agree


@everywhere
def test_what_one_point_added_is_taken_off_where_another_takes_over(point):
    """Amid a walk that does not move, but for what stays of an extrapolation, here of nothing."""
    model = mlp(dtype=torch.float64)
    optimizer = beside(
        model.parameters(), entropy_sgd, point, gamma=0.0, noise=0.0, langevin_steps=99
    )
    start = weights(model)
    for later in (point, Smoothing(0.3), Interpolation(0.5), None):
        optimizer.param_groups[0]["gradient_point"] = later
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    assert close(start, weights(model), 1e-12)


@pytest.mark.parametrize("point", [p for p in POINTS.values() if not hasattr(p, "stays")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_walks_of_one_step_come_back_to_every_bit(point, dtype):
    model = mlp(dtype=dtype)
    inner = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    settings = {"langevin_steps": 1, "averaging": 1.0, "readout": 0.9}
    optimizer = LocalEntropy(inner, gradient_point=point, **settings)
    train(model, optimizer, range(5))
    inner.param_groups[0]["momentum"] = 0.0
    with optimizer.at_anchor():
        before = weights(model)
    for _ in range(50):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    with optimizer.at_anchor():
        assert same(before, weights(model))


def test_it_is_off_by_no_more_than_rounding_after_many_steps():
    """Noise comes off as it went on, but for the last bit."""
    model, twin = mlp(), mlp(dtype=torch.float64)
    twin.load_state_dict(model.state_dict())
    one = EntropySGD(model.parameters(), gradient_point=Smoothing(0.5), langevin_lr=0.0)
    start = weights(model)
    for i in range(400):
        backward(model, i % 7)
        one.step()
    with one.at_anchor():
        assert close(start, weights(model), 1e-5)


def without_momentum():
    model = mlp()
    train(model, entropy_sgd(model.parameters(), langevin_momentum=0.0,
                             gradient_point=AlongMomentum(0.1)), [0])  # fmt: skip


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Smoothing(-0.1), "sigma must be >= 0, got -0.1"),
        (lambda: Smoothing(0.1, every=0), "every must be a whole number >= 1, got 0"),
        (lambda: Rounding(1), "bits must be a whole number >= 2, got 1"),
        (lambda: Smoothing(0.1, start=-1), "start must be a whole number >= 0, got -1"),
        (lambda: Smoothing(0.1, law="cauchy"), "law must be one of gaussian, two-point"),
        (lambda: AlongMomentum(float("nan")), "rho must be a finite number, got nan"),
        (lambda: Interpolation("x"), "share must be a finite number, got 'x'"),
        (lambda: Extrapolation(None), "factor must be a finite number, got None"),
        (
            lambda: entropy_sgd(mlp().parameters(), gradient_point=Interpolation(0.5)),
            r"gradient_point Interpolation\(share=0.5\) needs a readout, got None",
        ),
        (lambda: without_momentum(), "gradient_point needs the momentum of the walk"),
        (
            lambda: entropy_sgd(mlp().parameters(), gradient_point=0.1),
            "gradient_point must be a gradient point or None, got 0.1",
        ),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
