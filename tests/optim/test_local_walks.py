"""Local walks of two real processes, against oracles of a few lines in one."""

import copy
from collections import defaultdict

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from tests.optim.optimizers import adamw, entropy_adam, entropy_sgd, sgd_sgd
from tests.optim.problems import backward, close, identical, mlp, same, weights
from tests.optim.processes import run
from widevalley import EntropySGD, LocalEntropy
from widevalley.workers import BFloat16, EightBits, TopK, Workers

pytestmark = pytest.mark.slow
WORLD, L, STEPS = 2, 4, 14
DILOCO = {"outer_lr": 0.7, "outer_momentum": 0.9, "averaging": 1.0, "langevin_steps": L}
WAYS = {
    "at once": {},
    "late": {"delay": 1},
    "later": {"delay": 3},
    "a whole walk late": {"delay": 4},
    "in fragments": {"fragments": 2},
    "in fragments, late": {"fragments": 3, "delay": 2},
    "in more fragments than steps": {"fragments": 7},
}
INNERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.5),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.02),
}
COMPRESSIONS = {
    "none": None,
    "bf16": BFloat16(),
    "8 bits": EightBits(),
    "top-k": TopK(0.2, decay=0.8),
}
WALKS = {
    "entropy-sgd": lambda p, **s: entropy_sgd(p, **s),
    "entropy-sgd, last iterate": lambda p, **s: entropy_sgd(p, averaging=1.0, **s),
    "AdamW": lambda p, **s: adamw(p, outer_lr=1.0, outer_momentum=0.0, **s),
    "Muon": lambda p, **s: LocalEntropy(
        torch.optim.Muon([q for q in p if q.dim() == 2]), langevin_steps=3, noise=0.1, **s
    ),
}
RESUMED = {
    "entropy-sgd": (lambda p, **s: entropy_sgd(p, momentum=0.5, **s), {"delay": 2}),
    "entropy-adam": (entropy_adam, {"compression": TopK(0.1)}),
    "AdamW": (adamw, {"delay": 1, "compression": TopK(0.1), "fragments": 2}),
    "SGD SGD": (sgd_sgd, {"delay": 3}),
}


def data(worker, step, rank=0):
    """The number of a batch."""
    return 1000 * worker + step + 500 * rank


def gradient(model, worker, step, ranks):
    """The mean over the batches of a worker's data-parallel ranks."""
    total = [torch.zeros_like(p) for p in model.parameters()]
    for rank in range(ranks):
        backward(model, data(worker, step, rank))
        total = [t + p.grad / ranks for t, p in zip(total, model.parameters())]
    for p, t in zip(model.parameters(), total):
        p.grad = t


def walk(model, optimizer, worker, steps):
    for step in steps:
        backward(model, data(worker, step))
        optimizer.step()


def anchors(model, optimizer):
    with optimizer.at_anchor():
        return weights(model)


# --- what the two processes do ------------------------------------------------------------------


def together(rank, world):
    results = {}
    group = dist.group.WORLD
    for inner, make in INNERS.items():
        for way, settings in WAYS.items():
            model = mlp(dtype=torch.float64, seed=rank)  # the first one's weights are everyone's
            optimizer = LocalEntropy(
                make(model.parameters()), process_group=Workers(group, **settings), **DILOCO
            )
            walk(model, optimizer, rank, range(STEPS))
            results[inner, way] = weights(model), anchors(model, optimizer)
    for name, build in WALKS.items():
        model = mlp()
        optimizer = build(model.parameters(), process_group=group)
        walk(model, optimizer, rank, range(7))
        results[name] = weights(model), anchors(model, optimizer)
    for name, (build, settings) in RESUMED.items():
        results["resumed", name] = [
            resumes(rank, build, Workers(group, **settings), at) for at in range(3, 9)
        ]
    results["no_sync"] = under_ddp(rank, group)
    results["mesh"] = on_a_mesh(rank, world)
    results["means"] = {name: averaged(rank, group, c) for name, c in COMPRESSIONS.items()}
    return results


def resumes(rank, build, workers, at):
    """Whether a run goes on bit for bit from a checkpoint, into a fresh optimizer."""
    model, other = mlp(), mlp(seed=3)
    optimizer = build(model.parameters(), process_group=workers)
    walk(model, optimizer, rank, range(at))
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    fresh = build(other.parameters(), process_group=workers)
    other.load_state_dict(saved[0])
    fresh.load_state_dict(saved[1])
    walk(model, optimizer, rank, range(at, 12))
    walk(other, fresh, rank, range(at, 12))
    return same(weights(model), weights(other)) and identical(
        optimizer.state_dict(), fresh.state_dict()
    )


def under_ddp(rank, group):
    model = mlp()
    replica = DistributedDataParallel(model)
    optimizer = EntropySGD(model.parameters(), langevin_steps=3, process_group=group)
    with replica.no_sync():
        walk(replica, optimizer, rank, range(7))
    return weights(model)


def on_a_mesh(rank, world):
    model = mlp()
    mesh = init_device_mesh("cpu", (world,))
    optimizer = EntropySGD(model.parameters(), langevin_steps=3, process_group=mesh)
    walk(model, optimizer, rank, range(7))
    return weights(model)


SIZES = [3, 1000, 0, 17, 5000, 1]
BUCKET = 700 * 4 / 2**20


def tensors(rank, turn):
    generator = torch.Generator().manual_seed(10 * rank + turn)
    dtypes = [torch.float32, torch.bfloat16, torch.float64]
    made = [torch.randn(n, generator=generator) for n in SIZES]
    return [t.to(dtypes[i % 3]) for i, t in enumerate(made)] + [made[1].view(10, 100).t()]


def averaged(rank, group, compression):
    """Two means on their way at once, in buckets smaller than a tensor; then the bytes sent."""
    from widevalley.optim.workers._communication import Channel

    channel = Channel(Workers(group, compression=compression, bucket=BUCKET))
    kept = [torch.zeros_like(t) for t in tensors(0, 0)] if isinstance(compression, TopK) else []
    arriving = [channel.mean(tensors(rank, turn), kept) for turn in range(2)]
    means = [arrived() for arrived in reversed(arriving)][::-1]
    return means, kept, channel.bytes_sent


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    found = run(together, WORLD, tmp_path_factory.mktemp("local") / "walks")
    for result in found:
        if isinstance(result, Exception):
            raise result
    return found


# --- what they should have done -----------------------------------------------------------------


def diloco(make, *, delay=0, fragments=1, ranks=1):
    """Douillard et al., 2311.08105 and 2501.18512, of torch alone."""
    models = [mlp(dtype=torch.float64) for _ in range(WORLD)]
    inners = [make(model.parameters()) for model in models]
    params = [list(model.parameters()) for model in models]
    x = weights(models[0])
    b = [torch.zeros_like(t) for t in x]
    first = torch.tensor([0, *(t.numel() for t in x)]).cumsum(0)
    fragment = [int(at) * fragments // int(first[-1]) for at in first[:-1]]
    due = defaultdict(list)

    def land(step):
        for j, alone in due.pop(step, []):
            s = torch.stack([x[j] - a for a in alone]).mean(0)
            b[j] = 0.9 * b[j] + s
            x[j] = x[j] - 0.7 * (s + 0.9 * b[j])
            for own, a in zip(params, alone):
                own[j].data += x[j] - a

    for step in range(STEPS):
        for i in range(WORLD):
            gradient(models[i], i, step, ranks)
            inners[i].step()
        land(step)
        for j, f in enumerate(fragment):
            if (step + 1 - -(-(f + 1) * L // fragments)) % L == 0:
                due[step + delay].append((j, [own[j].detach().clone() for own in params]))
        land(step)
    return [weights(model) for model in models], x


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("inner", INNERS)
def test_diloco_and_streaming_diloco(results, inner, way):
    walkers, x = diloco(INNERS[inner], **WAYS[way])
    for rank in range(WORLD):
        found, anchor = results[rank][inner, way]
        assert close(found, walkers[rank], 1e-12)
        assert close(anchor, x, 1e-12)
        assert same(anchor, results[0][inner, way][1])


def sharded(rank, world):
    """Two workers of two ranks each, which share the parameters of one by fully_shard."""
    shape, names = (WORLD, world // WORLD), ("workers", "data")
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
    worker, part = mesh.get_coordinate()
    results = {}
    for way in ("at once", "in fragments, late"):
        model = fully_shard(mlp(dtype=torch.float64, seed=worker), mesh=mesh["data"])
        workers = Workers(mesh["workers"], **WAYS[way])
        inner = INNERS["AdamW"](model.parameters())
        optimizer = LocalEntropy(inner, process_group=workers, **DILOCO)
        for step in range(STEPS):
            backward(model, data(worker, step, part))
            optimizer.step()
        walkers = [p.full_tensor().detach() for p in model.parameters()]
        with optimizer.at_anchor():
            results[way] = walkers, [p.full_tensor().detach() for p in model.parameters()]
    return results


def test_workers_of_several_ranks(tmp_path):
    """As the replicas of HSDP: shards are averaged with the same shards of the other workers."""
    found = run(sharded, 2 * WORLD, tmp_path / "sharded")
    for way in ("at once", "in fragments, late"):
        walkers, x = diloco(INNERS["AdamW"], **WAYS[way], ranks=2)
        for rank in range(2 * WORLD):
            assert not isinstance(found[rank], Exception), found[rank]
            assert close(found[rank][way][0], walkers[rank // 2], 1e-12)
            assert close(found[rank][way][1], x, 1e-12)


@pytest.mark.parametrize("name", WALKS)
def test_walks_are_those_of_one_worker_and_their_means_are_averaged(results, name):
    """Bit for bit, noise and all: plain optimizers with an outer rate of 1 end at their means."""
    models = [mlp() for _ in range(WORLD)]
    rate = {"lr": 1.0} if "sgd" in name else {}
    plain = [WALKS[name](m.parameters(), worker=i, **rate) for i, m in enumerate(models)]
    for begin, steps in ((0, 3), (3, 3), (6, 1)):
        x = weights(models[0])
        for i, (model, optimizer) in enumerate(zip(models, plain)):
            walk(model, optimizer, i, range(begin, begin + steps))
        if steps == 3:
            s = [(x - a + (x - b)) / 2 for x, a, b in zip(x, *map(weights, models))]
            for model, optimizer in zip(models, plain):
                for p, start, move in zip(model.parameters(), x, s):
                    for name_ in ("anchor", "mean") if p in optimizer.state else ():
                        if name_ in optimizer.state[p]:
                            optimizer.state[p][name_].copy_(start - move)
                    p.data.copy_(start - move)
    for rank, (model, optimizer) in enumerate(zip(models, plain)):
        assert same(results[rank][name][0], weights(model))
        assert same(results[rank][name][1], anchors(model, optimizer))
    assert not same(results[0][name][0], results[1][name][0])


@pytest.mark.parametrize("name", RESUMED)
def test_resume_from_every_inner_index_is_bit_for_bit(results, name):
    """Means on their way, what was not sent and all."""
    for rank in range(WORLD):
        assert results[rank]["resumed", name] == [True] * 6


def test_a_ddp_model_without_sync_and_a_mesh_are_the_same(results):
    for rank in range(WORLD):
        assert same(results[rank]["no_sync"], results[rank]["mesh"])


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_means_are_those_of_one_process(results, name):
    """Of tensors of several dtypes, larger and smaller than a bucket, two means at once."""
    compression = COMPRESSIONS[name]
    kept = [[torch.zeros_like(t) for t in tensors(r, 0)] for r in range(WORLD)]
    for turn in range(2):
        sent = [tensors(r, turn) for r in range(WORLD)]
        expected = [emulated(s, compression, kept_by) for s, kept_by in zip(sent, kept)]
        for rank in range(WORLD):
            means = results[rank]["means"][name][0][turn]
            for mean, like, a, b in zip(means, sent[0], *expected):
                assert mean.dtype == like.dtype
                total = (a + b).to(torch.bfloat16) if name == "bf16" else a + b
                assert torch.equal(mean, (total.to(a.dtype) / 2).to(like.dtype))
    for rank in range(WORLD):
        if name == "top-k":
            assert same(results[rank]["means"][name][1], kept[rank])


def emulated(sent, compression, kept):
    """What a worker contributes: tensors of one dtype side by side, in buckets of as many bytes."""
    contributed = [None] * len(sent)
    for wide in (torch.float32, torch.float64):
        members = [
            i for i, t in enumerate(sent) if (t.dtype == torch.float64) == (wide.itemsize == 8)
        ]
        flat = torch.cat([sent[i].flatten().to(wide) for i in members])
        rest = torch.cat([kept[i].flatten().to(wide) for i in members])
        size = int(BUCKET * 2**20) // wide.itemsize
        for at in range(0, len(flat), size):
            part = flat[at : at + size]
            if isinstance(compression, BFloat16):
                part.copy_(part.to(torch.bfloat16))
            elif isinstance(compression, EightBits):
                part.copy_(compression.decode(compression.encode(part.float()), len(part)))
            elif isinstance(compression, TopK):
                e = compression.decay * rest[at : at + size] + part
                part.copy_(compression.decode(compression.encode(e.float()), len(part)))
                rest[at : at + size] = e - part
        pieces = zip(members, *(t.split([sent[i].numel() for i in members]) for t in (flat, rest)))
        for i, piece, left in pieces:
            contributed[i] = piece.view(sent[i].shape)
            kept[i].copy_(left.view(sent[i].shape))
    return contributed


def test_bytes_are_counted(results):
    """Between two workers an all-reduce of S bytes sends S, an all-gather too."""
    counted = {name: results[0]["means"][name][2] for name in COMPRESSIONS}
    wide = [t.numel() for t in tensors(0, 0) if t.dtype == torch.float64]
    narrow = [t.numel() for t in tensors(0, 0) if t.dtype != torch.float64]
    buckets = -(-sum(narrow) // 700) + -(-sum(wide) // 350)
    assert counted["none"] == 2 * (4 * sum(narrow) + 8 * sum(wide))
    assert counted["bf16"] == 2 * 2 * sum(narrow + wide)
    assert counted["8 bits"] == 2 * (sum(narrow + wide) + 4 * buckets)
    assert counted["top-k"] == 2 * (3 * 819 + 4) * buckets
