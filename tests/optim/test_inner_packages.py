"""LocalEntropy around optimizers of torch and of other packages, at their own steps."""

import pytest
import torch
from torch import nn, optim

from tests.optim.problems import same, weights
from widevalley import LocalEntropy


def of(package, name):
    def build(params):
        found = pytest.importorskip(package, reason=f"needs {package}")
        made = getattr(found, name)(params, lr=0.01)
        if package == "schedulefree":
            made.train()
        return made

    return build


INNER = {
    "AdamW, fused": lambda p: optim.AdamW(p, lr=0.01, fused=True),
    "Muon": lambda p: optim.Muon(p, lr=0.01),
    "schedulefree": of("schedulefree", "AdamWScheduleFree"),
    "heavyball": of("heavyball", "AdamW"),
    "torchao, 8 bits": of("torchao.optim", "AdamW8bit"),
    "bitsandbytes, 8 bits": of("bitsandbytes.optim", "AdamW8bit"),
}
every = pytest.mark.parametrize("build", INNER.values(), ids=INNER)


def matrices(seed=0):
    """Large enough for what keeps small tensors' state in 32 bits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, 128, bias=False), nn.Linear(128, 64, bias=False))


def train(model, optimizer, steps):
    for i in steps:
        inputs = torch.randn(16, 64, generator=torch.Generator().manual_seed(i))
        optimizer.zero_grad()
        (model(inputs) - inputs).square().mean().backward()
        optimizer.step()


@every
def test_without_pull_and_mean_it_is_the_optimizer_itself(build):
    one, two = matrices(), matrices()
    train(one, LocalEntropy(build(one.parameters()), langevin_steps=3, averaging=1), range(7))
    train(two, build(two.parameters()), range(7))
    assert same(weights(one), weights(two))


@every
def test_resume_is_bit_for_bit(build):
    settings = {"langevin_steps": 3, "outer_lr": 0.7, "outer_momentum": 0.3}
    whole, first, second = matrices(), matrices(), matrices(seed=9)
    optimizers = [LocalEntropy(build(m.parameters()), **settings) for m in (whole, first, second)]
    train(whole, optimizers[0], range(9))
    train(first, optimizers[1], range(4))
    second.load_state_dict(first.state_dict())
    optimizers[2].load_state_dict(optimizers[1].state_dict())
    train(second, optimizers[2], range(4, 9))
    assert same(weights(whole), weights(second))
