"""bfloat16 state, anchors on the host, and what a step allocates."""

import copy
import io
import itertools

import pytest
import torch
from torch import nn

from tests.optim.test_implementations import (
    LINES,
    WAYS,
    every_way,
    parameters,
    skip_without_compiler,
    walked,
)
from widevalley import EntropyAdam, EntropySGD, gradient_point
from widevalley.experimental import CompactEntropyAdam, CompactEntropySGD
from widevalley.experimental.compact_state import rounded, rounding_bits
from widevalley.optim._noise import gaussian, step_key

COMPACT = {EntropySGD: CompactEntropySGD, EntropyAdam: CompactEntropyAdam}
RULES = pytest.mark.parametrize(
    ("build", "kw"),
    [
        (EntropySGD, {"momentum": 0.5}),
        (EntropySGD, {"langevin_momentum": 0.0}),
        (EntropyAdam, {"lr": 0.1}),
        (EntropyAdam, {"lr": 0.1, "langevin_betas": (0.9, 0.999), "fused": None}),
    ],
)


def bits_of(count, key=None):
    index = torch.arange(count, dtype=torch.int32)
    return rounding_bits(index, key or step_key(0, 0, 0, 0))


@pytest.mark.parametrize("value", [1.0, 1 + 2**-8, 0.1, -0.1, 1e-20, -3e30, 1e-42])
def test_rounding_is_to_a_neighbour_and_exact_on_average(value):
    count = 1 << 18
    exact = torch.full((count,), value)
    found = rounded(exact, bits_of(count))
    assert torch.equal(found.bfloat16().float(), found)
    low, high = found.min().double().item(), found.max().double().item()
    assert low <= exact[0] <= high
    assert high - low <= 2**-7 * max(abs(low), abs(high), 2.0**-126)
    scatter = (high - low) / 2 / count**0.5
    assert found.double().mean().item() == pytest.approx(exact[0].item(), abs=4.5 * scatter + 1e-45)


def test_what_is_not_finite_stays_so():
    special = torch.tensor([torch.inf, -torch.inf, torch.nan])
    found = rounded(special, torch.full((3,), 0xFFFF, dtype=torch.int32))
    assert torch.equal(found[:2], special[:2])
    assert bool(found[2].isnan())


def test_rounding_is_independent_of_the_noise():
    """Of noise and of its square and size, correlations over 2^20 numbers, to 4.5 sigma."""
    count, key = 1 << 20, step_key(0, 0, 0, 0)
    bits = bits_of(count, key).double() / 2**16
    noise = gaussian(torch.empty(count, dtype=torch.float64), key)
    made = torch.stack([bits, noise, noise**2, noise.abs()])
    assert abs(bits.mean() - 0.5) < 4.5 * (1 / 12) ** 0.5 / 2**10
    assert torch.corrcoef(made)[0, 1:].abs().max() < 4.5 / 2**10


@every_way
@RULES
def test_narrow_state_takes_half_the_memory_and_follows(way, build, kw):
    """mu - x to a few parts in 2^8 of itself after whole walks, though x is larger by far."""
    skip_without_compiler(way)
    kw = {**WAYS[way], **kw}
    shapes = [(40, 50), (200, 200), (7,)]

    def run(build):
        params = parameters(shapes, torch.float32)
        return params, walked({}, params, 8, build, langevin_lr=1e-3, **kw)

    ours, narrow = run(COMPACT[build])
    theirs, _ = run(build)
    close = 0.04 if build is EntropyAdam else 0.01
    starts = parameters(shapes, torch.float32)
    for p, q, start in zip(ours, theirs, starts, strict=True):
        kept = narrow.state[p]
        for name in kept:
            if name not in ("anchor", "walker") and isinstance(kept[name], torch.Tensor):
                assert kept[name].dtype == torch.bfloat16, name
        assert kept["anchor"].dtype == torch.float32
        assert (p - q).norm() < close * (q - start).norm()


@every_way
def test_rounding_is_the_same_in_every_way(way):
    """But for numbers that differ in the last bit before: those may go the other way."""
    skip_without_compiler(way)
    ours, theirs = (parameters([(40, 50), (200, 200), (7,)], torch.float32) for _ in "ab")
    a = walked(WAYS[way], ours, 2, CompactEntropySGD)
    b = walked(LINES, theirs, 2, CompactEntropySGD)
    for p, q in zip(ours, theirs, strict=True):
        for name in ("mean", "langevin_buffer"):
            x, y = a.state[p][name].flatten(), b.state[q][name].flatten()
            assert (x != y).float().mean() < 1e-2
            torch.testing.assert_close(x, y, rtol=2**-7, atol=2e-4)


def test_the_mean_is_exact_on_average():
    """Over many numbers that walk alike, rounding alone tells them apart."""
    count = 1 << 16

    def mean_of(build):
        p = nn.Parameter(torch.ones(count))
        optimizer = build([p], langevin_steps=9, noise=0.0, langevin_lr=1e-3)
        for _ in range(6):
            p.grad = torch.full((count,), 0.3)
            optimizer.step()
        state = optimizer.state[p]
        plain = build is EntropySGD
        drift = state["mean"] - state["anchor"] if plain else state["mean"]
        return drift.double()

    narrow, wide = mean_of(CompactEntropySGD), mean_of(EntropySGD)
    assert narrow.unique().numel() > 1
    error = narrow.std() / count**0.5
    assert abs(narrow.mean() - wide.mean()) < 4.5 * error + 2e-7 * wide.mean().abs()


@every_way
@RULES
def test_a_checkpoint_of_narrow_state_goes_on_bit_for_bit(way, build, kw):
    skip_without_compiler(way)
    kw = {"langevin_steps": 3, "noise": 0.1, **WAYS[way], **kw}
    build = COMPACT[build]
    shapes = [(3, 4), (200, 200)]

    def steps(params, optimizer, first, last):
        for k in range(first, last):
            for p in params:
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(k))
            optimizer.step()

    whole, half = (parameters(shapes, torch.float32) for _ in "ab")
    one, two = build(whole, **kw), build(half, **kw)
    steps(whole, one, 0, 8)
    steps(half, two, 0, 4)
    file = io.BytesIO()
    torch.save(two.state_dict(), file)
    file.seek(0)
    resumed = build(half, **kw)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    steps(half, resumed, 4, 8)
    assert all(torch.equal(p, q) for p, q in zip(whole, half, strict=True))


@every_way
@RULES
def test_a_step_holds_one_parameters_state_whole_at_a_time(way, build, kw):
    """Kept are anchor, mean and the momenta asked for; beside one's state whole, three tensors."""
    skip_without_compiler(way)
    count, params = 1 << 20, [nn.Parameter(torch.zeros(1 << 20)) for _ in range(4)]
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer = COMPACT[build](params, langevin_steps=2, **{**WAYS[way], **kw})
    for _ in range(2):
        optimizer.step()
    tensors = [t for t in optimizer.state[params[0]].values() if isinstance(t, torch.Tensor)]
    adam = build is EntropyAdam
    momenta = 2 * adam + bool(kw.get("momentum"))
    momenta += 2 if kw.get("langevin_betas") else kw.get("langevin_momentum", 0.9) > 0
    assert sum(t.nbytes for t in tensors) == count * (4 + 2 * (1 + momenta))
    with torch.profiler.profile(profile_memory=True) as profile:
        for _ in range(2):
            optimizer.step()
    events = profile.profiler.kineto_results.events()
    changes = [event.nbytes() for event in events if event.name() == "[memory]"]
    assert max(itertools.accumulate(changes)) <= 4 * count * (1 + momenta + 3) + 1024


def test_parameters_may_be_complex_or_of_another_precision():
    for dtype in (torch.complex64, torch.bfloat16, torch.float64):
        p = nn.Parameter(torch.ones(300, dtype=dtype))
        q = nn.Parameter(p.detach().clone())
        for x, build in ((p, CompactEntropySGD), (q, EntropySGD)):
            optimizer = build([x], langevin_steps=2)
            for _ in range(4):
                x.grad = torch.ones_like(x)
                optimizer.step()
        torch.testing.assert_close(p, q, rtol=1e-2, atol=1e-2)


def test_the_anchor_is_shown_and_hidden_bit_for_bit():
    params = parameters([(5, 4), (200, 200)], torch.float32)
    optimizer = walked({}, params, 4, CompactEntropySGD)
    before = copy.deepcopy([p.detach() for p in params])
    anchors = [optimizer.state[p]["anchor"].clone() for p in params]
    with optimizer.at_anchor():
        assert all(torch.equal(p, x) for p, x in zip(params, anchors, strict=True))
    assert all(torch.equal(p, x) for p, x in zip(params, before, strict=True))


def test_frozen_at_the_anchor_a_parameter_goes_on_from_its_walker():
    def run(freezes):
        params = parameters([(5, 4), (200, 200)], torch.float32)
        optimizer = walked({}, params, 4, CompactEntropySGD)
        optimizer.eval()
        params[0].requires_grad_(not freezes)
        optimizer.train()
        params[0].requires_grad_()
        for _ in range(4):
            for p in params:
                p.grad = torch.ones_like(p)
            optimizer.step()
        return params

    torch.testing.assert_close(run(True), run(False))


def test_a_checkpoint_of_plain_state_becomes_compact():
    plain, compact = (parameters([(5, 4), (200, 200)], torch.float32) for _ in "ab")
    saved = walked({}, plain, 4).state_dict()
    with torch.no_grad():
        for p, q in zip(plain, compact, strict=True):
            q.copy_(p)
    optimizer = CompactEntropySGD(compact)
    optimizer.load_state_dict(saved)
    other = EntropySGD(plain)
    other.load_state_dict(saved)
    for p in (*plain, *compact):
        p.grad = torch.ones_like(p)
    optimizer.step()
    other.step()
    torch.testing.assert_close(plain, compact, rtol=1e-2, atol=1e-2)
    for p, q in zip(plain, compact, strict=True):
        theirs, ours = other.state[p], optimizer.state[q]
        assert ours["mean"].dtype == torch.bfloat16
        drift = (theirs["mean"] - theirs["anchor"]).norm()
        assert (ours["mean"] + theirs["anchor"] - theirs["mean"]).norm() < 0.01 * drift


def test_a_copy_keeps_its_options():
    optimizer = CompactEntropySGD(parameters([(3,)], torch.float32), state_dtype=None)
    copied = copy.deepcopy(optimizer)
    copied.add_param_group({"params": parameters([(4,)], torch.float32)})
    assert all(state["mean"].dtype == torch.float32 for state in copied.state.values())


def test_bad_settings():
    params = parameters([(3,)], torch.float32)
    with pytest.raises(ValueError, match=r"state_dtype must be None or torch.bfloat16, got 'bf16'"):
        CompactEntropySGD(params, state_dtype="bf16")
    with pytest.raises(ValueError, match="offload_anchor must be True or False, got 'cpu'"):
        CompactEntropyAdam(params, offload_anchor="cpu")


@pytest.mark.cuda
@every_way
@pytest.mark.parametrize("build", [EntropySGD, EntropyAdam])
def test_an_anchor_on_the_host_changes_nothing(way, build):
    def walked(build, **kw):
        p = torch.nn.Parameter(torch.linspace(-1, 1, 70_000, device="cuda"))
        optimizer = build([p], langevin_steps=3, noise=0.1, **kw, **WAYS[way])
        for k in range(7):
            p.grad = 0.1 * p.detach().sin()
            optimizer.step()
            if k == 3:
                optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        with optimizer.at_anchor():
            shown = p.detach().clone()
        return p.detach(), shown, optimizer.state[p]["anchor"]

    ours = walked(COMPACT[build], offload_anchor=True, state_dtype=None)
    theirs = walked(build)
    assert ours[2].is_pinned()
    assert not ours[2].is_cuda
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-5, atol=1e-5)


@pytest.mark.cuda
@every_way
def test_a_gpu_rounds_as_the_cpu_does(way):
    def walked(device, **kw):
        p = torch.nn.Parameter(torch.linspace(-1, 1, 70_000, device=device))
        optimizer = CompactEntropySGD([p], langevin_steps=3, noise=0.1, momentum=0.5, **kw)
        for _ in range(7):
            p.grad = 0.1 * p.detach().sin()
            optimizer.step()
        return p.detach().cpu()

    found, expected = walked("cuda", **WAYS[way]), walked("cpu", **LINES)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("build", COMPACT.values())
@pytest.mark.parametrize(
    ("name", "value"), [("readout", 0.9), ("gradient_point", gradient_point.Rounding(8))]
)
def test_what_compact_state_is_not_made_for_is_refused(build, name, value):
    params = [nn.Parameter(torch.zeros(3))]
    with pytest.raises(ValueError, match=f"{name} must be None beside compact state"):
        build(params, **{name: value})
    optimizer = build(params)
    optimizer.param_groups[0][name] = value
    params[0].grad = torch.ones(3)
    with pytest.raises(ValueError, match=f"{name} must be None beside compact state"):
        optimizer.step()


def test_metrics_of_compact_state_are_those_of_the_walk():
    torch.manual_seed(0)
    start = torch.randn(500)
    found = []
    for build in (EntropySGD, CompactEntropySGD):
        p = nn.Parameter(start.clone())
        optimizer = build([p], langevin_steps=5)
        for k in range(13):
            p.grad = torch.sin(torch.arange(500.0) + k)
            optimizer.step()
        found.append(optimizer.metrics())
    plain, compact = found
    assert compact == {name: pytest.approx(plain[name], rel=0.01) for name in compact}
    assert compact.keys() == plain.keys()
