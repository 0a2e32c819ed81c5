"""Local walks on torchft's manager, with its real lighthouse and four real processes."""

import os
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from tests.optim.problems import backward, close, mlp, weights
from tests.optim.processes import run
from widevalley import EntropySGD, LocalEntropy
from widevalley.experimental.fault_tolerance import Managed
from widevalley.workers import BFloat16, Workers

WORLD, L, WALKS = 4, 4, 5
THERE = [range(4), range(4), (0, 2, 3), (0, 2), (0, 2)]
"""Whose walks are averaged, of each walk."""
LR = 0.3


def test_settings_that_the_manager_cannot_serve_are_refused():
    for workers in (
        Workers(Managed(None, 0), delay=1),
        Workers(Managed(None, 0), fragments=2),
        Workers(Managed(None, 0), compression=BFloat16()),
    ):
        with pytest.raises(ValueError, match=r"must be Managed\(…\) alone"):
            EntropySGD(mlp().parameters(), process_group=workers)


class LeftBehind:
    """A manager whose quorum is of others."""

    def start_quorum(self, *, allow_heal):
        assert not allow_heal  # which would load another's state amid a step

    def wait_quorum(self):
        pass

    def is_participating(self):
        return False


def test_a_worker_that_has_missed_the_end_of_a_walk_is_told():
    with pytest.raises(RuntimeError, match="worker 2 is behind the others"):
        EntropySGD(mlp().parameters(), process_group=Managed(LeftBehind(), worker=2))


# --- workers are lost ---------------------------------------------------------------------------


def walks(rank, world, lighthouse):
    """Worker 1 is killed amid its third walk, worker 3 amid the sending of its fourth."""
    from torchft import Manager, ProcessGroupGloo

    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    manager = Manager(
        ProcessGroupGloo(timeout=timedelta(seconds=30)),
        None,
        None,
        min_replica_size=1,
        rank=0,
        world_size=1,
        store_addr="localhost",
        store_port=store.port,
        lighthouse_addr=lighthouse,
        replica_id=f"worker{rank}",
        hostname="localhost",
    )
    dist.barrier()  # the lighthouse has heard of all
    model, found = mlp(dtype=torch.float64, seed=rank), []
    optimizer = LocalEntropy(
        torch.optim.SGD(model.parameters(), lr=LR),
        langevin_steps=L,
        averaging=1.0,
        outer_lr=0.7,
        outer_momentum=0.9,
        process_group=Managed(manager, rank),
    )
    found.append((optimizer.workers.size, weights(model)))
    for step in range(L * WALKS):
        if rank == 1 and step == 2 * L + 2:
            os._exit(9)
        if rank == 3 and step == 3 * L + 2:
            manager.allreduce = lambda _: os._exit(9)
        backward(model, 1000 * rank + step)
        optimizer.step()
        if optimizer.param_groups[0]["inner_step"] == 0:
            with optimizer.at_anchor():
                found.append((optimizer.workers.size, weights(model)))
    sent = optimizer.workers.bytes_sent
    manager.shutdown(wait=False)
    return found, sent


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    coordination = pytest.importorskip("torchft.coordination", reason="torchft is not installed")
    lighthouse = coordination.LighthouseServer(
        bind="[::]:0", min_replicas=2, join_timeout_ms=2000, heartbeat_timeout_ms=2000
    )
    try:
        folder = tmp_path_factory.mktemp("managed") / "run"
        found = run(walks, WORLD, folder, lighthouse.address(), dies=[1, 3])
    finally:
        lighthouse.shutdown()
    for result in found:
        if isinstance(result, Exception):
            raise result
    return found


def emulated():
    """DiLoCo in one process, among whom there is: the anchor at the end of each walk."""
    anchor = weights(mlp(dtype=torch.float64))
    b, found = [torch.zeros_like(x) for x in anchor], [anchor]
    for walk, there in enumerate(THERE):
        ends = []
        for worker in there:
            model = mlp(dtype=torch.float64)
            model.load_state_dict(dict(zip(model.state_dict(), anchor)))
            for step in range(walk * L, (walk + 1) * L):
                backward(model, 1000 * worker + step)
                with torch.no_grad():
                    for p in model.parameters():
                        p -= LR * p.grad
            ends.append(weights(model))
        s = [x - sum(own) / len(there) for x, *own in zip(anchor, *ends)]
        b = [0.9 * m + d for m, d in zip(b, s)]
        anchor = [x - 0.7 * (d + 0.9 * m) for x, d, m in zip(anchor, s, b)]
        found.append(anchor)
    return found


@pytest.mark.slow
def test_lost_workers_do_not_stop_the_others(lost):
    assert lost[1] is None
    assert lost[3] is None
    for rank in (0, 2):
        sizes, anchors = zip(*lost[rank][0])
        assert sizes == (4, 4, 4, 3, 2, 2)
        for ours, theirs in zip(anchors, emulated()):
            assert close(ours, theirs, 1e-12)


@pytest.mark.slow
def test_bytes_are_those_of_whoever_was_there(lost):
    """An all-reduce at the start and one a walk, and one that failed."""
    whole = 8 * sum(p.numel() for p in mlp().parameters())
    assert lost[0][1] == sum(2 * whole * (n - 1) // n for n in (4, 4, 4, 3, 3, 2, 2))
