"""Gaussian noise as a pure function of integers: no state, no order, the same numbers everywhere.

Number i of a step is computed from the step's key and i alone, by a counter-based hash and the
transform of Box and Muller, so that a loop, a fused kernel, another device or a shard of a tensor
make the same ones. Nothing here reads or moves torch's global generator. Everything is written in
32-bit operations, of which a vector unit does sixteen at once.
"""

import math
import struct
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Index = int | Tensor
"""Numbers of elements among those of a step: the first one's, or all of them, int32."""
Key = tuple[int, int, int]
"""Of one step: an odd multiplier and two numbers, each 32 bits with a sign."""

_MASK = (1 << 64) - 1
_WORD = (1 << 32) - 1
WORD = 1 << 32
"""Numbers of a step that one key is good for."""
_BLOCK = 1 << 15
"""Numbers made at once where there is no kernel: what temporaries there are stay in the cache."""


def mix(*key: int) -> int:
    """Hash integers to 63 bits with SplitMix64's finaliser, so that near keys give far ones."""
    state = 0
    for part in map(int, key):
        state = (state + part + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def step_key(seed: int, worker: int, outer_step: int, inner_step: int, block: int = 0) -> Key:
    """The key of one step for the numbers of a `block` of 2^32 of them."""
    first = mix(seed, worker, outer_step, inner_step, block)
    words = first & _WORD | 1, first >> 31 & _WORD, mix(first, 1) & _WORD
    key: Key = struct.unpack("=3i", struct.pack("=3I", *words))
    return key


def uniforms(index: Tensor, key: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
    """Two numbers for each index, float32, of 24 bits each.

    The first lies in (0, 1), the second in [-1/2, 1/2).
    """
    first = word(index, key)
    second = _scramble(first ^ key[2]) >> 8
    u = ((first >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24 + 2.0**-25
    return u, second.to(torch.float32) * 2.0**-24


def word(index: Tensor, key: Sequence[int] | Tensor) -> Tensor:
    """32 random bits for each index (int32; those 2^32 apart are one)."""
    return _scramble(index * key[0] + key[1])


def noise(like: Tensor, key: Key, index: Index, law: str) -> Tensor:
    """Independent numbers of mean 0 and variance 1, of the shape, dtype and device of ``like``.

    The law is "gaussian" or "two-point". Numbers go to elements row by row.
    """
    made = torch.empty(like.shape, dtype=like.dtype, device=like.device)
    flat = made.view(-1)
    block = _BLOCK if like.device.type == "cpu" else max(flat.numel(), 1)
    for begin in range(0, flat.numel(), block):
        part = flat[begin : begin + block]
        if isinstance(index, int):
            numbers = indices(index + begin, part.numel(), like.device)
        else:
            numbers = index[begin : begin + block]
        part.copy_(LAWS[law](numbers, key))
    return made


def gaussian(like: Tensor, key: Key, index: Index = 0) -> Tensor:
    """N(0, 1), by the transform of Box and Muller."""
    return noise(like, key, index, "gaussian")


def two_point(like: Tensor, key: Key, index: Index = 0) -> Tensor:
    """-1 or 1: for a step of first weak order as good as N(0, 1) (Kloeden & Platen, 1992, 14.1)."""
    return noise(like, key, index, "two-point")


def _normals(index: Tensor, key: Key) -> Tensor:
    u, x = uniforms(index, key)
    return u.log_().mul_(-2).sqrt_().mul_(x.mul_(2 * math.pi).cos_())


def _signs(index: Tensor, key: Key) -> Tensor:
    return (word(index, key) >> 31) | 1


LAWS: dict[str, Callable[[Tensor, Key], Tensor]] = {"gaussian": _normals, "two-point": _signs}
"""What makes the numbers of each law from those of elements, float32 or int32."""


def indices(first: int, count: int, device: torch.device) -> Tensor:
    """int32 from ``first`` on, by two's complement where it is 2^31 or more."""
    return torch.arange(count, dtype=torch.int32, device=device) + signed(first)


def _scramble(x: Tensor) -> Tensor:
    """A permutation of 32 bits in which each input bit flips each output bit half the time.

    The constants are Wellons' (hash-prospector); shifts are made logical by masks.
    """
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * 0x7FEB352D
    x = x ^ ((x >> 15) & 0x1FFFF)
    x = x * -0x7B935975  # 0x846CA68B, with a sign
    return x ^ ((x >> 16) & 0xFFFF)


def signed(number: int) -> int:
    """The low 32 bits as a signed number."""
    return (number & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
