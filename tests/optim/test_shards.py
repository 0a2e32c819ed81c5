"""Shards of a parameter, as DTensors: the noise of the whole, at the cost of the shard."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from tests.optim.optimizers import OPTIMIZERS
from widevalley import SGLD, EntropySGD

WORLD = 64


@pytest.fixture
def last_rank():
    """This process as the last of many, whose messages go nowhere."""
    dist.init_process_group("fake", store=FakeStore(), rank=WORLD - 1, world_size=WORLD)
    yield
    dist.destroy_process_group()


def sharded(t, mesh, placements):
    """Without a message: every rank has the whole and takes its part."""
    return distribute_tensor(t, mesh, placements, src_data_rank=None)


def step(optimizer, p):
    p.grad = torch.zeros_like(p)
    optimizer.step()


@pytest.mark.parametrize("info", OPTIMIZERS, ids=str)
def test_a_rank_allocates_in_proportion_to_its_shard(info, last_rank):
    rows = 64 * WORLD
    mesh = init_device_mesh("cpu", (WORLD,))
    p = nn.Parameter(sharded(torch.zeros(rows, 64), mesh, [Shard(0)]))
    shard = p.to_local().nbytes
    with torch.profiler.profile(profile_memory=True) as profile:
        optimizer = info.build([p])
        for _ in range(3):
            step(optimizer, p)
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert 0 < largest <= 8 * shard < p.numel()


MESHES = {
    "rows": ((WORLD,), [Shard(0)], (200, 6)),
    "columns": ((WORLD,), [Shard(1)], (6, 200)),
    "uneven": ((WORLD,), [Shard(0)], (131, 5)),
    "none left": ((WORLD,), [Shard(0)], (10, 5)),
    "rows, columns": ((8, 8), [Shard(0), Shard(1)], (30, 50)),
    "replicas of rows": ((8, 8), [Replicate(), Shard(0)], (30, 5)),
    "rows of rows": ((8, 8), [Shard(0), Shard(0)], (300, 5)),
    "whole": ((WORLD,), [Replicate()], (7, 5)),
}


@pytest.mark.parametrize("build", [EntropySGD, SGLD])
@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_a_shard_moves_as_its_part_of_the_whole_does(build, name, dtype, last_rank):
    """Beside another parameter, so that its numbers do not begin at 0."""
    shape, placements, size = MESHES[name]
    mesh = init_device_mesh("cpu", shape)

    def moved(p):
        before = nn.Parameter(torch.zeros(3))
        optimizer = build([before, p], noise=0.5)
        before.grad = torch.zeros_like(before)
        for _ in range(3):
            step(optimizer, p)
        return p.detach()

    start = torch.zeros(size, dtype=dtype)
    shard = moved(nn.Parameter(sharded(start.clone(), mesh, placements)))
    whole = moved(nn.Parameter(start.clone()))
    expected = sharded(whole, mesh, placements).to_local()
    assert whole.abs().min() > 0
    torch.testing.assert_close(shard.to_local(), expected, rtol=0, atol=1e-6)
