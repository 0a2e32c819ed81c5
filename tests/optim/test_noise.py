"""The keyed noise is Gaussian, and independent between steps, workers, parameters and neighbours.

Every statistic is in standard errors; of one that is normal, five are passed once in two million.
"""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from widevalley.optim._noise import WORD, gaussian, indices, mix, step_key, two_point

SIGMAS = 5
N = 1 << 20


def draws(count, *key, index=0):
    return gaussian(torch.empty(count), step_key(*key, index // WORD), index).numpy().astype(float)


def surprise(a, b):
    """Of the correlations of two samples, their squares, and one with the other's square."""
    a2, b2 = (a * a - 1) / np.sqrt(2), (b * b - 1) / np.sqrt(2)
    return max(abs(x @ y) / np.sqrt(len(x)) for x in (a, a2) for y in (b, b2))


@pytest.mark.parametrize("key", [(0, 0, 0, 0), (1, 0, 0, 0), (7, 3, 500, 19), (2**31, 9, 10**6, 1)])
def test_the_law_is_gaussian(key):
    x = draws(N, *key)
    assert stats.kstest(x, "norm").pvalue > 1e-5
    moments = x.mean() * N**0.5, (x.var() - 1) * (N / 2) ** 0.5
    higher = stats.skew(x) * (N / 6) ** 0.5, stats.kurtosis(x) * (N / 24) ** 0.5
    assert np.abs((*moments, *higher)).max() < SIGMAS


def test_the_tails_to_four_sigma():
    x = np.concatenate([draws(N, seed, 0, 3, 5) for seed in range(8)])
    for bound in (1, 2, 3, 3.5, 4):
        for side in (x, -x):
            expected = len(x) * stats.norm.sf(bound)
            assert abs((side > bound).sum() - expected) < SIGMAS * expected**0.5


def test_neighbours_are_independent():
    x = draws(N, 0, 0, 0, 0)
    for lag in (1, 2, 3, 4, 5, 7, 8, 16, 32, 63, 64, 128, 1024, 4096, 1 << 15, 1 << 16, 1 << 19):
        assert surprise(x[:-lag], x[lag:]) < SIGMAS, lag


def test_near_keys_give_independent_numbers():
    """Seeds, workers, outer and inner steps, in all combinations of near values."""
    keys = list(itertools.product((0, 1), (0, 1), (0, 1, 2), (0, 1, 2)))
    every = [draws(1 << 14, *key) for key in keys]
    worst = [surprise(a, b) for a, b in itertools.combinations(every, 2)]
    assert max(worst) < SIGMAS + 0.5  # the largest of 2,500


def test_sums_over_a_walk_stay_gaussian():
    """What the anchor feels: the noise of an element added up over steps."""
    sums = sum(draws(1 << 14, 0, 0, k // 20, k % 20) for k in range(200)) / 200**0.5
    assert stats.kstest(sums, "norm").pvalue > 1e-5
    assert abs(sums.var() - 1) * (len(sums) / 2) ** 0.5 < SIGMAS


def test_a_part_has_the_numbers_of_the_whole():
    """So a shard draws what the whole tensor would have, and blocks do not show."""
    whole = draws(100_000, 1, 2, 3, 4)
    assert np.array_equal(draws(5000, 1, 2, 3, 4, index=70_000), whole[70_000:75_000])
    chosen = torch.randperm(100_000)[:300].to(torch.int32)
    found = gaussian(torch.empty(300), step_key(1, 2, 3, 4), chosen)
    assert np.array_equal(found.numpy(), whole[chosen].astype(np.float32))


def test_beyond_two_to_the_32_the_key_changes():
    near, far = draws(1000, 0, 0, 0, 0), draws(1000, 0, 0, 0, 0, index=WORD)
    assert surprise(near, far) < SIGMAS
    before = indices(2**31 - 2, 4, torch.device("cpu"))
    assert before.tolist() == [2**31 - 2, 2**31 - 1, -(2**31), -(2**31) + 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes_and_shapes_share_their_numbers(dtype):
    plain = gaussian(torch.empty(60), step_key(1, 2, 3, 4))
    found = gaussian(torch.empty(3, 20, dtype=dtype), step_key(1, 2, 3, 4))
    assert torch.equal(found, plain.view(3, 20).to(dtype))


def test_seeds_do_not_collide():
    keys = list(itertools.product(range(4), range(2), range(50), range(20), range(10)))
    seeds = {mix(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


# --- two points ---------------------------------------------------------------------------------


def signs(count, *key, index=0):
    return two_point(torch.empty(count), step_key(*key), index).numpy().astype(float)


def correlations(a, b):
    return abs(a @ b) / np.sqrt(len(a))


def test_two_points_are_plus_and_minus_one_equally_often():
    for seed in range(4):
        x = signs(N, seed, 0, 3, 5)
        assert np.array_equal(np.unique(x), [-1, 1])
        assert abs(x.mean()) * N**0.5 < SIGMAS


def test_signs_of_neighbours_are_independent():
    """Two by two, and by runs: the words of 8 and 16 of them in a row are uniform."""
    x = signs(N, 0, 0, 0, 0)
    for lag in (
        1,
        2,
        3,
        4,
        5,
        7,
        8,
        16,
        31,
        32,
        33,
        64,
        128,
        1024,
        4096,
        1 << 15,
        1 << 16,
        1 << 19,
    ):
        assert correlations(x[:-lag], x[lag:]) < SIGMAS, lag
    for width in (8, 16):
        words = (x.reshape(-1, width) > 0) @ (1 << np.arange(width))
        assert stats.chisquare(np.bincount(words, minlength=1 << width)).pvalue > 1e-5


def test_signs_of_near_keys_are_independent():
    keys = list(itertools.product((0, 1), (0, 1), (0, 1, 2), (0, 1, 2)))
    every = [signs(1 << 14, *key) for key in keys]
    worst = [correlations(a, b) for a, b in itertools.combinations(every, 2)]
    assert max(worst) < SIGMAS


def test_sums_of_signs_over_a_walk_are_binomial():
    sums = sum(signs(1 << 14, 0, 0, k // 20, k % 20) for k in range(200))
    assert abs(sums.var() / 200 - 1) * (len(sums) / 2) ** 0.5 < SIGMAS
    heads, counts = np.unique((sums + 200) / 2, return_counts=True)
    expected = len(sums) * stats.binom.pmf(heads, 200, 0.5)
    often = expected > 5
    assert (
        stats.chisquare(
            counts[often], expected[often] * counts[often].sum() / expected[often].sum()
        ).pvalue
        > 1e-5
    )


def test_a_part_has_the_signs_of_the_whole():
    whole = signs(100_000, 1, 2, 3, 4)
    assert np.array_equal(signs(5000, 1, 2, 3, 4, index=70_000), whole[70_000:75_000])
    chosen = torch.randperm(100_000)[:300].to(torch.int32)
    assert np.array_equal(signs(300, 1, 2, 3, 4, index=chosen), whole[chosen])
