"""The keyed noise is Gaussian, and independent between keys."""

import itertools

import torch
from scipy import stats

from widevalley.optim._noise import gaussian, mix, step_key


def test_the_law_is_gaussian():
    draws = gaussian(torch.empty(200_000, dtype=torch.float64), step_key(0, 0, 0, 0))
    assert stats.kstest(draws.numpy(), "norm").pvalue > 1e-3


def test_near_keys_give_independent_numbers():
    like = torch.empty(4000, dtype=torch.float64)
    keys = list(itertools.product((0, 1), repeat=4))
    draws = torch.stack([gaussian(like, step_key(*key)) for key in keys])
    correlations = torch.corrcoef(draws) - torch.eye(len(keys))
    # 496 pairs at a standard error of 1/sqrt(4000): five of them
    assert float(correlations.abs().max()) < 5 / 4000**0.5


def test_a_key_gives_its_numbers_again():
    like = torch.empty(100)
    assert torch.equal(gaussian(like, step_key(1, 2, 3, 4)), gaussian(like, step_key(1, 2, 3, 4)))


def test_seeds_do_not_collide():
    keys = list(itertools.product(range(4), range(2), range(50), range(20), range(10)))
    seeds = {mix(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)
