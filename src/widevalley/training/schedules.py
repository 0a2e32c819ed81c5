"""The outer rate over a run, as a pure function of the gradient count: nothing to checkpoint."""

from __future__ import annotations

import math

from widevalley.training.config import Schedule


def rate_factor(schedule: Schedule, step: int, total: int, *, power: float = 0.25) -> float:
    """What lr is multiplied by at gradient evaluation `step` (from 0) of `total`.

    1 at step 0; cosine and linear would reach 0 at step `total`; inverse-power is
    (1 + step)^-power.
    """
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / total))
    if schedule == "linear":
        return 1 - step / total
    return float((1 + step) ** -power)
