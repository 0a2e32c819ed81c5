"""What workers send of their pseudo-gradients: codes whose errors are known."""

import pytest
import torch

from widevalley.workers import BFloat16, EightBits, TopK, Workers

SIZES = [1, 5, 1024, 1025, 4096, 10_000]


def numbers(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, generator=generator) * torch.logspace(-3, 3, n)


@pytest.mark.parametrize("n", SIZES)
def test_eight_bits_err_by_half_a_unit(n):
    """A unit is 1/127 of the largest of 1,024 neighbours."""
    x, code = numbers(n), EightBits()
    decoded = code.decode(code.encode(x), n)
    for block, kept in zip(x.split(1024), decoded.split(1024)):
        assert (block - kept).abs().max() <= block.abs().max() / 254 * 1.0001
    assert code.encode(x).numel() == n + 4 * -(-n // 1024)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("share", [1 / 4096, 1 / 64, 0.5, 1.0])
def test_top_k_keeps_the_largest_of_each_block_and_nothing_else(n, share):
    x, code = numbers(n), TopK(share)
    decoded = code.decode(code.encode(x), n)
    k = max(1, round(share * 4096))
    assert code.kept == k
    for block, kept in zip(x.split(4096), decoded.split(4096)):
        threshold = block.abs().sort(descending=True).values[min(k, len(block)) - 1]
        large = block.abs() >= threshold
        assert (kept[~large] == 0).all()
        assert (block - kept)[large].abs().max() <= block.abs().max() / 254 * 1.0001
    assert code.encode(x).numel() == -(-n // 4096) * (3 * k + 4)


def test_nothing_is_sent_of_zeros():
    for code in (EightBits(), TopK()):
        assert (code.decode(code.encode(torch.zeros(5000)), 5000) == 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delay": -1}, "delay must be a whole number >= 0, got -1"),
        ({"fragments": 0}, "fragments must be a whole number >= 1, got 0"),
        ({"bucket": 0}, "bucket must be > 0, got 0"),
        ({"timeout": 0.0}, "timeout must be > 0, got 0.0"),
        ({"compression": "bf16"}, "compression must be None, BFloat16.*got 'bf16'"),
    ],
)
def test_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        Workers(None, **settings)
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\], got 0"):
        TopK(0)
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\], got 2"):
        TopK(decay=2)
    assert BFloat16() == BFloat16()
