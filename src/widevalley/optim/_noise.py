"""Gaussian noise keyed by integers: the same key gives the same numbers, whatever ran before.

Nothing here reads or moves torch's global generator.
"""

import torch
from torch import Tensor

_MASK = (1 << 64) - 1


def mix(*key: int) -> int:
    """Hash integers to 63 bits with SplitMix64's finaliser, so that near keys give far seeds."""
    state = 0
    for part in key:
        state = (state + part + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def gaussian(like: Tensor, *key: int) -> Tensor:
    """Return independent N(0, 1) numbers of the shape, dtype and device of ``like``.

    ``key`` is (seed, worker, outer step, inner step, parameter).
    """
    generator = torch.Generator(device=like.device)
    generator.manual_seed(mix(*key))
    return torch.empty_like(like).normal_(generator=generator)
