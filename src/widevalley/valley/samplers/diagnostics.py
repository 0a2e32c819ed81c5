"""Convergence diagnostics of chains: pure functions of arrays (chains, steps)."""

from __future__ import annotations

import math
import warnings

import numpy as np

MIXED = 1.05
"""R-hat above which chains are said not to have mixed."""
ENOUGH = 50
"""Effective samples below which a mean is said to be unsure."""


POSITIONS_MIXED = 1.1
"""The same for positions, of which the worst of several directions is taken."""


class NotMixed(UserWarning):
    """Chains disagree, or are too short for their memory; the message says by how much."""


def effective_sample_size(values: np.ndarray) -> float:
    """Independent samples that would give the mean as well as these do.

    Chains' autocorrelations are combined and summed over Geyer's initial monotone sequence, without
    splitting or ranking (Vehtari et al., 2021, section 3.2; Stan's reference manual).
    """
    chains, steps = values.shape
    if steps < 4:
        return float(chains * steps)
    centred = values - values.mean(axis=1, keepdims=True)
    padded = np.fft.rfft(centred, 2 * steps, axis=1)
    covariance = np.fft.irfft(padded * padded.conj(), axis=1)[:, :steps].mean(axis=0) / steps
    if covariance[0] == 0:  # no chain moves: all are at one place, or each says it again and again
        return float(chains * steps if np.ptp(values) == 0 else chains)
    within = covariance[0] * steps / (steps - 1)
    between = values.mean(axis=1).var(ddof=1) if chains > 1 else 0.0
    correlation = 1 - (within - covariance) / (covariance[0] + between)
    correlation[0] = 1
    pairs = correlation[: steps // 2 * 2].reshape(-1, 2).sum(axis=1)
    end = int(np.argmax(pairs <= 0)) if (pairs <= 0).any() else len(pairs)
    time = 2 * np.minimum.accumulate(pairs[:end]).sum() - 1
    if end < len(pairs):
        time += max(correlation[2 * end], 0.0)
    return float(chains * steps / max(time, 1 / math.log10(max(chains * steps, 10))))


def r_hat(values: np.ndarray) -> float:
    """Split R-hat: how far the halves of all chains disagree; 1 where they do not.

    Gelman et al., Bayesian Data Analysis, third edition, section 11.4.
    """
    half = values.shape[1] // 2
    if half < 2:
        return math.nan
    parts = np.concatenate([values[:, :half], values[:, -half:]])
    within = parts.var(axis=1, ddof=1).mean()
    between = half * parts.mean(axis=1).var(ddof=1)
    if within == 0:
        return 1.0 if between == 0 else math.inf
    return float(np.sqrt((half - 1) / half + between / (half * within)))


def mean_and_error(values: np.ndarray, what: str = "the chains") -> tuple[float, float]:
    """Mean over everything and its standard error; warns with NotMixed where it is unsure."""
    samples = effective_sample_size(values)
    disagreement = r_hat(values)
    if samples < ENOUGH or not disagreement < MIXED:
        warnings.warn(
            f"{what}: {samples:.0f} effective samples of {values.size}, R-hat {disagreement:.3f}; "
            "take more steps, or smaller ones",
            NotMixed,
            stacklevel=2,
        )
    error = float(values.std(ddof=1)) / math.sqrt(samples) if values.size > 1 else math.nan
    return float(values.mean()), error
