"""The Hessian at the end of a run: all eigenvalues, their density, and the Fisher diagonal."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from widevalley._files import atomic_write
from widevalley.experiments.own_model import OwnModel
from widevalley.experiments.run_end import (
    End,
    LossConfig,
    facts_of,
    loop_of,
    loss_of,
    objective_of,
)
from widevalley.valley import Hessian, Objective, Progress, exact_spectrum, spectral_density
from widevalley.valley.hessian import (
    Density,
    FisherDiagonal,
    Spectrum,
    fisher_diagonal,
    fisher_diagonal_of_adam,
)

MOMENTS = 390
"""Batches that Adam's moments are gathered over by default."""
SECONDS = "seconds.txt"


def measure_exact_spectrum(
    end: End,
    config: LossConfig,
    *,
    blocks: Path | None = None,
    probes: int = 0,
    progress: Progress | None = None,
    command: str = "",
) -> Spectrum:
    """All eigenvalues of the Hessian at the end of a run.

    Finished parts of the matrix, and the seconds they took, go to `blocks`, for a call with the
    same run and settings to go on from. Raises ValueError where it has those of another matrix.
    """
    began = time.monotonic()
    objective = loss_of(end, config)
    if blocks:
        # So the facts name all the time the matrix took, whatever the number of calls.
        began -= _claim(blocks, objective, config)

    def note(done: int, total: int) -> None:
        if blocks:
            with atomic_write(blocks / SECONDS) as out:
                out.write(str(time.monotonic() - began).encode())
        if progress:
            progress(done, total)

    found = exact_spectrum(Hessian(objective), folder=blocks, probes=probes, progress=note)
    facts = facts_of(end, config, objective, began, command)
    return replace(found, facts=facts)


def measure_density(
    end: End,
    config: LossConfig,
    *,
    steps: int,
    probes: int,
    seed: int = 0,
    keep_graphs: bool = False,
    progress: Progress | None = None,
    command: str = "",
) -> Density:
    """The spectral density of the Hessian at the end of a run.

    `keep_graphs` is that of `Hessian`.
    """
    began = time.monotonic()
    objective = loss_of(end, config)
    hessian = Hessian(objective, keep_graphs=keep_graphs)
    found = spectral_density(hessian, steps=steps, probes=probes, seed=seed, progress=progress)
    return replace(found, facts=facts_of(end, config, objective, began, command))


def measure_fisher(
    end: End, config: LossConfig, *, steps: int = MOMENTS, command: str = ""
) -> FisherDiagonal:
    """The Fisher diagonal at the end of a run, of single samples and by Adam's moments.

    The moments are those of Adam over `steps` batches of the run's size (an epoch at the most) at
    the very weights, which do not move: what the paper reads off the optimizer, for a run of any.
    Of a model of one's own they are over the batches of its loader.
    """
    began = time.monotonic()
    objective, batches = _samples_and_batches(end, config, steps)
    exact = fisher_diagonal(objective, centred=True, chunk=config.chunk)
    # At lr 0 torch's own Adam gathers its moments and moves nothing.
    weights = [weight.clone().requires_grad_() for weight in batches.weights.values()]
    adam = torch.optim.Adam(weights, lr=0.0)
    for batch in batches.batches:
        slopes = torch.func.grad(batches.batch_loss)(batches.weights, *batch)
        for weight, name in zip(weights, batches.weights, strict=True):
            weight.grad = slopes[name]
        adam.step()
    taken = {"adam_steps": len(batches.batches)}
    facts = facts_of(end, config, objective, began, command) | taken
    return FisherDiagonal(exact.cpu().numpy(), fisher_diagonal_of_adam(adam).cpu().numpy(), facts)


def _samples_and_batches(end: End, config: LossConfig, steps: int) -> tuple[Objective, Objective]:
    """The loss over the samples that are looked at, and over mini-batches as in training."""
    if isinstance(end, OwnModel):
        own = loss_of(end, config)
        return own, own
    loop = loop_of(end, config)
    # At most an epoch: further batches would see samples again.
    size = loop.config.batch_size
    some = replace(config, samples=min(steps, loop.batches) * size, chunk=size)
    # Objectives copy the network, so both stay at these weights after the block.
    with loop.evaluation_weights():
        return objective_of(loop, config), objective_of(loop, some)


def _claim(blocks: Path, objective: Objective, config: LossConfig) -> float:
    """Make a folder of blocks this matrix's own; returns the seconds that earlier calls took."""
    weights = objective.flat_weights.cpu().numpy()
    key = {
        "weights": hashlib.sha256(weights.tobytes()).hexdigest(),
        "samples": config.samples,
        "dtype": config.dtype,
        # A loader that shuffles gives other samples, and so another loss.
        "loss": f"{objective.value():.6g}",
    }
    file, seconds = blocks / "matrix.json", blocks / SECONDS
    if file.exists() and json.loads(file.read_text()) != key:
        raise ValueError(f"{blocks}: holds parts of another matrix; remove it or go elsewhere")
    blocks.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(key))
    return float(seconds.read_text()) if seconds.exists() else 0.0
