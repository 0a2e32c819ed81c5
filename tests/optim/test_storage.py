"""bfloat16 state, blocks, and what a step allocates."""

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.optim.test_implementations import LOOP, WAYS, parameters, skip_without_compiler, walked
from widevalley import EntropyAdam, EntropySGD
from widevalley.optim import _storage
from widevalley.optim._noise import gaussian, step_key
from widevalley.optim._storage import rounded, rounding_bits

EVERY_WAY = {**WAYS, "loop": LOOP}
every_way = pytest.mark.parametrize("way", EVERY_WAY)
BF16 = {"state_dtype": torch.bfloat16}
RULES = pytest.mark.parametrize(
    ("build", "kw"),
    [
        (EntropySGD, {"momentum": 0.5}),
        (EntropySGD, {"langevin_momentum": 0.0}),
        (EntropyAdam, {"lr": 0.1}),
        (EntropyAdam, {"lr": 0.1, "langevin_betas": (0.9, 0.999), "foreach": None, "fused": None}),
    ],
)


def bits_of(count, key=None):
    index = torch.arange(count, dtype=torch.int32)
    return rounding_bits(index, key or step_key(0, 0, 0, 0, 0, 1))


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
    kw = {**EVERY_WAY[way], **kw}
    shapes = [(40, 50), (200, 200), (7,)]

    def run(**more):
        params = parameters(shapes, torch.float32)
        return params, walked({}, params, 8, build, langevin_lr=1e-3, **kw, **more)

    ours, narrow = run(**BF16)
    theirs, _ = run()
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
    a = walked(EVERY_WAY[way], ours, 2, **BF16)
    b = walked(LOOP, theirs, 2, **BF16)
    for p, q in zip(ours, theirs, strict=True):
        for name in ("mean", "langevin_buffer"):
            x, y = a.state[p][name].flatten(), b.state[q][name].flatten()
            assert (x != y).float().mean() < 1e-2
            torch.testing.assert_close(x, y, rtol=2**-7, atol=2e-4)


def test_the_mean_is_exact_on_average():
    """Over many numbers that walk alike, rounding alone tells them apart."""
    count = 1 << 16

    def mean_of(**kw):
        p = nn.Parameter(torch.ones(count))
        optimizer = EntropySGD([p], langevin_steps=9, noise=0.0, langevin_lr=1e-3, **kw)
        for _ in range(6):
            p.grad = torch.full((count,), 0.3)
            optimizer.step()
        state = optimizer.state[p]
        drift = state["mean"] if kw else state["mean"] - state["anchor"]
        return drift.double()

    narrow, wide = mean_of(**BF16), mean_of()
    assert narrow.unique().numel() > 1
    error = narrow.std() / count**0.5
    assert abs(narrow.mean() - wide.mean()) < 4.5 * error + 2e-7 * wide.mean().abs()


@every_way
@RULES
def test_a_checkpoint_of_narrow_state_goes_on_bit_for_bit(way, build, kw):
    skip_without_compiler(way)
    kw = {"langevin_steps": 3, "noise": 0.1, **EVERY_WAY[way], **kw, **BF16}
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


@settings(deadline=None)
@given(
    count=st.integers(1, 300),
    size=st.integers(5, 64),
    narrow=st.booleans(),
    momentum=st.sampled_from([0.0, 0.9]),
)
def test_blocks_change_nothing(count, size, narrow, momentum):
    kept = dict(_storage.BLOCK)
    kw = {"langevin_momentum": momentum, "momentum": momentum, **(BF16 if narrow else {})}
    try:
        whole = parameters([(count, 3)], torch.float32)
        walked(LOOP, whole, 5, **kw)
        _storage.BLOCK["cpu"] = size
        cut = parameters([(count, 3)], torch.float32)
        walked(LOOP, cut, 5, **kw)
    finally:
        _storage.BLOCK.update(kept)
    torch.testing.assert_close(whole, cut, rtol=1e-6, atol=1e-6)


@every_way
@pytest.mark.parametrize("narrow", [False, True])
@RULES
def test_a_step_allocates_less_than_a_block(way, narrow, build, kw):
    """State is anchor, mean and the momenta asked for; else a few blocks of the largest tensor."""
    skip_without_compiler(way)
    p = nn.Parameter(torch.zeros(8 * _storage.BLOCK["cpu"]))
    p.grad = torch.ones_like(p)
    settings = {**EVERY_WAY[way], **kw, **(BF16 if narrow else {})}
    optimizer = build([p], langevin_steps=2, **settings)
    for _ in range(2):
        optimizer.step()
    state = sum(t.nbytes for t in optimizer.state[p].values() if isinstance(t, torch.Tensor))
    adam = build is EntropyAdam
    momenta = 2 * adam + bool(kw.get("momentum"))
    momenta += 2 if kw.get("langevin_betas") else kw.get("langevin_momentum", 0.9) > 0
    assert state == p.numel() * (4 + (2 if narrow else 4) * (1 + momenta))
    with torch.profiler.profile(profile_memory=True) as profile:
        for _ in range(2):
            optimizer.step()
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest <= 8 * _storage.BLOCK["cpu"]


def test_complex_and_narrow_parameters_keep_narrow_state():
    for dtype in (torch.complex64, torch.bfloat16, torch.float64):
        p = nn.Parameter(torch.ones(300, dtype=dtype))
        q = nn.Parameter(p.detach().clone())
        for x, kw in ((p, BF16), (q, {})):
            optimizer = EntropySGD([x], langevin_steps=2, **kw)
            for _ in range(4):
                x.grad = torch.ones_like(x)
                optimizer.step()
        torch.testing.assert_close(p, q, rtol=1e-2, atol=1e-2)


def test_the_anchor_is_shown_and_hidden_bit_for_bit():
    params = parameters([(5, 4), (200, 200)], torch.float32)
    optimizer = walked({}, params, 4, **BF16)
    before = copy.deepcopy([p.detach() for p in params])
    anchors = [optimizer.state[p]["anchor"].clone() for p in params]
    with optimizer.at_anchor():
        assert all(torch.equal(p, x) for p, x in zip(params, anchors, strict=True))
    assert all(torch.equal(p, x) for p, x in zip(params, before, strict=True))


def test_settings_an_older_checkpoint_lacks_stay_as_they_are():
    params = parameters([(3,)], torch.float32)
    optimizer = walked({}, params, 2)
    saved = optimizer.state_dict()
    for name in ("state_dtype", "offload_anchor"):
        del saved["param_groups"][0][name]
    other = EntropySGD(params)
    other.load_state_dict(saved)
    other.step()
    assert other.param_groups[0]["state_dtype"] is None


def test_bad_settings():
    params = parameters([(3,)], torch.float32)
    with pytest.raises(ValueError, match=r"state_dtype must be None or torch.bfloat16, got 'bf16'"):
        EntropySGD(params, state_dtype="bf16")
    with pytest.raises(ValueError, match="offload_anchor must be True or False, got 'cpu'"):
        EntropyAdam(params, offload_anchor="cpu")
