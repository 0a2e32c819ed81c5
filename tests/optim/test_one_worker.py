"""A process group of one: what does not need others, and what is refused at construction."""

import copy
import pickle

import pytest
import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh

from tests.optim.optimizers import BUILDS, OPTIMIZERS, build, entropy_sgd
from tests.optim.problems import close, identical, mlp, same, train, weights
from widevalley import EntropySGD, LocalEntropy, readout
from widevalley.workers import Coupling, TopK, Workers

COUPLED = Coupling(0.3)


@pytest.fixture
def group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


ANCHORED = [info for info in OPTIMIZERS if info.anchored]


@pytest.mark.parametrize("info", ANCHORED, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_one_worker_walks_as_there_were_no_group(info, dtype, group):
    """To the rounding of x - (x - mu)."""
    model, twin = mlp(dtype=dtype), mlp(dtype=dtype)
    ours = info.build(model.parameters(), process_group=group)
    theirs = info.build(twin.parameters())
    train(model, ours, range(10))
    train(twin, theirs, range(10))
    if dtype == torch.float64:
        assert close(weights(model), weights(twin), 1e-12)
    elif info.widens:  # beside bfloat16 a step of the optimizer may fall on its other side
        assert close(weights(model), weights(twin), 0.01)
    assert ours.workers.size == 1
    assert ours.workers.bytes_sent == 0


@pytest.mark.parametrize("delay", [0, 1, 4])
def test_a_read_out_weighs_the_anchor_of_each_walk_once(delay, group):
    model = mlp(dtype=torch.float64)
    optimizer = LocalEntropy(
        torch.optim.SGD(model.parameters(), lr=0.1),
        langevin_steps=4,
        averaging=1.0,
        readout=0.5,
        process_group=Workers(group, delay=delay),
    )
    anchors = [weights(model)]
    for i in range(18):
        train(model, optimizer, [i])
        with optimizer.at_anchor():
            if not close(weights(model), anchors[-1], 0.0):
                anchors.append(weights(model))
    assert len(anchors) == 5 - (delay == 4)
    expected = anchors[0]
    for k, x in enumerate(anchors[1:], 1):
        c = readout.EMA(0.5)(k)
        expected = [(1 - c) * mean + c * t for mean, t in zip(expected, x)]
    with optimizer.at_average():
        assert close(weights(model), expected, 1e-12)


def test_the_scope_of_late_means_is_that_of_their_walk(group):
    """x moves by lr gamma(t) s, t the walk that s is of."""
    p = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))
    optimizer = build(
        EntropySGD,
        [p],
        lr=0.5,
        langevin_steps=3,
        gamma=0.5,
        gamma_growth=0.5,
        noise=0.1,
        scale_by_gamma=True,
        process_group=Workers(group, delay=2),
    )
    moves = []
    before = optimizer.state[p]["anchor"].clone()
    for _ in range(12):
        p.grad = p.detach().clone()
        sent = optimizer.state[p]["sent"].clone()
        optimizer.step()
        if not torch.equal(optimizer.state[p]["anchor"], before):
            moves.append((before - optimizer.state[p]["anchor"]) / sent)
            before = optimizer.state[p]["anchor"].clone()
    for t, factor in enumerate(moves):
        torch.testing.assert_close(factor, torch.full_like(factor, 0.5 * 0.5 * 1.5**t))
    assert len(moves) == 3


def test_a_step_at_rate_zero_meets_nobody(group):
    """As a distributed checkpoint takes it, on one worker alone."""
    model = mlp()
    optimizer = entropy_sgd(model.parameters(), langevin_steps=1, lr=0.0, process_group=group)
    optimizer.workers.mean = None
    train(model, optimizer, range(3))
    assert optimizer.param_groups[0]["outer_step"] == 0


REFUSED = {
    "a group that is none": (lambda g: 3, {}, "process_group must be a process group.*got 3"),
    "a delay beyond a walk": (
        lambda g: Workers(g, delay=4),
        {},
        "delay must be at most langevin_steps, 3, got 4",
    ),
    "a worker beside": (lambda g: g, {"worker": 2}, "worker must not be given.*got 2"),
    "a read-out beside a coupling": (
        lambda g: Workers(g, coupling=Coupling()),
        {"readout": 0.9},
        "readout must be None with a coupling.*got 0.9",
    ),
    "a mesh of two dimensions": (
        lambda g: init_device_mesh("cpu", (1, 1)),
        {},
        "process_group must be a mesh of one dimension.*got one of 2",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("name", BUILDS)
def test_refused_at_construction(name, case, group):
    given, settings, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        BUILDS[name](mlp().parameters(), process_group=given(group), **settings)


def test_a_connected_optimizer_is_not_copied(group):
    """A copy would be without its workers, and not say so."""
    optimizer = entropy_sgd(mlp().parameters(), process_group=group)
    for copied in (copy.deepcopy, pickle.dumps):
        with pytest.raises(ValueError, match="with a process_group must not be copied or pickled"):
            copied(optimizer)


def test_means_on_their_way_are_refused_where_nothing_lands(group):
    model = mlp()
    optimizer = entropy_sgd(model.parameters(), process_group=Workers(group, delay=2))
    train(model, optimizer, range(4))
    alone = entropy_sgd(mlp().parameters())
    with pytest.raises(ValueError, match="state_dict must not hold means that are on their way"):
        alone.load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match="state_dict must hold 'sent'"):
        optimizer.load_state_dict(alone.state_dict())


@pytest.mark.parametrize("at", range(2, 7))
@pytest.mark.parametrize(
    "settings", [{"delay": 2, "compression": TopK(0.2)}, {"coupling": COUPLED}]
)
def test_resume_by_a_distributed_checkpoint(at, settings, group):
    """Into a fresh optimizer, bit for bit, from before and after something is on its way."""
    runs = []
    for model in (mlp(), mlp(seed=9)):
        workers = Workers(group, **settings)
        runs.append((model, entropy_sgd(model.parameters(), process_group=workers)))
    (model, optimizer), (other, fresh) = runs
    train(model, optimizer, range(at))
    saved = copy.deepcopy((model.state_dict(), get_optimizer_state_dict(model, optimizer)))
    other.load_state_dict(saved[0])
    set_optimizer_state_dict(other, fresh, saved[1])
    for run in runs:
        train(*run, range(at, 12))
    assert same(weights(model), weights(other))
    assert identical(optimizer.state_dict(), fresh.state_dict())


def test_a_worker_that_loads_anothers_state_stays_itself(group):
    """At an outer boundary others may go on from one worker's checkpoint."""
    model = mlp()
    optimizer = entropy_sgd(model.parameters(), process_group=group)
    train(model, optimizer, range(3))
    saved = optimizer.state_dict()
    saved["param_groups"][0]["worker"] = 5
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["worker"] == 0


def test_means_that_cannot_land_yet_are_not_lost_to_those_of_others(group):
    """The first group's rate is 0 while its means are there; the second's walks go on."""
    a, b = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    optimizer = EntropySGD(
        [{"params": [a]}, {"params": [b]}],
        langevin_steps=4,
        langevin_momentum=0.0,
        gamma=0.0,
        noise=0.0,
        averaging=1.0,
        process_group=Workers(group, delay=2),
    )
    for step in range(20):
        optimizer.param_groups[0]["lr"] = 0.0 if 4 <= step < 12 else 1.0
        a.grad = torch.full((3,), float(step < 4))
        b.grad = torch.ones(3) if step >= 4 else None
        optimizer.step()
    with optimizer.at_anchor():
        torch.testing.assert_close(a.detach(), torch.full((3,), 0.6))
