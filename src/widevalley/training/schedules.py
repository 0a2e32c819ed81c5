"""Rates over a run, as pure functions of the gradient count: nothing to checkpoint."""

from __future__ import annotations

import math

from widevalley.training.config import RateSchedule, RunConfig


def total_gradients(config: RunConfig, batches: int) -> int:
    """Gradient evaluations of a whole run, at `batches` an epoch."""
    return max(1, round(config.epochs * batches))


def rate_factor(config: RunConfig, step: int, batches: int, *, schedule: RateSchedule) -> float:
    """What a rate is multiplied by at gradient evaluation `step` (from 0), at `batches` an epoch.

    1 at step 0; cosine and linear would reach 0 at the end of the run; inverse-power is
    (1 + step)^-power; step is factor^drops.
    """
    share = step / total_gradients(config, batches)
    match schedule:
        case "constant":
            return 1.0
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * share))
        case "linear":
            return 1 - share
        case "inverse-power":
            return float((1 + step) ** -config.schedule_power)
        case "step":
            since_first = step - round(config.schedule_from * batches)
            # Whole gradients, so that a drop comes at a definite one.
            between = round(config.schedule_every * batches)
            if since_first < 0:
                return 1.0
            drops = 1 + (since_first // between if between else 0)
            return float(config.schedule_factor**drops)
