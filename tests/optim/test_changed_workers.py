"""One torch.distributed.checkpoint of many workers: for as many, for another number, or refused."""

import re

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from tests.optim.optimizers import adamw, entropy_sgd
from tests.optim.problems import backward, close, mlp, same, weights
from tests.optim.processes import run
from widevalley import LocalEntropy
from widevalley.workers import Coupling, TopK, Workers

pytestmark = pytest.mark.slow
L, SAVED, STEPS = 3, 6, 12


def diloco(params, **settings):
    inner = torch.optim.SGD(params, lr=0.3)
    outer = {"outer_lr": 0.7, "outer_momentum": 0.9, "averaging": 1.0}
    return LocalEntropy(inner, langevin_steps=L, **outer, **settings)


BUILDS = {"diloco": diloco, "entropy-sgd": entropy_sgd, "AdamW": adamw}
REASONS = {
    "amid a walk": (5, {}),
    "amid a walk: in fragments": (SAVED, {"fragments": 2}),
    "with means on their way": (SAVED, {"delay": 1}),
    "with an error feedback": (SAVED, {"compression": TopK(0.1)}),
    "with an anchor of its own": (SAVED, {"coupling": Coupling()}),
}


def made(build, group, rank, **settings):
    """As a new process has it: `load` gives it other weights."""
    model = mlp(dtype=torch.float64, seed=rank)
    return model, build(model.parameters(), process_group=Workers(group, **settings))


def walk(model, optimizer, rank, steps):
    for step in steps:
        backward(model, 100 * rank + step)
        optimizer.step()


def state(model, optimizer, worker=None):
    """Under names of the worker's own, or all under the same."""
    whole = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
    return whole if worker is None else {"workers": {f"{worker}": whole}}


def load(model, optimizer, folder, group, worker=None):
    asked = state(model, optimizer, worker)
    dcp.load(asked, checkpoint_id=folder, process_group=group)
    mine = asked if worker is None else asked["workers"][f"{worker}"]
    model.load_state_dict(mine["model"])
    set_optimizer_state_dict(model, optimizer, mine["optimizer"])


def refusal(*arguments):
    try:
        load(*arguments)
    except ValueError as error:
        return str(error)
    return "nothing"


def all_of_it(rank, world, folder):
    """Two of three processes train and save; then they, all three, and one alone go on."""
    groups = {n: dist.new_group(range(n)) for n in (1, 2, 3)}
    pair, results = groups[2], {}
    for name, build in BUILDS.items():
        if rank < 2:
            results[name] = alike(build, rank, pair, f"{folder}/{name}")
        dist.barrier()
    for n, group in groups.items():
        if rank < n:
            model, optimizer = made(diloco, group, rank)
            load(model, optimizer, f"{folder}/diloco-{SAVED}", group, 0)
            clock = {k: optimizer.param_groups[0][k] for k in ("worker", "workers", "outer_step")}
            walk(model, optimizer, rank, range(SAVED, STEPS))
            results[n] = weights(model), clock
    for reason, (at, settings) in REASONS.items():
        where = f"{folder}/{reason}"
        if rank < 2:
            model, optimizer = made(entropy_sgd, pair, rank, **settings)
            walk(model, optimizer, rank, range(at))
            dcp.save(state(model, optimizer, rank), checkpoint_id=where, process_group=pair)
            plain = f"{where}, plain"
            dcp.save(state(model, optimizer), checkpoint_id=plain, process_group=pair)
            again = made(entropy_sgd, pair, rank, **settings)
            results[reason, "plain"] = refusal(*again, plain, pair)
        dist.barrier()
        again = made(entropy_sgd, groups[3], rank, **settings)
        results[reason] = refusal(*again, where, groups[3], min(rank, 1))
    return results


def alike(build, rank, group, folder):
    """Whether a run goes on bit for bit from each way to save it."""
    model, optimizer = made(build, group, 0)
    same_as_before = []
    for at in (5, SAVED):
        walk(model, optimizer, rank, range(0 if at == 5 else 5, at))
        named = state(model, optimizer, rank)
        dcp.save(named, checkpoint_id=f"{folder}-{at}", process_group=group)
    dcp.save(state(model, optimizer), checkpoint_id=f"{folder}, plain", process_group=group)
    walk(model, optimizer, rank, range(SAVED, STEPS))
    for at, where, worker in (
        (5, f"{folder}-5", rank),
        (SAVED, f"{folder}-{SAVED}", rank),
        (SAVED, f"{folder}, plain", None),
    ):
        other, resumed = made(build, group, rank)
        load(other, resumed, where, group, worker)
        walk(other, resumed, rank, range(at, STEPS))
        same_as_before.append(same(weights(model), weights(other)))
    return same_as_before


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("changed")
    found = run(all_of_it, 3, folder / "processes", str(folder))
    for result in found:
        if isinstance(result, Exception):
            raise result
    return found


def oracle(*numbers):
    """Douillard et al., 2311.08105: a walk each of so many workers, of torch alone."""
    x = weights(mlp(dtype=torch.float64))
    b = [torch.zeros_like(t) for t in x]
    for t, n in enumerate(numbers):
        models = [mlp(dtype=torch.float64) for _ in range(n)]
        for i, model in enumerate(models):
            for p, start in zip(model.parameters(), x):
                p.data.copy_(start)
            walk(model, torch.optim.SGD(model.parameters(), lr=0.3), i, range(L * t, L * t + L))
        for j, ends in enumerate(zip(*map(weights, models))):
            s = x[j] - torch.stack(ends).mean(0)
            b[j] = 0.9 * b[j] + s
            x[j] = x[j] - 0.7 * (s + 0.9 * b[j])
    return x


@pytest.mark.parametrize("name", BUILDS)
def test_as_many_go_on_bit_for_bit(results, name):
    """Each under a name of its own; at the end of a walk also under one, but for inner's state."""
    for rank in range(2):
        amid, at_end, plain = results[rank][name]
        assert amid
        assert at_end
        assert plain or name == "AdamW"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_another_number_goes_on_at_the_end_of_a_walk(results, number):
    expected = oracle(2, 2, number, number)
    for rank in range(number):
        found, clock = results[rank][number]
        assert close(found, expected, 1e-12)
        assert clock == {"worker": rank, "workers": number, "outer_step": SAVED // L}


@pytest.mark.parametrize("reason", REASONS)
def test_the_state_of_another_worker_is_refused_by_name(results, reason):
    """By all three where there were two; where all saved under one name, by who did not save it."""
    words = reason.partition(":")[0]
    for rank in range(3):
        saved = f"worker {min(rank, 1)} of 2, {words}: worker {rank} of 3 cannot"
        assert re.search(saved, results[rank][reason])
    plain = [results[rank][reason, "plain"] for rank in range(2)]
    assert sum(words in one for one in plain) == 1
