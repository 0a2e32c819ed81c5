"""On a GPU as on the CPU."""

import pytest
import torch

from tests.optim.optimizers import ANCHORED, OPTIMIZERS
from tests.optim.problems import batch, close, mlp, same, train, weights
from widevalley import EntropySGD

pytestmark = pytest.mark.cuda
every = pytest.mark.parametrize("info", OPTIMIZERS, ids=str)


def train_on_gpu(model, optimizer, steps):
    for i in steps:
        inputs, targets = (t.cuda() for t in batch(i))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()


@every
def test_without_noise_a_gpu_follows_the_cpu(info):
    model, twin = mlp().cuda(), mlp()
    train_on_gpu(model, info.build(model.parameters(), noise=0.0), range(10))
    train(twin, info.build(twin.parameters(), noise=0.0), range(10))
    assert close(weights(model.cpu()), weights(twin), 1e-4)


@every
def test_resume_is_bit_for_bit_and_the_generators_are_left_alone(info):
    whole, first, second = mlp().cuda(), mlp().cuda(), mlp(seed=3).cuda()
    torch.cuda.manual_seed(0)
    before = torch.cuda.get_rng_state()
    train_on_gpu(whole, info.build(whole.parameters()), range(10))
    optimizer, resumed = info.build(first.parameters()), info.build(second.parameters())
    train_on_gpu(first, optimizer, range(4))
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(optimizer.state_dict())
    train_on_gpu(second, resumed, range(4, 10))
    assert same(weights(whole), weights(second))
    assert torch.equal(before, torch.cuda.get_rng_state())


@pytest.mark.parametrize("info", ANCHORED, ids=str)
def test_a_checkpoint_moves_from_gpu_to_cpu(info):
    model, twin = mlp().cuda(), mlp(seed=3)
    optimizer, other = info.build(model.parameters()), info.build(twin.parameters())
    train_on_gpu(model, optimizer, range(4))
    other.load_state_dict(optimizer.state_dict())
    twin.load_state_dict(model.state_dict())
    assert other.state[next(twin.parameters())]["anchor"].device.type == "cpu"
    train(twin, other, range(4, 8))


WAYS = {"lines": {"fused": False}, "fused": {"fused": True}}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_draws_the_noise_of_the_cpu(way):
    def walked(device, **kw):
        p = torch.nn.Parameter(torch.linspace(-1, 1, 70_000, device=device))
        optimizer = EntropySGD([p], langevin_steps=3, noise=0.1, momentum=0.5, **kw)
        for _ in range(7):
            p.grad = 0.1 * p.detach().sin()
            optimizer.step()
        return p.detach().cpu()

    found, expected = walked("cuda", **WAYS[way]), walked("cpu", **WAYS["lines"])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
