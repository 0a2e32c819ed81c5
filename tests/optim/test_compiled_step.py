"""torch.compile around a step, and where it is switched off or not to be had."""

import os
import subprocess
import sys

import pytest
import torch

from tests.optim.optimizers import OPTIMIZERS
from tests.optim.problems import backward, mlp, same, train, weights

NEEDS_A_COMPILER = "needs a C++ compiler"


@pytest.mark.slow
@pytest.mark.parametrize("info", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("backend", ["eager", "inductor"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_compiled_step_ends_and_is_the_step(info, backend):
    """The frames that torch.compile sees are few: it need not follow the method into its lines."""
    torch._dynamo.reset()
    model, twin = mlp(), mlp()
    ours, theirs = info.build(model.parameters()), info.build(twin.parameters())
    step = torch.compile(ours.step, backend=backend)
    for i in range(7):
        backward(model, i)
        step()
        train(twin, theirs, [i])
        assert same(weights(model), weights(twin))
    assert torch._dynamo.utils.counters["stats"].get("unique_graphs", 0) < 10


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_training_step_compiled_whole_trains():
    info = OPTIMIZERS[0]
    torch._dynamo.reset()
    model, twin = mlp(), mlp()
    ours, theirs = info.build(model.parameters()), info.build(twin.parameters())

    @torch.compile(backend="eager")
    def trained(i):
        backward(model, i)
        ours.step()

    for i in range(5):
        trained(i)
        train(twin, theirs, [i])
    assert same(weights(model), weights(twin))


STEPS = """
import torch, widevalley
def walked(**settings):
    p = torch.nn.Parameter(torch.linspace(-1, 1, 1_100_000))
    optimizer = widevalley.EntropySGD([p], noise=0.1, **settings)
    for _ in range(2):
        p.grad = p.detach().sin()
        optimizer.step()
    return p.detach()
"""


def python(code, *options, **variables):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TORCH")}
    done = subprocess.run(
        [sys.executable, *options, "-c", STEPS + code],
        capture_output=True, text=True, check=False, env={**kept, **variables}, timeout=280,
    )  # fmt: skip
    return done.returncode, done.stdout.strip(), done.stderr


OFF = pytest.mark.parametrize("variable", ["TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE"])


@pytest.mark.slow
@OFF
def test_where_compiling_is_switched_off_the_default_goes_without(variable):
    """By the same steps as fused=False, bit for bit: no kernel's lines run uncompiled."""
    code = "print(torch.equal(walked(), walked(fused=False)))"
    assert python(code, **{variable: "1"})[:2] == (0, "True")


@pytest.mark.slow
@OFF
def test_where_compiling_is_switched_off_a_kernel_asked_for_is_refused(variable):
    code, _, said = python("walked(fused=True)", **{variable: "1"})
    assert code == 1
    last = said.strip().splitlines()[-1]
    assert last.startswith("ValueError: fused must not be True"), said
    assert variable in last


@pytest.mark.slow
def test_the_first_fused_step_warns_of_nothing():
    """Under warnings as errors it is made as ever, but for what torch warns of by itself."""
    own = "import warnings; warnings.filterwarnings('ignore', module='torch');"
    code = own + "print(torch.allclose(walked(), walked(fused=False), atol=1e-4))"
    assert python(code, "-W", "error")[:2] == (0, "True")
