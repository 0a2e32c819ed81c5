"""The gradient beside the walker: noise made anew, added before a gradient, taken off after it."""

import io

import pytest
import torch

from tests.optim.optimizers import BUILDS, entropy_sgd
from tests.optim.problems import Quadratic, backward, close, mlp, same, train, weights
from widevalley import EntropySGD, LocalEntropy
from widevalley.gradient_point import Smoothing
from widevalley.optim._noise import noise, step_key
from widevalley.optim.gradient_point import BESIDE

every = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
STEPS = 11


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
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_looking_at_the_anchor_does_not_change_training(build, dtype):
    one, two = mlp(dtype=dtype), mlp(dtype=dtype)
    ours, theirs = smoothed(one.parameters(), build), smoothed(two.parameters(), build)
    for i in range(STEPS):
        train(one, ours, [i])
        train(two, theirs, [i])
        beside = weights(one)
        with ours.at_anchor():
            assert not same(beside, weights(one))
        assert same(beside, weights(one))
    assert same(weights(one), weights(two))


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("at", [1, 3, 5])
@pytest.mark.parametrize("shown", ["train", "eval"])
def test_resume_is_bit_for_bit(build, dtype, at, shown):
    whole, first, second = mlp(dtype=dtype), mlp(dtype=dtype), mlp(dtype=dtype, seed=9)
    train(whole, smoothed(whole.parameters(), build), range(STEPS))
    optimizer, resumed = (smoothed(m.parameters(), build) for m in (first, second))
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


@every
def test_a_group_at_lr_zero_stays_where_it_is(build):
    model = mlp()
    optimizer = build(
        [{"params": list(model[i].parameters())} for i in (0, 2)], gradient_point=Smoothing(0.1)
    )
    train(model, optimizer, range(4))
    optimizer.param_groups[0]["lr"] = 0.0
    before = weights(model[0])
    train(model, optimizer, range(4, 9))
    assert same(before, weights(model[0]))


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


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Smoothing(-0.1), "sigma must be >= 0, got -0.1"),
        (lambda: Smoothing(0.1, every=0), "every must be a whole number >= 1, got 0"),
        (lambda: Smoothing(0.1, start=-1), "start must be a whole number >= 0, got -1"),
        (lambda: Smoothing(0.1, law="cauchy"), "law must be one of gaussian, two-point"),
        (
            lambda: entropy_sgd(mlp().parameters(), gradient_point=0.1),
            "gradient_point must be a gradient point or None, got 0.1",
        ),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
