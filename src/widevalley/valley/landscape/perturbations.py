"""Rise of the loss under perturbed weights: by noise, and at worst.

None of them is invariant under the rescaling of a layer and its inverse in the next one, which
leaves a ReLU network's function alone, but for the relative ones: noise in proportion to each
weight's size, or to its filter's.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from widevalley.valley._validation import check_at_least, check_positive
from widevalley.valley.estimate import Estimate
from widevalley.valley.objective import Objective, Progress


def local_energy(
    objective: Objective,
    radius: float,
    *,
    relative: bool = False,
    samples: int = 20,
    seed: int = 0,
    progress: Progress | None = None,
) -> Estimate:
    r"""Mean rise of the loss under Gaussian noise in the weights, <f(x + s N)> - f(x).

    Absolute, s is `radius` for every weight: the rise depends on how weights are scaled. Relative,
    it is `radius` times the weight's magnitude, which no rescaling of weights changes.

    `progress` is called with samples done and all of them. Raises ValueError for a radius not above
    0 or fewer than 2 samples.
    """
    check_positive(radius=radius)
    check_at_least(2, samples=samples)
    at, base = objective.flat_weights, objective.value()
    scale = radius * at.abs() if relative else torch.full_like(at, radius)
    generator = torch.Generator().manual_seed(seed)
    rises = []
    for k in range(samples):
        noise = torch.randn(at.shape, generator=generator, dtype=torch.float64).to(at)
        rises.append(objective.value_at(at + scale * noise) - base)
        if progress:
            progress(k + 1, samples)
    error = float(np.std(rises, ddof=1)) / math.sqrt(samples)
    return Estimate(float(np.mean(rises)), error, samples - 1)


def sharpness(
    objective: Objective,
    radius: float,
    *,
    steps: int = 1,
    adaptive: bool = False,
    progress: Progress | None = None,
) -> float:
    r"""Rise of the loss at the worst place within `radius`, found by ascent: max f(x + d) - f(x).

    With one step this is SAM's measure, d = radius g / |g| (Foret et al., 2021); more steps ascend
    by radius / steps each, and so stay inside. The least over the steps
    is 0: the weights themselves are within the radius.

    Adaptive, distances are in units of each weight's magnitude, |d / x| <= radius, which no
    rescaling of weights changes: ASAM's measure, d = radius x^2 g / |x g| (Kwon et al., 2021).

    `progress` is called with steps done and steps at the most. Raises ValueError for a radius not
    above 0 or steps below 1.
    """
    check_positive(radius=radius)
    check_at_least(1, steps=steps)
    at = objective.flat_weights
    scale = at.abs() if adaptive else torch.ones_like(at)
    moved, base, worst = torch.zeros_like(at), objective.value(), 0.0
    for k in range(steps):
        gradient = scale * objective.gradient_at(at + scale * moved)
        norm = float(gradient.norm())
        if norm == 0:
            break
        moved = moved + (radius / steps / norm) * gradient
        worst = max(worst, objective.value_at(at + scale * moved) - base)
        if progress:
            progress(k + 1, steps)
    return worst
