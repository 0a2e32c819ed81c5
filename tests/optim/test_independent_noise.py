"""Noise of parameters that different optimizers hold: independent, or refused by name.

Noise is keyed by a parameter's place in its optimizer. Where several optimizers hold parts of one
model, as shards over processes or one a parameter, places alone would repeat it.
"""

from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore

from tests.optim.optimizers import OPTIMIZERS, entropy_sgd
from tests.optim.problems import backward, mlp, same, train, weights
from widevalley import SGLD, EntropyAdam, EntropySGD

CLASSES = [EntropySGD, EntropyAdam, SGLD]
every_class = pytest.mark.parametrize("build", CLASSES)
COUNT = 4000
pytestmark = pytest.mark.filterwarnings("ignore:FSDP:", "ignore:.*FullyShardedDataParallel")


@contextmanager
def as_rank(rank, world=2):
    """This process as one of several, whose messages go nowhere."""
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)
    try:
        yield
    finally:
        dist.destroy_process_group()


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def independent(a, b):
    assert a.std() > 0
    assert b.std() > 0
    return abs(correlation(a, b)) < 5 / COUNT**0.5


def by_zero(rank, build, **settings):
    """What a step at gradient zero makes of the parameter that this rank holds."""
    with as_rank(rank):
        params = [nn.Parameter(torch.zeros(COUNT)) for _ in range(2)]
        optimizer = ZeroRedundancyOptimizer(params, build, **settings)
        (mine,) = optimizer.optim.param_groups[0]["params"]
        for p in params:
            p.grad = torch.zeros_like(p)
        optimizer.step()
        return mine.detach().clone()


@every_class
def test_zero_redundancy_draws_the_noise_of_one_process(build):
    """A rank's parameters have the places that they have among all, also of groups added later."""
    settings = {"noise": 0.1, "seed": 3}

    def zeros():
        return [nn.Parameter(torch.zeros(COUNT)) for _ in range(5)]

    def stepped(params, optimizer):
        optimizer.add_param_group({"params": params[3:]})
        for p in params:
            p.grad = torch.zeros_like(p)
        optimizer.step()
        return [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]

    params = zeros()
    whole = stepped(params, build(params[:3], **settings))
    assert independent(whole[0], whole[1])
    held = 0
    for rank in range(2):
        with as_rank(rank):
            params = zeros()
            optimizer = ZeroRedundancyOptimizer(params[:3], build, **settings)
            stepped(params, optimizer)
            mine = {p for group in optimizer.optim.param_groups for p in group["params"]}
        for p, expected in zip(params, whole):
            expected = expected if p in mine else torch.zeros_like(p)
            torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-6)
        held += len(mine)
    assert held == len(whole)


@every_class
def test_zero_redundancy_may_have_a_worker_a_rank(build):
    own = [by_zero(rank, build, noise=0.1, worker=rank) for rank in range(2)]
    assert independent(*own)


@every_class
def test_zero_redundancy_without_noise_needs_none(build):
    assert same([by_zero(0, build, noise=0.0)], [by_zero(1, build, noise=0.0)])


def by_fsdp(rank, build, original, **settings):
    with as_rank(rank):
        model = FullyShardedDataParallel(
            nn.Linear(COUNT // 10, 20, bias=False),
            use_orig_params=original,
            device_id=torch.device("cpu"),
        )
        optimizer = build(model.parameters(), **settings)
        (p,) = model.parameters()
        p.grad = torch.zeros_like(p)
        before = p.detach().clone()
        optimizer.step()
        return p.detach() - before


@every_class
@pytest.mark.parametrize("original", [True, False], ids=["original", "flat"])
def test_shards_that_do_not_know_their_place_are_refused_where_there_is_noise(build, original):
    """FullyShardedDataParallel's; fully_shard's are DTensors, which do."""
    for rank in range(2):
        with pytest.raises(ValueError, match="noise must be 0 .*fully_shard.*got 0.1"):
            by_fsdp(rank, build, original, noise=0.1)
        by_fsdp(rank, build, original, noise=0.0)


@every_class
def test_replicas_of_one_process_group_draw_the_same_noise(build):
    """Else their weights would part."""

    def run(rank):
        with as_rank(rank):
            model = DistributedDataParallel(mlp())
            optimizer = build(model.parameters(), noise=0.1)
            for p in model.parameters():
                p.grad = torch.zeros_like(p)
            optimizer.step()
            return weights(model)

    assert same(run(0), run(1))


def one_a_parameter(build, settings, steps=2):
    """Steps inside backward, by an optimizer for each parameter."""
    params = [nn.Parameter(torch.zeros(COUNT)) for _ in range(2)]
    optimizers = [build([p], **kw) for p, kw in zip(params, settings, strict=True)]
    for p, optimizer in zip(params, optimizers, strict=True):
        p.register_post_accumulate_grad_hook(lambda _, optimizer=optimizer: optimizer.step())
    for _ in range(steps):
        sum(0.0 * p.sum() for p in params).backward()
        for p in params:
            p.grad = None
    return [p.detach() for p in params]


@every_class
def test_optimizers_that_step_inside_one_backward_need_a_worker_each(build):
    with pytest.raises(ValueError, match="worker.*backward"):
        one_a_parameter(build, [{"noise": 0.1}, {"noise": 0.1}])
    assert independent(*one_a_parameter(build, [{"noise": 0.1}, {"noise": 0.1, "worker": 1}]))
    assert independent(*one_a_parameter(build, [{"noise": 0.1}, {"noise": 0.1, "seed": 1}]))
    one_a_parameter(build, [{"noise": 0.0}, {"noise": 0.0}])


@pytest.mark.parametrize("info", OPTIMIZERS, ids=str)
def test_one_optimizer_may_step_inside_backward(info):
    """At the last gradient, as it would after it."""
    model, twin = mlp(), mlp()
    ours, theirs = info.build(model.parameters()), info.build(twin.parameters())
    seen = []

    def arrived(_):
        seen.append(1)
        if len(seen) % 4 == 0:
            ours.step()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(arrived)
    for i in range(7):
        backward(model, i)
        train(twin, theirs, [i])
    assert same(weights(model), weights(twin))


def test_two_optimizers_may_have_one_seed_outside_of_backward():
    """Two trainings in one process, compared under the same noise."""
    model, twin = mlp(), mlp()
    ours, theirs = entropy_sgd(model.parameters()), entropy_sgd(twin.parameters())
    for i in range(4):
        train(model, ours, [i])
        train(twin, theirs, [i])
    assert same(weights(model), weights(twin))
