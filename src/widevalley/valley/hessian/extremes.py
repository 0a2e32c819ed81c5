"""Eigenvalues at both ends of the spectrum, and eigenvectors, by restarted Lanczos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from widevalley.valley._memory import GIB
from widevalley.valley._validation import check_at_least
from widevalley.valley.hessian.krylov_schur import RestartedLanczos
from widevalley.valley.hessian.lanczos import gaussian_start
from widevalley.valley.hessian.operators import SymmetricOperator
from widevalley.valley.objective import Progress

CHECK_EVERY = 10
"""Steps between checks of the bounds."""
MEMORY = 4 * GIB
"""Bytes of vectors by default."""
SPARE = 4
"""Vectors beside those asked for, at both ends together, that a restart needs to be of use."""


@dataclass(frozen=True)
class ExtremeEigenvalues:
    """Eigenvalues at both ends, each within its bound of an eigenvalue of the matrix."""

    largest: np.ndarray
    """Descending."""
    smallest: np.ndarray
    """Ascending, so the most negative first."""
    largest_bounds: np.ndarray
    smallest_bounds: np.ndarray
    steps: int
    """Products spent."""


def extreme_eigenvalues(
    operator: SymmetricOperator,
    count: int = 1,
    *,
    tolerance: float = 1e-6,
    steps: int = 300,
    memory: int = MEMORY,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExtremeEigenvalues:
    """The `count` largest and smallest eigenvalues by Lanczos, with bounds of their error.

    Lanczos sees an eigenvalue of several dimensions once; it is counted as often as it has them
    where nothing else is left to find, as of a matrix with few different eigenvalues.

    Stops when all bounds are below `tolerance` times the largest magnitude, or after `steps`
    products; the bounds say how far it came.

    Args:
        operator: any symmetric operator.
        count: eigenvalues at each end.
        tolerance: of the bounds, beside the largest magnitude.
        steps: products at the most.
        memory: bytes of vectors, 8 n for each; where they do not hold one for every step the
            iteration is restarted, at the price of more steps.
        seed: keys the start.
        progress: called with products done and products at the most.

    Raises:
        ValueError: a count outside 1 to n, steps below it, or memory for fewer than
            2 count + 4 vectors.
        MemoryError: the vectors do not fit; says how much is needed and how much is free.
    """
    run = _started(operator, count, steps, memory, seed)

    def enough() -> bool:
        found = _ends(run, count)
        bounds = np.concatenate([found.largest_bounds, found.smallest_bounds])
        scale = max(abs(found.largest[0]), abs(found.smallest[0]))
        return bool(bounds.max() <= tolerance * scale)

    _go_on(run, count, steps, enough, progress)
    return _ends(run, count)


def top_eigenvectors(
    operator: SymmetricOperator,
    count: int = 1,
    *,
    tolerance: float = 1e-3,
    steps: int = 300,
    memory: int = MEMORY,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[np.ndarray, Tensor]:
    """The `count` largest eigenvalues, descending, and their unit eigenvectors (n, count).

    In float64, by Lanczos. Stops when every norm of A v - lambda v is below `tolerance` times the
    largest magnitude, or after `steps` products.

    Takes and raises what `extreme_eigenvalues` does.
    """
    run = _started(operator, count, steps, memory, seed)

    def enough() -> bool:
        values, bounds = run.ritz()
        return bool(bounds[-count:].max() <= tolerance * np.abs(values).max())

    _go_on(run, count, steps, enough, progress)
    values, _ = run.ritz()
    chosen = list(range(len(values)))[: -count - 1 : -1]
    return values[chosen], run.vectors(chosen)


def _started(
    operator: SymmetricOperator, count: int, steps: int, memory: int, seed: int
) -> RestartedLanczos:
    if not 1 <= count <= operator.size:
        raise ValueError(f"count={count}: must be from 1 to {operator.size}")
    if steps < count:
        raise ValueError(f"steps={steps}: must be at least count={count}")
    room = memory // (8 * operator.size)
    least = min(2 * count + SPARE, operator.size, steps)
    if room < least:
        check_at_least(8 * operator.size * least, memory=memory)
    start = gaussian_start(operator, torch.Generator().manual_seed(seed))
    capacity = min(steps, room, operator.size)
    # Half of the space goes on: fewer vectors lose more than they save (Wu and Simon).
    kept = max(count, capacity // 4)
    return RestartedLanczos(operator, start, capacity, min(kept, (capacity - 1) // 2))


def _go_on(
    run: RestartedLanczos,
    count: int,
    steps: int,
    enough: Callable[[], bool],
    progress: Progress | None,
) -> None:
    """Steps until there are enough, all are spent, or nothing is left to find."""
    for begun in range(count):
        if begun:
            if run.complete or run.steps >= steps:
                return
            run.begin_anew()
        while not run.exhausted and run.steps < steps:
            run.step()
            if progress:
                progress(run.steps, steps)
            if run.steps % CHECK_EVERY == 0 and run.steps >= count and not begun and enough():
                return


def _ends(run: RestartedLanczos, count: int) -> ExtremeEigenvalues:
    values, bounds = run.ritz()
    top, bottom = slice(None, -count - 1, -1), slice(None, count)
    return ExtremeEigenvalues(values[top], values[bottom], bounds[top], bounds[bottom], run.steps)
