"""reset_inner: every walk starts with an inner optimizer that is as good as new."""

import pytest
import torch
from torch import nn, optim

from tests.optim.problems import Quadratic
from widevalley import LocalEntropy

L, WALKS = 4, 5
INNER = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "SGD, momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "SGD, dampening": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    "Adam": lambda p: optim.Adam(p, lr=0.05),
    "AdamW, amsgrad": lambda p: optim.AdamW(p, lr=0.05, amsgrad=True),
    "NAdam": lambda p: optim.NAdam(p, lr=0.05),
    "RAdam": lambda p: optim.RAdam(p, lr=0.05),
    "ASGD": lambda p: optim.ASGD(p, lr=0.05),
    "Rprop": lambda p: optim.Rprop(p, lr=0.05),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.1),
    "Adadelta": lambda p: optim.Adadelta(p, lr=1.0),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.05, centered=True, momentum=0.5),
    "Adamax": lambda p: optim.Adamax(p, lr=0.05),
}
every_inner = pytest.mark.parametrize("inner", INNER)


def wrapped(p, build, *, reset):
    """A walk that pulls and averages nothing, whose anchor takes the walker's last place."""
    outer = optim.SGD([p], lr=1.0)
    settings = {"langevin_steps": L, "gamma": 0.0, "noise": 0.0, "averaging": 1.0}
    return LocalEntropy(build([p]), outer, reset_inner=reset, **settings)


def step(optimizer, p, quadratic):
    p.grad = quadratic.gradient(p.detach())
    optimizer.step()


def compare(build, *, reset, change=None):
    """Against the optimizer itself, a new one for every walk where `reset` is set."""
    quadratic = Quadratic()
    p, q = (nn.Parameter(quadratic.x0.clone()) for _ in range(2))
    ours, theirs = wrapped(p, build, reset=reset), build([q])
    for walk in range(WALKS):
        if reset:
            theirs = build([q])
        if change and walk >= 2:
            change(ours.inner)
            change(theirs)
        for _ in range(L):
            step(ours, p, quadratic)
            step(theirs, q, quadratic)
            torch.testing.assert_close(p, q, rtol=0, atol=1e-12)


@every_inner
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "kept"])
def test_the_walks_are_those_of_the_optimizer_itself(inner, reset):
    compare(INNER[inner], reset=reset)


@every_inner
def test_a_rate_changed_meanwhile_is_kept(inner):
    def slower(optimizer):
        optimizer.param_groups[0]["lr"] = 0.02

    compare(INNER[inner], reset=True, change=slower)


@pytest.mark.parametrize("name", ["SGDScheduleFree", "AdamWScheduleFree"])
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "kept"])
def test_counters_in_the_groups_start_anew_too(name, reset):
    """schedule_free counts steps and adds up weights there."""
    schedulefree = pytest.importorskip("schedulefree", reason="needs schedulefree")

    def build(params):
        made = getattr(schedulefree, name)(params, lr=0.1, warmup_steps=2)
        made.train()
        return made

    compare(build, reset=reset)


@pytest.mark.parametrize("inner", [i for i in INNER if i not in ("AdamW, amsgrad", "ASGD")])
def test_at_a_gradient_of_zero_a_walk_begun_anew_moves_nothing(inner):
    """But for a decay of the weights."""
    quadratic = Quadratic()
    p = nn.Parameter(quadratic.x0.clone())
    optimizer = wrapped(p, INNER[inner], reset=True)
    for _ in range(L):
        step(optimizer, p, quadratic)
    before = p.detach().clone()
    for _ in range(L):
        p.grad = torch.zeros_like(p)
        optimizer.step()
    torch.testing.assert_close(p.detach(), before, rtol=0, atol=1e-12)


@every_inner
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "kept"])
@pytest.mark.parametrize("at", range(L + 2))
def test_resume_is_bit_for_bit(inner, reset, at):
    quadratic = Quadratic()
    p = nn.Parameter(quadratic.x0.clone())
    ours = wrapped(p, INNER[inner], reset=reset)
    for _ in range(at):
        step(ours, p, quadratic)
    q = nn.Parameter(p.detach().clone())
    theirs = wrapped(q, INNER[inner], reset=reset)
    theirs.load_state_dict(ours.state_dict())
    for _ in range(2 * L):
        step(ours, p, quadratic)
        step(theirs, q, quadratic)
    assert torch.equal(p, q)
