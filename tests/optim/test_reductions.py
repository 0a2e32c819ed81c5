"""What the optimizers become in special cases, and what they equal."""

import copy

import pytest
import torch

from tests.optim.optimizers import build, local_entropy
from tests.optim.problems import batch, close, mlp, same, train, weights
from widevalley import SGLD, EntropyAdam, EntropySGD, LocalEntropy

PLAIN = {"langevin_momentum": 0.0, "noise": 0.0, "gamma": 0.0}


@pytest.mark.parametrize("maximize", [False, True])
def test_is_sgd_bit_for_bit_with_one_step_a_walk(maximize):
    ours, theirs = mlp(), mlp()
    optimizer = EntropySGD(
        ours.parameters(), 1.0, langevin_steps=1, averaging=1.0, langevin_lr=0.1,
        maximize=maximize, **PLAIN,
    )  # fmt: skip
    train(ours, optimizer, range(20))
    train(theirs, torch.optim.SGD(theirs.parameters(), lr=0.1, maximize=maximize), range(20))
    assert same(weights(ours), weights(theirs))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_walk_is_torchs_sgd(momentum, nesterov, weight_decay):
    """With a walk that never ends, gamma = 0 and no noise."""
    ours, theirs = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    walk = build(
        EntropySGD, ours.parameters(), langevin_steps=1000, langevin_lr=0.1,
        langevin_momentum=momentum,
        langevin_nesterov=nesterov, weight_decay=weight_decay, gamma=0.0, noise=0.0,
    )  # fmt: skip
    sgd = torch.optim.SGD(
        theirs.parameters(), lr=0.1, momentum=momentum, weight_decay=weight_decay,
        nesterov=nesterov and momentum > 0,
    )  # fmt: skip
    train(ours, walk, range(20))
    train(theirs, sgd, range(20))
    assert close(weights(ours), weights(theirs), 1e-13)


def test_the_anchor_moves_like_torchs_sgd():
    """With one-step walks at rate 1, the pseudo-gradient is the gradient."""
    ours, theirs = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    settings = {"langevin_steps": 1, "averaging": 1.0, "langevin_lr": 1.0, **PLAIN}
    train(ours, EntropySGD(ours.parameters(), 0.1, momentum=0.9, **settings), range(20))
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    train(theirs, sgd, range(20))
    assert close(weights(ours), weights(theirs), 1e-12)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
def test_the_anchor_moves_like_torchs_adam(betas):
    ours, theirs = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    settings = {"langevin_steps": 1, "averaging": 1.0, "langevin_lr": 1.0, **PLAIN}
    train(ours, EntropyAdam(ours.parameters(), 0.01, betas=betas, **settings), range(20))
    train(theirs, torch.optim.Adam(theirs.parameters(), lr=0.01, betas=betas), range(20))
    assert close(weights(ours), weights(theirs), 1e-9)


def test_the_walk_moves_like_torchs_adam():
    ours, theirs = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    walk = EntropyAdam(
        ours.parameters(), langevin_steps=1000, langevin_lr=0.01, langevin_betas=(0.9, 0.99),
        weight_decay=0.1, gamma=0.0, noise=0.0,
    )  # fmt: skip
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    train(ours, walk, range(20))
    train(theirs, adam, range(20))
    assert close(weights(ours), weights(theirs), 1e-11)


def lookahead(model, steps, *, k, alpha, lr):
    """Zhang et al. (2019): slow <- slow + alpha (fast - slow) every k steps of the fast weights."""
    fast = torch.optim.SGD(model.parameters(), lr=lr)
    slow = weights(model)
    for i in range(steps):
        train(model, fast, [i])
        if (i + 1) % k == 0:
            slow = [s + alpha * (p.detach() - s) for s, p in zip(slow, model.parameters())]
            with torch.no_grad():
                for s, p in zip(slow, model.parameters()):
                    p.copy_(s)


@pytest.mark.parametrize(("k", "alpha"), [(5, 0.5), (3, 0.8)])
def test_is_lookahead_without_pull_noise_and_average(k, alpha):
    ours, theirs = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    optimizer = EntropySGD(
        ours.parameters(), alpha, langevin_steps=k, langevin_lr=0.1, averaging=1.0, **PLAIN
    )
    train(ours, optimizer, range(17))
    lookahead(theirs, 17, k=k, alpha=alpha, lr=0.1)
    assert close(weights(ours), weights(theirs), 1e-14)


SHARED = {
    "langevin_steps": 4, "gamma": 0.5, "gamma_growth": 0.1, "noise": 0.3, "averaging": 0.6,
    "seed": 5, "worker": 1,
}  # fmt: skip


@pytest.mark.parametrize("scale_by_gamma", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("free", [False, True])
def test_entropy_sgd_is_local_entropy_with_sgd_twice(
    scale_by_gamma, weight_decay, momentum, reset, free
):
    one, two = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    ours = build(
        EntropySGD, one.parameters(), lr=0.7, langevin_lr=0.1,
        langevin_momentum=momentum, momentum=momentum / 2,
        weight_decay=weight_decay, scale_by_gamma=scale_by_gamma, reset_momentum=reset,
        noise_free_mean=free, **SHARED,
    )  # fmt: skip
    nesterov = momentum > 0
    wrapped = LocalEntropy(
        torch.optim.SGD(two.parameters(), lr=0.1, momentum=momentum, nesterov=nesterov,
                        weight_decay=weight_decay),
        torch.optim.SGD(two.parameters(), lr=0.7, momentum=momentum / 2, nesterov=nesterov),
        scale_by_gamma=scale_by_gamma, reset_inner=reset, noise_free_mean=free, **SHARED,
    )  # fmt: skip
    for i in range(22):
        train(one, ours, [i])
        train(two, wrapped, [i])
        assert close(weights(one), weights(two), 1e-12), i
    with ours.at_anchor(), wrapped.at_anchor():
        assert close(weights(one), weights(two), 1e-12)


def test_entropy_adam_is_local_entropy_with_adam_twice():
    one, two = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    ours = EntropyAdam(
        one.parameters(), 0.05, langevin_lr=0.02, betas=(0.8, 0.95), langevin_betas=(0.9, 0.99),
        eps=1e-4, **SHARED,
    )  # fmt: skip
    wrapped = LocalEntropy(
        torch.optim.Adam(two.parameters(), lr=0.02, betas=(0.9, 0.99), eps=1e-4),
        torch.optim.Adam(two.parameters(), lr=0.05, betas=(0.8, 0.95), eps=1e-4),
        reset_inner=False, **SHARED,
    )  # fmt: skip
    train(one, ours, range(22))
    train(two, wrapped, range(22))
    assert close(weights(one), weights(two), 1e-10)


def test_entropy_adam_walks_like_entropy_sgd():
    one, two = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    walk = {**SHARED, "langevin_steps": 50, "weight_decay": 0.1}
    train(one, EntropyAdam(one.parameters(), **walk), range(10))
    train(two, EntropySGD(two.parameters(), **walk), range(10))
    assert close(weights(one), weights(two), 1e-13)


@pytest.mark.parametrize("maximize", [False, True])
def test_sgld_without_noise_is_sgd(maximize):
    ours, theirs = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    kwargs = {"lr": 0.1, "weight_decay": 0.1, "maximize": maximize}
    train(ours, SGLD(ours.parameters(), noise=0.0, **kwargs), range(20))
    # torch negates the gradient before it adds weight decay, as we do
    train(theirs, torch.optim.SGD(theirs.parameters(), **kwargs), range(20))
    assert close(weights(ours), weights(theirs), 1e-13)


def test_sgld_is_the_walk_without_an_anchor():
    one, two = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    train(one, SGLD(one.parameters(), 0.1, noise=0.3, seed=4, worker=1), range(10))
    walk = EntropySGD(
        two.parameters(), langevin_steps=50, langevin_lr=0.1, langevin_momentum=0.0, gamma=0.0,
        noise=0.3, seed=4, worker=1,
    )  # fmt: skip
    # SGLD numbers its steps as outer steps of one inner step each
    for i in range(10):
        train(two, walk, [i])
        for group in walk.param_groups:
            group["outer_step"], group["inner_step"] = i + 1, 0
    assert close(weights(one), weights(two), 1e-13)


@pytest.mark.parametrize("make", [
    lambda p: EntropySGD(p, langevin_steps=3),
    lambda p: EntropyAdam(p, langevin_steps=3),
    lambda p: SGLD(p),
    lambda p: local_entropy(p, lambda q: torch.optim.SGD(q, lr=0.1),
                            lambda q: torch.optim.SGD(q, lr=1.0), langevin_steps=3),
])  # fmt: skip
def test_accumulating_k_micro_batches_is_one_batch_of_k(make):
    one = mlp(dtype=torch.float64)
    two = copy.deepcopy(one)
    ours, theirs = make(one.parameters()), make(two.parameters())
    for i in range(8):
        inputs, targets = batch(i, dtype=torch.float64)
        ours.zero_grad()
        for x, y in zip(inputs.chunk(4), targets.chunk(4), strict=True):
            (torch.nn.functional.cross_entropy(one(x), y) / 4).backward()
        ours.step()
        train(two, theirs, [i])
    assert close(weights(one), weights(two), 1e-13)
