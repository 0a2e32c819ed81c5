"""Replicas and shards over real processes take the steps of one process, noise and all.

One group of four processes serves every check: two pairs that train by DistributedDataParallel or
fully_shard, and all four as two replicas of two shards (HSDP).
"""

import os

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.nn.parallel import DistributedDataParallel

from tests.optim.optimizers import OPTIMIZERS, OptimizerInfo, adamw, adamw_adam, entropy_sgd
from widevalley import LocalEntropy, recompute_batch_norm
from widevalley.gradient_point import Rounding, Smoothing
from widevalley.readout import Uniform

WORLD, STEPS, SAMPLES = 4, 7, 8
SMOOTHED = {"gradient_point": Smoothing(0.2), "readout": Uniform(2)}


def muon(params, **settings):
    return LocalEntropy(
        torch.optim.Muon(params, lr=0.01), langevin_steps=3, noise=0.1, gamma=1e-3, **settings
    )


OWN = [
    OptimizerInfo("smoothed", lambda p: entropy_sgd(p, **SMOOTHED)),
    OptimizerInfo("AdamW Adam, smoothed", lambda p: adamw_adam(p, **SMOOTHED)),
    OptimizerInfo("AdamW, smoothed", lambda p: adamw(p, averaging=0.5, **SMOOTHED)),
    OptimizerInfo("AdamW, rounded", lambda p: adamw(p, gradient_point=Rounding(3))),
    OptimizerInfo("callable", lambda p: entropy_sgd(p, gamma_growth=lambda t: 1.5**t)),
]
MUON = OptimizerInfo("Muon", muon)


class Network(nn.Module):
    """Dimensions that do not divide, one of 1, a tied weight, a frozen and an unused one."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 6)
        self.norm = nn.BatchNorm1d(6)
        self.odd = nn.Linear(6, 7)
        self.frozen = nn.Linear(7, 6)
        self.scale = nn.Parameter(torch.ones(1))
        self.unused = nn.Parameter(torch.ones(3, 2))
        self.head = nn.Linear(6, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.frozen.requires_grad_(False)

    def forward(self, tokens):
        hidden = torch.tanh(self.odd(self.norm(self.embedding(tokens))))
        return self.head(self.scale * self.frozen(hidden))


class Matrices(nn.Module):
    """What Muon is for."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 6)
        self.odd = nn.Linear(6, 7, bias=False)
        self.head = nn.Linear(7, 5, bias=False)

    def forward(self, tokens):
        return self.head(torch.tanh(self.odd(self.embedding(tokens))))


def network(kind=Network, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()  # normalised by its own statistics a part of a batch is no part of it
    return model


def batch(i):
    generator = torch.Generator().manual_seed(i)
    return torch.randint(5, (2, SAMPLES), generator=generator)


def train(model, optimizer, steps=range(STEPS), part=slice(None)):
    for i in steps:
        tokens, targets = batch(i)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens[part]), targets[part]).backward()
        optimizer.step()


def whole(p):
    p = p.detach()
    return p.full_tensor() if isinstance(p, DTensor) else p.clone()


def shown(model, optimizer):
    """The weights and metrics that the optimizer shows, and a forward pass, between steps."""
    seen = {"walker": list(map(whole, model.parameters()))}
    if hasattr(optimizer, "metrics"):
        optimizer.metrics()
        with optimizer.at_anchor(), recompute_batch_norm(model, [batch(90)[0], batch(91)[0]]):
            seen["anchor"] = list(map(whole, model.parameters()))
            seen["outputs"] = [model(batch(92)[0]).detach()]
        with optimizer.at_average():
            seen["average"] = list(map(whole, model.parameters()))
        seen["again"] = list(map(whole, model.parameters()))
    train(model, optimizer, [STEPS])
    if hasattr(optimizer, "metrics"):
        train(model, optimizer, range(STEPS + 1, STEPS + 7))
        found = optimizer.metrics()
        seen["metrics"] = [torch.tensor(found[name]) for name in ("distance", "gain", "cosine")]
    seen.setdefault("again", seen["walker"])
    return {**seen, "goes on": list(map(whole, model.parameters()))}


# --- ways to share a network among processes, each of (mesh, model) ----------------------------


def by_ddp(mesh, model):
    group = mesh["shard"].get_group()
    return DistributedDataParallel(model, process_group=group, find_unused_parameters=True)


def by_fsdp(mesh, model):
    """Some by rows, others by columns; torch's own default keeps the outermost gathered."""

    def placement(p):
        return Shard(1) if p.dim() > 1 and p.shape[1] % 2 == 0 and p.shape[0] > 3 else Shard(0)

    return fully_shard(model, mesh=mesh["shard"], shard_placement_fn=placement)


def by_hsdp(mesh, model):
    return fully_shard(model, mesh=mesh)


WAYS = {"DDP": by_ddp, "FSDP2": by_fsdp, "HSDP": by_hsdp}


def part_of(way, mesh):
    """Of a batch, what this rank takes."""
    if way == "HSDP":
        return slice(dist.get_rank(), None, WORLD)
    return slice(mesh["shard"].get_local_rank(), None, 2)


def differences(expected, seen, tolerance):
    for what, tensors in expected.items():
        bound = 2 * tolerance if what == "metrics" else tolerance  # they come six steps later
        for i, (a, b) in enumerate(zip(tensors, seen[what], strict=True)):
            off = float((a - b).abs().max())
            if not off <= bound:
                yield f"{what} {i} is off by {off:.1e}"


def check_steps(mesh):
    every = [(info, WAYS, Network, 1e-5) for info in [*OPTIMIZERS, *OWN]]
    for info, ways, kind, tolerance in [
        *every,
        (MUON, WAYS, Matrices, 1e-2),  # it orthogonalises in bfloat16
    ]:
        model = network(kind)
        optimizer = info.build(model.parameters())
        train(model, optimizer)
        expected = shown(model, optimizer)
        for way, share in ways.items():
            parallel = share(mesh, network(kind))
            theirs = info.build(parallel.parameters())
            train(parallel, theirs, part=part_of(way, mesh))
            seen = shown(parallel, theirs)
            for difference in differences(expected, seen, tolerance):
                yield f"{info} by {way}: {difference}"
            if not all(map(torch.equal, seen["walker"], seen["again"])):
                yield f"{info} by {way}: the swap is not exact"


def process(rank, file, checks):
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(WORLD), LOCAL_RANK=str(rank))
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=WORLD)
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))
    found = [one for check in checks for one in check(mesh)]
    dist.destroy_process_group()
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_shared_networks_take_the_steps_of_one_process(tmp_path):
    torch.multiprocessing.spawn(process, (tmp_path / "store", [check_steps]), nprocs=WORLD)
