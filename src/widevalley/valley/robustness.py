"""What weights withstand: rounding to few bits, and Gaussian noise in proportion to them.

Both give a copy of a module to evaluate as ever; `Objective` is not needed, so any data and any
metric will do.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from widevalley.valley._validation import check_at_least, check_positive


def round_to_nearest(weight: Tensor, bits: int) -> Tensor:
    r"""A weight rounded to the nearest of 2^bits - 1 equally spaced values, symmetric about 0.

    Per output channel c, the first dimension, s_c = max_i |w_ci| / (2^(bits - 1) - 1), and
    w_ci becomes s_c round(w_ci / s_c). Channels that are all zero stay so. Without calibration
    data; see Nagel et al., "A White Paper on Neural Network Quantization" (2021), section 2.

    Raises ValueError for fewer than 2 bits.
    """
    check_at_least(2, bits=bits)
    largest = weight.abs().flatten(1).amax(dim=1).view(-1, *[1] * (weight.dim() - 1))
    scale = largest / (2 ** (bits - 1) - 1)
    return torch.where(scale > 0, scale * (weight / scale).round(), weight)


@torch.no_grad()
def quantised(module: nn.Module, bits: int) -> nn.Module:
    """A copy whose matrices and filters are rounded by `round_to_nearest`; vectors stay.

    Shared weights are rounded once. Raises ValueError for fewer than 2 bits.
    """
    made = copy.deepcopy(module)
    for p in made.parameters():
        if p.dim() > 1:
            p.copy_(round_to_nearest(p, bits))
    return made


@torch.no_grad()
def with_noise(module: nn.Module, radius: float, *, seed: int) -> nn.Module:
    """A copy with N(0, (radius rms)^2) added, rms the root mean square of each parameter.

    Keyed by `seed`, drawn in float64 on the processor. Raises ValueError for a radius not above 0.
    """
    check_positive(radius=radius)
    made = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(seed)
    for p in made.parameters():
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        p.add_(noise.to(p) * (radius * p.square().mean().sqrt()))
    return made
