"""Curvature at the end of a run: from its folder to eigenvalues with everything they depend on."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from widevalley.experiments.recipe import Recipe, run_path
from widevalley.experiments.recipes import RECIPES
from widevalley.experiments.series import train
from widevalley.training import RunConfig, RunFolder, environment, judged, measure_of
from widevalley.training.evaluation import judged_weights
from widevalley.training.hardware import resolve
from widevalley.training.loop import Loop
from widevalley.valley import (
    Density,
    FisherDiagonal,
    Hessian,
    Objective,
    Spectrum,
    exact_spectrum,
    extreme_eigenvalues,
    fisher_diagonal,
    fisher_diagonal_of_adam,
    spectral_density,
)
from widevalley.valley.matrix import Progress

MOMENTS = 390
"""Batches that Adam's moments are gathered over unless told."""
DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class SpectrumConfig:
    """How the Hessian of the mean training loss is decomposed."""

    samples: int = 1000
    """Training samples in the mean, from the first on; of a text tokens, in whole windows."""
    chunk: int = 64
    """Samples in a batch: memory and speed, not the outcome."""
    dtype: Literal["float64", "float32"] = "float64"
    """Of all arithmetic."""
    threads: int = 0
    """Threads on the processor; 0 leaves it to torch."""


def finished_run(target: str, root: Path, *, command: str = "") -> RunFolder:
    """The run of a folder, or of a recipe by name: its variant `paper`, trained where it is not.

    Raises ValueError where `target` is neither, or the folder's run has no checkpoint.
    """
    if target in RECIPES:
        recipe = RECIPES[target]
        variant = "paper" if "paper" in recipe.variants else recipe.optimizers[0]
        config = recipe.variants.get(variant) or recipe.config(variant)
        train(recipe, [(variant, config)], root, command=command)
        return RunFolder(run_path(root, recipe, variant, seed=config.seed))
    folder = RunFolder(Path(target))
    if not folder.begun:
        raise ValueError(f"{target!r}: neither a run folder nor one of {', '.join(RECIPES)}")
    return folder


def loss_of(folder: RunFolder, config: SpectrumConfig) -> Objective:
    """The mean training loss at the weights a run is judged by."""
    loop = _loop(folder, config)
    with judged_weights(loop.model, loop.optimizer, loop.feed):
        return _objective(loop, config)


def _loop(folder: RunFolder, config: SpectrumConfig) -> Loop:
    """The run as its last checkpoint left it."""
    threads = config.threads or torch.get_num_threads()
    recipe, settings = _settings(folder)
    loop = Loop(recipe.task, settings)
    loop.load_state_dict(folder.checkpoint())
    torch.set_num_threads(threads)
    return loop


def _objective(loop: Loop, config: SpectrumConfig) -> Objective:
    return loop.feed.training_loss(loop.model, config.samples, config.chunk, DTYPES[config.dtype])


def exact(
    folder: RunFolder,
    config: SpectrumConfig,
    *,
    blocks: Path | None = None,
    probes: int = 0,
    progress: Progress | None = None,
    command: str = "",
) -> Spectrum:
    """All eigenvalues of the Hessian at the end of a run.

    `blocks` keeps finished parts of the matrix, for a call with the same run and settings to go on
    from. Raises ValueError where it holds those of another matrix.
    """
    began = time.monotonic()
    objective = loss_of(folder, config)
    if blocks:
        _claim(blocks, objective, config)
    found = exact_spectrum(Hessian(objective), folder=blocks, probes=probes, progress=progress)
    facts = _facts(folder, config, objective, began, command)
    return replace(found, facts=facts)


def density(
    folder: RunFolder,
    config: SpectrumConfig,
    *,
    steps: int,
    probes: int,
    seed: int = 0,
    progress: Progress | None = None,
    command: str = "",
) -> Density:
    """The spectral density, and the extreme eigenvalues, of the Hessian at the end of a run."""
    began = time.monotonic()
    objective = loss_of(folder, config)
    hessian = Hessian(objective)
    found = spectral_density(hessian, steps=steps, probes=probes, seed=seed, progress=progress)
    ends = extreme_eigenvalues(hessian, steps=steps, seed=seed)
    facts = _facts(folder, config, objective, began, command) | {
        "largest": [float(ends.largest[0]), float(ends.largest_bounds[0])],
        "smallest": [float(ends.smallest[0]), float(ends.smallest_bounds[0])],
    }
    return replace(found, facts=facts)


def fisher(
    folder: RunFolder, config: SpectrumConfig, *, steps: int = MOMENTS, command: str = ""
) -> FisherDiagonal:
    """The Fisher diagonal at the end of a run, of single samples and by Adam's moments.

    The moments are those of Adam over `steps` batches of the run's size (an epoch at the most) at
    the very weights, which do not move: what the paper reads off the optimizer, for a run of any.
    """
    began = time.monotonic()
    loop = _loop(folder, config)
    steps = min(steps, loop.batches)
    with judged_weights(loop.model, loop.optimizer, loop.feed):
        objective = _objective(loop, config)
        size = replace(config, samples=steps * loop.config.batch_size, chunk=loop.config.batch_size)
        batches = _objective(loop, size)
    exact = fisher_diagonal(objective, chunk=config.chunk)
    weights = [weight.clone().requires_grad_() for weight in batches.weights.values()]
    adam = torch.optim.Adam(weights, lr=0.0)
    for batch in batches.batches:
        slopes = torch.func.grad(batches.batch_loss)(batches.weights, *batch)
        for weight, name in zip(weights, batches.weights, strict=True):
            weight.grad = slopes[name]
        adam.step()
    facts = _facts(folder, config, objective, began, command) | {"adam_steps": steps}
    return FisherDiagonal(exact.cpu().numpy(), fisher_diagonal_of_adam(adam).cpu().numpy(), facts)


def _claim(blocks: Path, objective: Objective, config: SpectrumConfig) -> None:
    """Make a folder of blocks this matrix's own."""
    weights = objective.flat(objective.weights).cpu().numpy()
    told = {
        "weights": hashlib.sha256(weights.tobytes()).hexdigest(),
        "samples": config.samples,
        "dtype": config.dtype,
    }
    file = blocks / "matrix.json"
    if file.exists() and json.loads(file.read_text()) != told:
        raise ValueError(f"{blocks}: holds parts of another matrix; remove it or go elsewhere")
    blocks.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told))


def _settings(folder: RunFolder) -> tuple[Recipe, RunConfig]:
    plain = folder.config
    if plain["recipe"] not in RECIPES:
        raise ValueError(f"{folder.path}: its recipe {plain['recipe']!r} is not known here")
    recipe = RECIPES[plain["recipe"]]
    config = replace(RunConfig.from_dict(plain), device="auto")
    return recipe, resolve(config, prefers_bf16=recipe.task.prefers_bf16)


def _facts(
    folder: RunFolder, config: SpectrumConfig, objective: Objective, began: float, command: str
) -> dict[str, Any]:
    plain, last = folder.config, folder.records[-1]
    measure = measure_of(last)
    return {
        "recipe": plain["recipe"],
        "optimizer": plain["optimizer"]["name"],
        "seed": plain["seed"],
        "gradients": last["gradients"],
        "judged": [measure.title, judged(last)],
        "loss": objective.value(),
        "gradient_norm": float(objective.gradient().norm()),
        "samples": sum(targets.numel() for _, targets in objective.batches),
        "dtype": config.dtype,
        "seconds": time.monotonic() - began,
        "peak_bytes": _peak_bytes(),
        "command": command,
        **environment(objective.device),
    }


def _peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
