"""Lines and kernel, side by side or each parameter on its own, take the same steps."""

import copy
import math
import subprocess

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.tensor import DeviceMesh, Replicate, Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from tests.optim.optimizers import build as made
from widevalley import SGLD, EntropyAdam, EntropySGD, LocalEntropy
from widevalley.optim import _kernel, _kernel_cpu, _tensors
from widevalley.optim._kernel import available
from widevalley.optim._tensors import element_index, first_elements
from widevalley.optim._walk import LARGE, Walkers

LINES = {"fused": False}
WAYS = {"lines": LINES, "fused": {"fused": True}}
every_way = pytest.mark.parametrize("way", WAYS)
no_compiler = not available(torch.device("cpu"))
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-6, torch.bfloat16: 2e-2}
"""Of float64 numbers too the noise has 24 bits and a polynomial's error."""


def skip_without_compiler(way):
    if way == "fused" and no_compiler:
        pytest.skip("the kernel needs a C++ compiler")


def parameters(shapes, dtype, *, strided=False):
    generator = torch.Generator().manual_seed(1)
    made = []
    for shape in shapes:
        p = torch.randn(shape, generator=generator).to(dtype)
        if strided and p.dim() > 1:
            p = p.transpose(0, -1).contiguous().transpose(0, -1)
        made.append(nn.Parameter(p))
    return made


def walked(way, params, steps, build=EntropySGD, **kw):
    """Parameters after some steps, and the optimizer."""
    optimizer = made(build, params, langevin_steps=3, noise=0.1, gamma=0.5, **kw, **way)
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        for p in params:
            slope = torch.randn(p.shape, generator=generator).to(p.dtype)
            p.grad = slope + 0.1 * p.detach()
        optimizer.step()
    return optimizer


shapes = st.lists(st.lists(st.integers(1, 7), max_size=3).map(tuple), min_size=1, max_size=4)


@every_way
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shapes=shapes,
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    strided=st.booleans(),
    momentum=st.sampled_from([0.0, 0.9]),
    nesterov=st.booleans(),
    on_all=st.booleans(),
    decay=st.sampled_from([0.0, 0.1]),
    averaging=st.sampled_from([0.6, 1.0]),
    law=st.sampled_from(["gaussian", "two-point"]),
    small=st.sampled_from([0, 1 << 15]),
)
def test_every_way_is_the_lines_of_each_parameter_on_its_own(
    way, shapes, dtype, strided, momentum, nesterov, on_all, decay, averaging, law, small
):
    """On any shapes and strides, side by side or on their own."""
    skip_without_compiler(way)
    chosen = {
        "langevin_momentum": momentum,
        "langevin_nesterov": nesterov,
        "momentum_on_all": on_all,
        "weight_decay": decay,
        "averaging": averaging,
        "noise_law": law,
    }
    before, _tensors.SMALL = _tensors.SMALL, small
    try:
        ours, theirs = (parameters(shapes, dtype, strided=strided) for _ in range(2))
        a = walked(WAYS[way], ours, 5, **chosen)
        _tensors.SMALL = 0
        b = walked(LINES, theirs, 5, **chosen)
    finally:
        _tensors.SMALL = before
    for p, q in zip(ours, theirs, strict=True):
        close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
        torch.testing.assert_close(p, q, **close)
        for name in ("anchor", "mean") if averaging != 1 else ("anchor",):
            torch.testing.assert_close(a.state[p][name], b.state[q][name], **close)


@every_way
def test_entropy_adam(way):
    skip_without_compiler(way)
    ours, theirs = (parameters([(5, 4), (4,)], torch.float64) for _ in range(2))
    walked(WAYS[way], ours, 7, EntropyAdam, lr=0.1)
    walked(LINES, theirs, 7, EntropyAdam, lr=0.1)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-5)


@every_way
def test_a_checkpoint_goes_on_bit_for_bit(way):
    """From inside a walk, with packed and other parameters; state loaded replaces the strips."""
    skip_without_compiler(way)
    shapes = [(3, 4), (200, 200), (7,)]
    whole, halves = (parameters(shapes, torch.float32) for _ in range(2))
    one, two = (EntropySGD(p, langevin_steps=3, noise=0.1, **WAYS[way]) for p in (whole, halves))

    def step(params, optimizer, seed):
        for p in params:
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed))
        optimizer.step()

    for k in range(8):
        step(whole, one, k)
    for k in range(4):
        step(halves, two, k)
    saved, again = copy.deepcopy(two.state_dict()), parameters(shapes, torch.float32)
    with torch.no_grad():
        for p, q in zip(again, halves, strict=True):
            p.copy_(q)
    resumed = EntropySGD(again, langevin_steps=3, noise=0.1, **WAYS[way])
    resumed.load_state_dict(saved)
    for k in range(4, 8):
        step(again, resumed, k)
    for p, q in zip(whole, again, strict=True):
        assert torch.equal(p, q)


@every_way
def test_a_copy_is_on_its_own(way):
    skip_without_compiler(way)
    params = parameters([(3, 4), (7,)], torch.float32)
    optimizer = walked(WAYS[way], params, 4)
    model_and_optimizer = copy.deepcopy((params, optimizer))
    before = [p.detach().clone() for p in params]
    copied, other = model_and_optimizer
    for p in copied:
        p.grad = torch.ones_like(p)
    other.step()
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))
    assert not any(torch.equal(p, q) for p, q in zip(copied, before, strict=True))


@every_way
def test_who_has_a_gradient_may_change(way):
    skip_without_compiler(way)

    def run(switches):
        params = parameters([(3, 4), (7,), (2, 2)], torch.float64)
        optimizer = EntropySGD(params, langevin_steps=4, noise=0.1, **switches)
        for k in range(12):
            for j, p in enumerate(params):
                p.grad = None if j == 1 and k % 3 == 1 else torch.ones_like(p)
            optimizer.step()
        return params

    for p, q in zip(run(WAYS[way]), run(LINES), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(no_compiler, reason="the kernel needs a C++ compiler")
def test_schedules_do_not_compile_anew():
    """A hundred steps with another lr, gamma and outer step each."""
    params = parameters([(60, 700), (5,)], torch.float32)
    optimizer = EntropySGD(params, langevin_steps=2, fused=True)
    for k in range(104):
        if k == 4:
            compiled = _kernel_cpu._compiled.cache_info().misses
        for p in params:
            p.grad = torch.ones_like(p)
        for group in optimizer.param_groups:
            group.update(lr=1 / (k + 1), gamma=1e-3 * (k + 1), langevin_lr=0.1 / (k + 1))
        optimizer.step()
    assert _kernel_cpu._compiled.cache_info().misses == compiled


def test_what_is_chosen():
    def chosen(count, fused):
        p = nn.Parameter(torch.zeros(count))
        return Walkers([(p, {})], (fused, True, ()), {p: 0}).fused

    quiet, noisy = LARGE
    assert chosen(3, None) == [False, False]
    assert chosen(noisy, None) == [False, not no_compiler]
    assert chosen(quiet, None) == [not no_compiler] * 2
    assert chosen(quiet, False) == [False, False]
    assert chosen(3, True) == [True, True]


def test_bad_switches(monkeypatch):
    params = [nn.Parameter(torch.zeros(3))]
    with pytest.raises(ValueError, match="fused must be True, False or None, got 'yes'"):
        EntropySGD(params, fused="yes")
    monkeypatch.setattr(_kernel, "_has_compiler", lambda kind: False)
    with pytest.raises(ValueError, match=r"fused must not be True on cpu: it needs a C\+\+"):
        EntropySGD(params, fused=True)


@pytest.mark.parametrize(
    ("mesh", "placements", "rank"),
    [
        ((2,), [Shard(0)], 1),
        ((3,), [Shard(1)], 2),
        ((2, 2), [Shard(0), Shard(0)], 3),
        ((2, 2), [Shard(1), Shard(0)], 2),
        ((2, 2), [Replicate(), Shard(1)], 1),
        ((8,), [Shard(0)], 7),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_shards_number_their_elements_as_the_whole_does(mesh, placements, rank, dtype):
    whole = torch.arange(5 * 6).view(5, 6)
    torch.distributed.init_process_group("fake", rank=rank, world_size=8, store=FakeStore())
    try:
        ranks = torch.arange(math.prod(mesh)).view(mesh)
        device_mesh = DeviceMesh("cpu", ranks, mesh_dim_names=tuple("ab"[: len(mesh)]))
        place = {"device_mesh": device_mesh, "placements": placements, "src_data_rank": None}
        numbers = distribute_tensor(whole, **place).to_local()
        found = element_index(distribute_tensor(whole.to(dtype), **place), 100)
    finally:
        torch.distributed.destroy_process_group()
    if dtype.is_complex:
        numbers = torch.stack([2 * numbers, 2 * numbers + 1], dim=-1)
    assert torch.equal(found, numbers.flatten().to(torch.int32) + 100)


def test_numbers_of_parameters_do_not_overlap():
    large = nn.Parameter(torch.empty((1 << 16, 1 << 15), device="meta"))
    small = nn.Parameter(torch.empty(7, dtype=torch.complex64, device="meta"))
    starts = first_elements([large, small, large.clone(), nn.Parameter(large.detach().clone())])
    assert list(starts.values()) == [0, 1 << 31, 1 << 32, 3 << 31]


@pytest.mark.skipif(no_compiler, reason="the kernel needs a C++ compiler")
def test_a_compiler_that_fails_is_done_without(monkeypatch):
    """Chosen by default, the kernel gives way to the lines, and says so; asked for, it raises."""

    def broken(*_):
        raise subprocess.CalledProcessError(1, "g++", stderr="no headers")

    monkeypatch.setattr(_kernel_cpu, "_compiled", broken)
    monkeypatch.setattr(_kernel, "_failed", set())
    params, twins = (
        [nn.Parameter(torch.zeros(LARGE[0])), nn.Parameter(torch.zeros(3))] for _ in "ab"
    )
    optimizer, loop = EntropySGD(params), EntropySGD(twins, **LINES)
    for _ in range(2):
        for p in (*params, *twins):
            p.grad = torch.ones_like(p)
        if not _kernel._failed:
            with pytest.warns(UserWarning, match="steps go without a kernel.*no headers"):
                optimizer.step()
        else:
            optimizer.step()
        loop.step()
    assert all(torch.equal(p, q) for p, q in zip(params, twins, strict=True))
    monkeypatch.setattr(_kernel, "_failed", set())
    insisting = EntropySGD(params, fused=True)
    with pytest.raises(_kernel.KernelError, match="no headers"):
        insisting.step()


def test_other_parameters_in_a_group_are_noticed():
    """Wrappers put others in the place of parameters after construction."""
    params, others = (parameters([(3, 4), (7,)], torch.float32) for _ in "ab")
    optimizer = walked(WAYS["lines"], params, 3)
    optimizer.param_groups[0]["params"] = others
    before = [p.detach().clone() for p in params]
    for p in others:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))
    assert not any(torch.equal(p, q) for p, q in zip(others, before, strict=True))


@every_way
def test_numbers_put_in_the_place_of_a_parameters_own_are_walked_on(way):
    """As wrappers and averages do: ``p.data = other`` amid a walk."""
    skip_without_compiler(way)

    def run(replace):
        params = parameters([(3, 4), (200, 200), (7,)], torch.float32)
        optimizer = EntropySGD(params, langevin_steps=4, noise=0.1, **WAYS[way])
        for k in range(10):
            for p in params:
                p.grad = torch.ones_like(p)
                if replace and k == 6:
                    p.data = p.detach().clone()
            optimizer.step()
        return params

    assert all(torch.equal(p, q) for p, q in zip(run(True), run(False), strict=True))


@every_way
@pytest.mark.parametrize("layout", ["channels_last", "transposed", "expanded_gradient"])
def test_how_a_parameter_lies_in_memory_changes_nothing(way, layout):
    """Numbers and noise go by place in the tensor, not by place in memory."""
    skip_without_compiler(way)

    def run(lay):
        (start,) = parameters([(12, 8, 20, 20)], torch.float64)
        p = nn.Parameter(lay(start.detach()))
        optimizer = EntropySGD([p], langevin_steps=3, noise=0.1, momentum=0.5, **WAYS[way])
        for k in range(7):
            slope = torch.linspace(-1, 1, 20, dtype=torch.float64).add(k).expand(p.shape)
            p.grad = slope if layout == "expanded_gradient" else torch.empty_like(p).copy_(slope)
            optimizer.step()
        if lay is not torch.clone:
            assert not p.is_contiguous()
        return p.detach()

    lays = {
        "channels_last": lambda t: t.contiguous(memory_format=torch.channels_last),
        "transposed": lambda t: t.transpose(0, 2).contiguous().transpose(0, 2),
    }
    laid = run(lays.get(layout, lays["channels_last"]))
    torch.testing.assert_close(laid, run(torch.clone), rtol=1e-6, atol=1e-6)


def test_sgld_and_local_entropy_draw_by_place_too():
    def run(build, lay):
        p = nn.Parameter(lay(torch.zeros(4, 5, 6, 7, dtype=torch.float64)))
        optimizer = build([p])
        for _ in range(3):
            p.grad = torch.ones_like(p)
            optimizer.step()
        return p.detach()

    def wrapped(params):
        inner, outer = (torch.optim.SGD(params, lr=0.1) for _ in "io")
        return LocalEntropy(inner, outer, noise=0.5, langevin_steps=2)

    for build in (lambda params: SGLD(params, noise=0.5), wrapped):
        laid = run(build, lambda t: t.contiguous(memory_format=torch.channels_last))
        assert torch.equal(laid, run(build, torch.clone))
