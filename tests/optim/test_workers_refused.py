"""Workers that are not at one point of one training: refused by name on all of them, at once."""

import re
import time

import pytest
import torch
import torch.distributed as dist

from tests.optim.optimizers import adamw, entropy_sgd
from tests.optim.problems import backward, mlp
from tests.optim.processes import run
from widevalley.workers import Workers

pytestmark = pytest.mark.slow


def optimizer_of(model, group, **settings):
    return entropy_sgd(model.parameters(), process_group=group, **settings)


def steps(model, optimizer, count):
    for i in range(count):
        backward(model, i)
        optimizer.step()


def fewer_parameters(rank, group):
    optimizer_of(mlp()[: 3 - 2 * rank], group)


def another_shape(rank, group):
    optimizer_of(torch.nn.Linear(4, 3 + rank), group)


def another_rate(rank, group):
    model = mlp()
    steps(model, optimizer_of(model, group, lr=1.0 - 0.5 * rank), 3)


def another_length(rank, group):
    model = mlp()
    steps(model, optimizer_of(model, group, langevin_steps=3 + rank), 4)


def another_inner_rate_later(rank, group):
    """What was agreed upon before is no longer so on one worker alone."""
    model = mlp()
    optimizer = adamw(model.parameters(), process_group=group)
    steps(model, optimizer, 6)
    optimizer.param_groups[0]["lr"] *= 1 + rank
    steps(model, optimizer, 6)


def another_rate_later_and_late(rank, group):
    model = mlp()
    optimizer = optimizer_of(model, Workers(group, delay=2))
    steps(model, optimizer, 6)
    optimizer.param_groups[0]["lr"] *= 1 + rank
    steps(model, optimizer, 6)


def without_a_gradient(rank, group):
    model = mlp()
    optimizer = optimizer_of(model, group)
    for i in range(3):
        backward(model, i)
        if rank:
            model[0].bias.grad = None
        optimizer.step()


def other_weights(rank, group):
    """Loaded after construction, which gives all the first one's."""
    model = mlp()
    optimizer = optimizer_of(model, group)
    model.load_state_dict(mlp(seed=rank).state_dict())
    steps(model, optimizer, 3)


def other_weights_in_the_second_fragment(rank, group):
    model = mlp()
    optimizer = optimizer_of(model, Workers(group, fragments=2))
    model[2].bias.data += rank
    steps(model, optimizer, 3)


def another_walk(rank, group):
    """A late joiner, or one that has resumed from an older checkpoint."""
    model = mlp()
    optimizer = optimizer_of(model, group)
    steps(model, optimizer, 3)
    saved = optimizer.state_dict()
    steps(model, optimizer, 3)
    if rank:
        optimizer.load_state_dict(saved)
    steps(model, optimizer, 3)


def another_clock(rank, group):
    """The same settings and anchors, at another walk."""
    model = mlp()
    optimizer = optimizer_of(model, group)
    optimizer.param_groups[0]["outer_step"] += rank
    steps(model, optimizer, 3)


def gradients_gone_later(rank, group):
    model = mlp()
    optimizer = optimizer_of(model, Workers(group, delay=3))
    steps(model, optimizer, 6)
    for i in range(6):
        backward(model, i)
        if not rank:
            model.zero_grad()
        optimizer.step()


CASES = {
    fewer_parameters: r"parameters: .*worker 0 .*\(3, 8\) as number 2|parameters: .* no more",
    another_shape: r"parameters: worker \d has float32 of shape \(., 4\) as number 0",
    another_rate: r"settings: worker \d has lr (1.0|0.5) of group 0, worker \d lr (1.0|0.5)",
    another_length: r"settings: worker \d has langevin_steps|step: worker",
    another_inner_rate_later: r"settings: worker \d has lr 0.0[12] of group 0",
    another_rate_later_and_late: r"settings: worker \d has lr [12].0 of group 0",
    without_a_gradient: r"gradients: worker \d has one for parameter [12], worker",
    gradients_gone_later: r"gradients: worker \d has (no more|one for parameter 0), worker",
    other_weights: r"anchors: worker \d has bits with the sum \w+ in parameter 0",
    other_weights_in_the_second_fragment: r"anchors: .* sum \w+ in parameter 3, worker",
    another_clock: r"step: worker \d has step [36] of the run, worker \d step [36] of the run",
    another_walk: r"step: worker \d has step [69] of the run|anchors",
}


def all_cases(rank, world):
    """The message of each case, and the seconds until it came."""
    messages = {}
    for case in CASES:
        group = dist.new_group()
        begun = time.monotonic()
        try:
            case(rank, group)
            message = "nothing"
        except ValueError as error:
            message = str(error)
        messages[case.__name__] = message, time.monotonic() - begun
    return messages


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    found = run(all_cases, 2, tmp_path_factory.mktemp("refused") / "cases")
    for result in found:
        if isinstance(result, Exception):
            raise result
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_differs_is_named_on_every_worker(messages, case):
    for rank in range(2):
        message, seconds = messages[rank][case.__name__]
        assert re.search(CASES[case], message), message
        assert seconds < 60  # else it was a timeout's
