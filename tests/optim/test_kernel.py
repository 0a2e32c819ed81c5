"""The kernel takes the step that the lines take, whatever its points are and however it is made."""

import itertools
import subprocess
import sys

import pytest
import torch
from torch._inductor.utils import run_and_get_code

from widevalley import EntropySGD
from widevalley.optim import _kernel, _kernel_cpu, _kernel_gpu
from widevalley.optim._algorithm import Langevin, Points, average_, langevin_step_
from widevalley.optim._kernel import KernelError, available, fused_langevin_
from widevalley.optim._noise import noise, step_key

CPU = torch.device("cpu")
KEY = step_key(3, 1, 4, 1)
pytestmark = pytest.mark.skipif(not available(CPU), reason="the kernel needs a C++ compiler")


def points(count, dtype=torch.float32, offset=0, momentum=True, mean=True, index=0):
    """`offset` numbers into their storages: a view that no vector register's width divides."""
    generator = torch.Generator().manual_seed(count)
    tensors = torch.randn(5, offset + count, generator=generator, dtype=torch.float64).to(dtype)
    walker, gradient, anchor, *rest = (t.clone()[offset:] for t in tensors)
    return Points(
        walker, gradient, anchor, rest[0] if mean else None, rest[1] if momentum else None, index
    )


def settings(momentum=0.9, **changed):
    usual = {"lr": 0.1, "gamma": 0.5, "noise_std": 0.3, "averaging": 0.75, "weight_decay": 0.01}
    return Langevin(**{**usual, "momentum": momentum, "nesterov": bool(momentum), **changed})


def copied(w):
    names = ("walker", "gradient", "anchor", "mean", "buffer")
    tensors = (getattr(w, name) for name in names)
    return Points(*(None if t is None else t.clone() for t in tensors), w.index)


def by_lines(w, s):
    w.gradient = w.gradient.to(w.walker.dtype)
    z = noise(w.walker, KEY, w.index, s.law) if s.noise_std else None
    langevin_step_(w, z, s)
    if w.mean is not None:
        average_(w, s)


def check(w, s, tolerance=2e-5):
    twin = copied(w)
    fused_langevin_(w, s, KEY)
    by_lines(twin, s)
    for name in ("walker", "anchor", "mean", "buffer"):
        ours, theirs = getattr(w, name), getattr(twin, name)
        if theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("law", ["gaussian", "two-point"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("on_all", [False, True])
def test_every_kind_of_step(law, momentum, on_all):
    for averaging, gamma, std, sign in itertools.product((1.0, 0.75), (0, 0.5), (0, 0.3), (1, -1)):
        changed = {"averaging": averaging, "gamma": gamma, "noise_std": std, "sign": float(sign)}
        s = settings(momentum, law=law, momentum_on_all=on_all, **changed)
        check(points(1000, momentum=bool(momentum), mean=averaging != 1), s)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gradient", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_every_type_of_number(dtype, gradient):
    w = points(1000, dtype)
    w.gradient = w.gradient.to(gradient)
    check(w, settings())


@pytest.mark.parametrize("count", [1, 2, 15, 17, 1 << 15, (1 << 16) + 7, 200_001])
@pytest.mark.parametrize("offset", [0, 1])
def test_every_size_aligned_or_not(count, offset):
    check(points(count, offset=offset), settings())


def test_nothing_of_no_elements():
    check(points(0), settings())


def test_numbers_of_elements_pass_two_to_the_31():
    check(points(100, index=(1 << 31) - 50), settings())
    check(points(100, index=(1 << 32) - 100), settings())


def test_listed_numbers_are_those_of_the_elements():
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0)).to(torch.int32)
    check(points(5000, index=order), settings())


def test_what_is_not_needed_is_not_read():
    """Without a scope the anchor may be anything, without noise the numbers of elements too."""
    w = points(100, mean=False)
    w.anchor.fill_(torch.nan)
    w.index = torch.full((100,), -1, dtype=torch.int32)
    fused_langevin_(w, settings(gamma=0.0, noise_std=0.0, averaging=1.0), KEY)
    assert w.walker.isfinite().all()


@pytest.mark.parametrize("law", ["gaussian", "two-point"])
def test_parts_in_any_order_are_the_whole(law):
    whole, parts = points(100_000), points(100_000)
    s = settings(law=law)
    fused_langevin_(whole, s, KEY)
    for begin, end in ((70_000, 100_000), (0, 33), (33, 70_000)):
        kept = (parts.walker, parts.gradient, parts.anchor, parts.mean, parts.buffer)
        fused_langevin_(Points(*(t[begin:end] for t in kept), begin), s, KEY)
    for name in ("walker", "mean", "buffer"):
        assert torch.equal(getattr(whole, name), getattr(parts, name))


def test_threads_change_nothing():
    many, one = points(1 << 18), points(1 << 18)
    before = torch.get_num_threads()
    try:
        for w, threads in ((many, 3), (one, 1)):
            torch.set_num_threads(threads)
            fused_langevin_(w, settings(), KEY)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(many.walker, one.walker)
    assert torch.equal(many.mean, one.mean)


def test_schedules_make_nothing_anew():
    w = points(100)
    fused_langevin_(w, settings(), KEY)
    made = _kernel_cpu._compiled.cache_info().misses
    for k in range(1, 50):
        s = settings(lr=0.1 / k, gamma=1e-3 * k, noise_std=0.1 / k, weight_decay=0.1 * k)
        fused_langevin_(w, s, step_key(0, 0, k, 0))
    assert _kernel_cpu._compiled.cache_info().misses == made


# --- how it is made -----------------------------------------------------------------------------


@pytest.fixture
def anew(monkeypatch, tmp_path):
    """As in a process and a cache folder that have no kernel."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_kernel, "_failed", set())
    _kernel_cpu._compiled.cache_clear()
    yield tmp_path
    _kernel_cpu._compiled.cache_clear()


def test_what_is_made_is_kept(anew, monkeypatch):
    check(points(100), settings())
    (kept,) = (anew / "widevalley").iterdir()
    assert kept.suffix == ".so"
    _kernel_cpu._compiled.cache_clear()
    monkeypatch.setattr(subprocess, "run", None)
    check(points(100), settings())


def test_without_a_place_to_keep_it_it_is_made_all_the_same(anew):
    (anew / "widevalley").write_text("not a folder")
    check(points(100), settings())


def test_a_compiler_that_fails_leaves_everything_as_it_was(anew, monkeypatch):
    monkeypatch.setattr(_kernel_cpu, "FLAGS", ("-no-such-option",))
    w = points(100)
    before = copied(w)
    with pytest.raises(KernelError, match="no-such-option"):
        fused_langevin_(w, settings(), KEY)
    assert torch.equal(w.walker, before.walker)
    assert torch.equal(w.mean, before.mean)
    assert torch.equal(w.buffer, before.buffer)


LARGE_STEP = """
import sys, torch, widevalley
assert "torch._dynamo" not in sys.modules, "the package loads torch's compiler"
p = torch.nn.Parameter(torch.zeros(1 << 20))
p.grad = torch.ones_like(p)
optimizer = widevalley.EntropySGD([p], noise=0.1)
optimizer.step()
from widevalley.optim import _kernel_cpu
print(_kernel_cpu._compiled.cache_info().misses, p.isfinite().all().item())
"""


def large_step(monkeypatch, *options):
    """Kernels made by the first step of a large parameter in a process of its own."""
    run = [sys.executable, *options, "-c", LARGE_STEP]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    made, finite = done.stdout.split()
    assert finite == "True"
    return int(made)


def test_a_first_step_where_warnings_are_errors(monkeypatch, anew):
    assert large_step(monkeypatch, "-W", "error") == 1


@pytest.mark.parametrize("name", ["TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE"])
def test_told_not_to_compile_torch_goes_without_a_kernel(monkeypatch, anew, name):
    monkeypatch.setenv(name, "1")
    assert not available(CPU)
    assert large_step(monkeypatch) == 0


# --- that of a GPU, which torch makes for processors too -----------------------------------------


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    torch._dynamo.reset()
    _kernel_gpu._compiled.cache_clear()
    monkeypatch.setattr(_kernel_cpu, "step_", _kernel_gpu.step_)


@pytest.mark.slow
@pytest.mark.parametrize("law", ["gaussian", "two-point"])
@pytest.mark.parametrize("index", [0, (1 << 31) - 50])
def test_the_gpus_lines_are_the_lines(as_on_a_gpu, law, index):
    check(points(1000, index=index), settings(law=law))
    check(points(1, index=index), settings(law=law))
    order = torch.randperm(500).to(torch.int32)
    w = points(500, mean=False, momentum=False, index=order)
    w.gradient = w.gradient.bfloat16()
    check(w, settings(0.0, law=law, averaging=1.0, gamma=0.0))


@pytest.mark.slow
@pytest.mark.parametrize("noise_std", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_gpus_lines_pass_over_a_parameter_once(as_on_a_gpu, noise_std, momentum):
    """One loop, and nothing laid down in memory between its lines."""
    w = points(1 << 15, momentum=bool(momentum))
    s = settings(momentum, noise_std=noise_std)
    _, codes = run_and_get_code(fused_langevin_, w, s, KEY)
    (code,) = codes
    assert code.count("for(int64_t x0=") == 1
    assert "= empty_strided_cpu(" not in code


@pytest.mark.slow
def test_schedules_do_not_compile_the_gpus_lines_anew(as_on_a_gpu):
    w = points(1000)
    for k in range(1, 10):
        if k == 3:
            compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        fused_langevin_(w, settings(lr=0.1 / k, gamma=1e-3 * k), step_key(0, 0, k, 0))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled


def test_autograd_notices_what_the_kernel_writes():
    """A step between forward and backward is an error, as it is with torch's own optimizers."""
    p = torch.nn.Parameter(torch.ones(200, 200))
    optimizer = EntropySGD([p], fused=True)
    p.grad = torch.ones_like(p)
    loss = (p * p).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
