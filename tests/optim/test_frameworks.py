"""Under frameworks that wrap, re-type, shard or compile."""

import os

import pytest
import torch
from lightning_fabric import Fabric
from torch.distributed.fsdp import fully_shard

from tests.optim.optimizers import ANCHORED, OPTIMIZERS
from tests.optim.problems import backward, batch, close, mlp, same, train, weights
from widevalley import EntropySGD


@pytest.mark.parametrize("info", OPTIMIZERS, ids=str)
def test_under_lightning_fabric(info):
    model, twin = mlp(), mlp()
    fabric = Fabric(accelerator="cpu", devices=1)
    wrapped, optimizer = fabric.setup(model, info.build(model.parameters()))
    theirs = info.build(twin.parameters())
    for i in range(8):
        inputs, targets = batch(i)
        optimizer.zero_grad()
        fabric.backward(torch.nn.functional.cross_entropy(wrapped(inputs), targets))
        optimizer.step()
        train(twin, theirs, [i])
        if info.anchored:
            with optimizer.at_anchor(), theirs.at_anchor():
                assert same(weights(model), weights(twin))
    assert same(weights(model), weights(twin))
    assert str(optimizer.state_dict()) == str(theirs.state_dict())


def _sharded(rank, file, world, results):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{file}", rank=rank, world_size=world
    )
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (world,))
    for info in ANCHORED:
        model = mlp()
        fully_shard(model, mesh=mesh)
        optimizer = info.build(model.parameters())
        for i in range(7):
            backward(model, i)  # the same batch on every rank: the mean gradient is its gradient
            optimizer.step()
        with optimizer.at_anchor():
            results[rank, info.name] = [p.full_tensor().detach() for p in model.parameters()]
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_sharded_by_fsdp2(tmp_path):
    """Parameters as DTensors over two processes move as they do whole, noise and all."""
    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        torch.multiprocessing.spawn(_sharded, (tmp_path / "store", 2, results), nprocs=2)
        for info in ANCHORED:
            model = mlp()
            optimizer = info.build(model.parameters())
            train(model, optimizer, range(7))
            with optimizer.at_anchor():
                for rank in range(2):
                    assert close(weights(model), list(results[rank, info.name]), 1e-5), info


def test_a_distributed_checkpoint_may_step_at_lr_zero_to_make_state():
    """torch.distributed.checkpoint sets lr to 0 and steps before it loads."""
    from torch.distributed.checkpoint.state_dict import (
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )

    model = mlp()
    optimizer = EntropySGD(model.parameters(), langevin_steps=3)
    train(model, optimizer, range(4))
    saved_model = {k: v.clone() for k, v in model.state_dict().items()}
    saved = get_optimizer_state_dict(model, optimizer)

    other = mlp(seed=5)
    resumed = EntropySGD(other.parameters(), langevin_steps=3)
    other.load_state_dict(saved_model)
    set_optimizer_state_dict(other, resumed, saved)
    train(other, resumed, range(4, 10))
    train(model, optimizer, range(4, 10))
    assert same(weights(model), weights(other))


def test_a_compiled_model_trains():
    model = mlp()
    compiled = torch.compile(model, backend="eager")
    optimizer = EntropySGD(model.parameters(), langevin_steps=3)
    twin = mlp()
    theirs = EntropySGD(twin.parameters(), langevin_steps=3)
    for i in range(7):
        inputs, targets = batch(i)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(compiled(inputs), targets).backward()
        optimizer.step()
        train(twin, theirs, [i])
    assert close(weights(model), weights(twin), 1e-6)
