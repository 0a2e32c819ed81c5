"""Which optimizers and schedulers LocalEntropy takes, and what it says to the others."""

import pytest
import torch
from torch import nn, optim
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from tests.optim.optimizers import entropy_adam, entropy_sgd
from tests.optim.problems import Quadratic, backward, mlp, same, train, weights
from widevalley import LocalEntropy

OUTER = {
    "SGD": lambda p: optim.SGD(p, lr=0.8, momentum=0.5, nesterov=True),
    "Adam": lambda p: optim.Adam(p, lr=0.05),
    "AdamW": lambda p: optim.AdamW(p, lr=0.05),
    "NAdam": lambda p: optim.NAdam(p, lr=0.05),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.05),
    "Rprop": lambda p: optim.Rprop(p, lr=0.05),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.05),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.05),
}


@pytest.mark.parametrize("outer", OUTER)
def test_the_anchor_moves_as_the_outer_optimizer_would_by_the_pseudo_gradient(outer):
    """With walks of one step of SGD and no pull that is the rate times the gradient."""
    quadratic = Quadratic()
    p, q = (nn.Parameter(quadratic.x0.clone()[None]) for _ in range(2))
    settings = {"langevin_steps": 1, "gamma": 0.0, "noise": 0.0, "averaging": 1.0}
    ours = LocalEntropy(optim.SGD([p], lr=0.1), OUTER[outer]([p]), **settings)
    theirs = OUTER[outer]([q])
    for _ in range(12):
        p.grad = quadratic.gradient(p.detach()[0])[None]
        q.grad = 0.1 * quadratic.gradient(q.detach()[0])[None]
        ours.step()
        theirs.step()
        torch.testing.assert_close(p, q, rtol=0, atol=1e-8)


def sgd(p):
    return optim.SGD(p, lr=0.1)


def lbfgs(p):
    return optim.LBFGS(p, lr=0.1)


class Closured(optim.SGD):
    """One that cannot step without a closure, as LBFGS."""

    def step(self, closure):
        return super().step(closure)


@pytest.mark.parametrize("needy", [lbfgs, lambda p: Closured(p, lr=0.1)], ids=["LBFGS", "another"])
@pytest.mark.parametrize("where", ["inner", "outer"])
def test_an_optimizer_that_needs_a_closure_is_refused_at_once(needy, where):
    params = list(mlp().parameters())
    pair = {"inner": sgd, "outer": sgd} | {where: needy}
    with pytest.raises(ValueError, match=f"{where} must .*without a closure.*(LBFGS|Closured)"):
        LocalEntropy(*(build(params) for build in pair.values()))


def local(params, outer):
    params = list(params)
    settings = {"langevin_steps": 3, "noise": 0.0}
    return LocalEntropy(optim.SGD(params, lr=0.1), outer(params), **settings)


def one_cycle(optimizer, steps):
    return OneCycleLR(optimizer, max_lr=0.5, total_steps=steps + 1)


def cyclic(optimizer, steps):
    return CyclicLR(optimizer, base_lr=0.1, max_lr=0.5, step_size_up=steps // 3)


CYCLED = {
    "EntropySGD": (
        lambda p: entropy_sgd(p, momentum=0.5),
        lambda p: optim.SGD(p, lr=1.0, momentum=0.5),
    ),
    "EntropySGD, no momentum": (entropy_sgd, lambda p: optim.SGD(p, lr=1.0, momentum=0.5)),
    "EntropyAdam": (entropy_adam, lambda p: optim.Adam(p, lr=0.1)),
    "LocalEntropy, SGD": (
        lambda p: local(p, lambda q: optim.SGD(q, lr=1.0, momentum=0.5)),
        lambda p: optim.SGD(p, lr=1.0, momentum=0.5),
    ),
    "LocalEntropy, Adam": (
        lambda p: local(p, lambda q: optim.Adam(q, lr=0.1)),
        lambda p: optim.Adam(p, lr=0.1),
    ),
}


@pytest.mark.parametrize("name", CYCLED)
@pytest.mark.parametrize("schedule", [one_cycle, cyclic])
@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_a_scheduler_that_cycles_the_momentum_cycles_the_outer_one(name, schedule):
    """By the numbers that it gives torch's own optimizer."""
    build, reference = CYCLED[name]
    model, twin = mlp(), mlp()
    ours, theirs = build(model.parameters()), reference(twin.parameters())
    steps = 12
    schedules = schedule(ours, steps), schedule(theirs, steps)
    key = "betas" if "betas" in theirs.param_groups[0] else "momentum"
    start = weights(model)
    for i in range(steps):
        train(model, ours, [i])
        theirs.step()
        for scheduler in schedules:
            scheduler.step()
        for setting in ("lr", key):
            assert ours.param_groups[0][setting] == theirs.param_groups[0][setting]
    assert not same(start, weights(model))
    assert all(w.isfinite().all() for w in weights(model))


def test_a_momentum_that_is_cycled_moves_the_anchor_with_it():
    """EntropySGD and LocalEntropy of SGD and SGD are one method, under a scheduler too."""

    def run(build):
        model = mlp(dtype=torch.float64)
        optimizer = build(model.parameters())
        scheduler = one_cycle(optimizer, 12)
        for i in range(12):
            backward(model, i)
            optimizer.step()
            scheduler.step()
        return weights(model)

    common = {"langevin_steps": 3, "noise": 0.0, "gamma": 0.5}

    def ours(p):
        kw = {"momentum": 0.5, "nesterov": False, "langevin_momentum": 0.0}
        return entropy_sgd(p, **kw, **common)

    def pair(p):
        p = list(p)
        return LocalEntropy(optim.SGD(p, lr=0.1), optim.SGD(p, lr=1.0, momentum=0.5), **common)

    for a, b in zip(run(ours), run(pair), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
