"""A worker that is gone, or has nothing to do any more: the others say which, and end."""

import os
import time

import pytest
import torch.distributed as dist

from tests.optim.optimizers import entropy_sgd
from tests.optim.problems import backward, mlp
from tests.optim.processes import run
from widevalley.workers import Workers

pytestmark = pytest.mark.slow
WORLD, STEPS, TIMEOUT = 3, 12, 5.0
CASES = [("out of data", 0), ("out of data", 2), ("killed", 2)]


def losses(rank, world):
    """Of each case the message a worker ends with, and the seconds it took; the last one kills."""
    return {case: until(rank, *case) for case in CASES}


def until(rank, how, delay):
    """Train, worker 1 for 8 of 12 steps."""
    model = mlp()
    workers = Workers(dist.new_group(), timeout=TIMEOUT, delay=delay)
    optimizer = entropy_sgd(model.parameters(), process_group=workers)
    for i in range(8 if rank == 1 else STEPS):
        backward(model, i)
        begun = time.monotonic()
        try:
            optimizer.step()
        except RuntimeError as error:
            return str(error), time.monotonic() - begun
    if how == "killed":
        os._exit(9)
    return "ended", 0.0


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    found = run(losses, WORLD, tmp_path_factory.mktemp("lost") / "cases", dies=[1])
    assert found[1] is None
    for result in found:
        if isinstance(result, Exception):
            raise result
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_others_name_the_worker_that_is_lost(ends, case):
    for rank in (0, 2):
        message, seconds = ends[rank][case]
        assert "worker 1 of 3 did not answer" in message
        assert seconds < 60  # else gloo's own half hour
