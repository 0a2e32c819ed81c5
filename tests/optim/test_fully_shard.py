"""fully_shard: what a swap writes is what the next forward pass sees; shards cut twice."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from tests.optim.optimizers import entropy_sgd
from tests.optim.problems import batch, close, mlp, train, weights
from widevalley.optim._tensors import element_index


@pytest.fixture
def alone(tmp_path):
    """A real process group of one."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_a_forward_pass_after_a_swap_sees_the_other_weights(alone):
    """Though no backward pass came between, after which fully_shard would gather them anew."""
    model, twin = fully_shard(mlp(), mesh=alone), mlp()
    ours, theirs = entropy_sgd(model.parameters()), entropy_sgd(twin.parameters())
    train(model, ours, range(4))
    train(twin, theirs, range(4))
    inputs = batch(50)[0]
    for _ in range(2):
        with ours.at_anchor(), theirs.at_anchor():
            assert torch.allclose(model(inputs), twin(inputs), rtol=0, atol=1e-6)
        assert torch.allclose(model(inputs), twin(inputs), rtol=0, atol=1e-6)
    with torch.no_grad(), ours.at_anchor():
        model(inputs)
    train(model, ours, range(4, 8))
    train(twin, theirs, range(4, 8))
    assert close([p.to_local() for p in weights(model)], weights(twin), 1e-5)


def test_rows_cut_by_both_axes_keep_their_numbers():
    """By the tensor-parallel axis first, though it is the mesh's second."""
    dist.init_process_group("fake", store=FakeStore(), rank=1, world_size=4)
    try:
        mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
        model = nn.Module()
        numbers = torch.arange(27.0).view(9, 3)
        halves = distribute_tensor(numbers, mesh["tensor"], [Shard(0)], src_data_rank=None)
        model.weight = nn.Parameter(halves)
        fully_shard(model, mesh=mesh["data"])
        mine = torch.arange(15, 21, dtype=torch.int32)  # of rows 5 to 8 the first two
        assert torch.equal(model.weight.to_local().flatten().int(), mine)
        assert torch.equal(element_index(model.weight, 0), mine)
    finally:
        dist.destroy_process_group()
