"""Resuming through torch.distributed.checkpoint: bit for bit, by each of its roads."""

import copy

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from tests.optim.optimizers import OPTIMIZERS, entropy_sgd, local_entropy
from tests.optim.problems import mlp, same, train, weights
from widevalley.experimental import CompactEntropyAdam, CompactEntropySGD

STEPS = 10
OPTIONS = {
    "plain": StateDictOptions(),
    "flat": StateDictOptions(flatten_optimizer_state_dict=True),
    "full": StateDictOptions(full_state_dict=True),
    "full, on the host": StateDictOptions(full_state_dict=True, cpu_offload=True),
}
every = pytest.mark.parametrize("info", OPTIMIZERS, ids=str)
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")


def begun(build, at, dtype=torch.float32):
    model = mlp(dtype=dtype)
    optimizer = build(model.parameters())
    train(model, optimizer, range(at))
    return model, optimizer


def fresh(build, saved_model, dtype=torch.float32):
    """As a new process has it: other weights, then those of the checkpoint."""
    model = mlp(dtype=dtype, seed=9)
    optimizer = build(model.parameters())
    model.load_state_dict(saved_model)
    return model, optimizer


def goes_on_alike(first, second, at):
    for model, optimizer in (first, second):
        train(model, optimizer, range(at, STEPS))
    return same(weights(first[0]), weights(second[0]))


@every
@pytest.mark.parametrize("road", OPTIONS)
@pytest.mark.parametrize("at", range(5))
def test_resume_is_bit_for_bit(info, road, at):
    if road.startswith("full") and not info.anchored:
        pytest.skip("torch's own optimizers without state cannot be loaded so either")
    options = OPTIONS[road]
    model, optimizer = begun(info.build, at)
    saved_model = copy.deepcopy(model.state_dict())
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=options))
    resumed = fresh(info.build, saved_model)
    set_optimizer_state_dict(*resumed, saved, options=options)
    assert goes_on_alike((model, optimizer), resumed, at)


@every
@pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])
@pytest.mark.parametrize("at", [0, 3, 4])
def test_resume_from_disk_is_bit_for_bit(info, flat, at, tmp_path):
    """The optimizer that loads says by its own state what is read."""
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    model, optimizer = begun(info.build, at)
    saved_model = copy.deepcopy(model.state_dict())
    saved = {"optimizer": get_optimizer_state_dict(model, optimizer, options=options)}
    dcp.save(saved, checkpoint_id=tmp_path)
    resumed = fresh(info.build, saved_model)
    asked = {"optimizer": get_optimizer_state_dict(*resumed, options=options)}
    dcp.load(asked, checkpoint_id=tmp_path)
    set_optimizer_state_dict(*resumed, asked["optimizer"], options=options)
    assert goes_on_alike((model, optimizer), resumed, at)


@every
def test_resume_beside_bfloat16_parameters(info):
    options = OPTIONS["flat"]
    model, optimizer = begun(info.build, 4, torch.bfloat16)
    saved_model = copy.deepcopy(model.state_dict())
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=options))
    resumed = fresh(info.build, saved_model, torch.bfloat16)
    set_optimizer_state_dict(*resumed, saved, options=options)
    assert goes_on_alike((model, optimizer), resumed, 4)


PAIRS = {
    "SGD without momentum": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD with dampening": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
}


@pytest.mark.parametrize("inner", PAIRS)
@pytest.mark.parametrize("reset", [False, True], ids=["kept", "reset"])
@pytest.mark.parametrize("road", ["plain", "flat"])
@pytest.mark.parametrize("at", [0, 2, 3])
def test_local_entropy_resumes_with_any_inner_optimizer(inner, reset, road, at):
    """Also one whose state does not start at zero, or is not there before its first step."""

    def build(params):
        outer = lambda p: torch.optim.SGD(p, lr=0.7, momentum=0.5)  # noqa: E731
        settings = {"langevin_steps": 3, "noise": 0.05, "reset_inner": reset}
        return local_entropy(params, PAIRS[inner], outer, **settings)

    options = OPTIONS[road]
    model, optimizer = begun(build, at)
    saved_model = copy.deepcopy(model.state_dict())
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=options))
    resumed = fresh(build, saved_model)
    set_optimizer_state_dict(*resumed, saved, options=options)
    assert goes_on_alike((model, optimizer), resumed, at)


@pytest.mark.parametrize("info", [i for i in OPTIMIZERS if i.anchored], ids=str)
def test_a_checkpoint_saved_at_the_anchor_resumes(info):
    options = OPTIONS["flat"]
    model, optimizer = begun(info.build, 4)
    with optimizer.at_anchor():
        saved_model = copy.deepcopy(model.state_dict())
        saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=options))
    resumed = fresh(info.build, saved_model)
    set_optimizer_state_dict(*resumed, saved, options=options)
    resumed[1].train()
    assert goes_on_alike((model, optimizer), resumed, 4)


@every
def test_asking_for_a_state_dict_changes_nothing(info):
    """Nor does loading one into itself; torch.distributed.checkpoint may step at lr 0 for it."""
    (model, optimizer), (twin, theirs) = begun(info.build, 0), begun(info.build, 0)
    for i in range(7):
        get_optimizer_state_dict(model, optimizer)
        train(model, optimizer, [i])
        train(twin, theirs, [i])
    assert same(weights(model), weights(twin))


@pytest.mark.parametrize("build", [CompactEntropySGD, CompactEntropyAdam])
@pytest.mark.parametrize("road", OPTIONS)
@pytest.mark.parametrize("at", [0, 4])
def test_compact_state_resumes_bit_for_bit(build, road, at):
    def made(params):
        return build(params, langevin_steps=3, noise=0.1)

    options = OPTIONS[road]
    model, optimizer = begun(made, at)
    saved_model = copy.deepcopy(model.state_dict())
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=options))
    resumed = fresh(made, saved_model)
    set_optimizer_state_dict(*resumed, saved, options=options)
    assert resumed[1].state[next(resumed[0].parameters())]["mean"].dtype == torch.bfloat16
    assert goes_on_alike((model, optimizer), resumed, at)


@pytest.mark.parametrize("road", OPTIONS)
@pytest.mark.parametrize("name", ["gamma_growth", "readout"])
def test_functions_are_given_anew(name, road):
    """A checkpoint holds plain values alone, and says of a function that it was one."""
    function = {"gamma_growth": lambda t: 1.5**t, "readout": lambda k: 1 / k}[name]

    def build(params):
        return entropy_sgd(params, **{name: function})

    model, optimizer = begun(build, 4)
    saved_model = copy.deepcopy(model.state_dict())
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=OPTIONS[road]))
    resumed = fresh(build, saved_model)
    set_optimizer_state_dict(*resumed, saved, options=OPTIONS[road])
    assert resumed[1].param_groups[0][name] is function
    assert goes_on_alike((model, optimizer), resumed, 4)


def test_a_function_is_not_replaced_by_a_number():
    _, optimizer = begun(lambda p: entropy_sgd(p, gamma_growth=lambda t: 1.5**t), 4)
    with pytest.raises(ValueError, match=r"gamma_growth was a function .*, not 0.001"):
        entropy_sgd(mlp().parameters()).load_state_dict(optimizer.state_dict())
