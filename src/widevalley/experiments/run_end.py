"""Weights to look at: where they came from, and the loss as a function of them.

They are the end of a run, or those of a model of the user's own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import functional

from widevalley.experiments.own_model import OwnModel
from widevalley.experiments.recipe import run_path
from widevalley.experiments.recipes import RECIPES
from widevalley.experiments.series import train
from widevalley.training import (
    Loop,
    Range,
    RunFolder,
    check_ranges,
    environment_facts,
    metric_of,
    peak_bytes,
    restore,
    result_of,
)
from widevalley.valley import BatchNormStatistics, Objective

End = RunFolder | OwnModel
Precision = Literal["float64", "float32"]
DTYPES: dict[Precision, torch.dtype] = {"float64": torch.float64, "float32": torch.float32}
RANGES: tuple[Range, ...] = (
    (
        "at least 1",
        ("chunk", "energies", "products", "steps", "probes", "walk", "draws"),
        lambda v: v >= 1,
    ),
    ("at least 0", ("threads", "chains", "directions", "tuning"), lambda v: v >= 0),
    ("at least 3", ("points",), lambda v: v >= 3),
    (
        "above 0",
        ("radii", "relative_radii", "ascents", "gammas", "beta", "reach", "tuning_lr"),
        lambda v: v > 0,
    ),
    ("from 0 to 2^32 - 1", ("seed",), lambda v: 0 <= v < 2**32),
)
"""What is allowed, in words and as a test, of the settings of instruments."""


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Which loss an instrument looks at: the mean over training samples at the end of a run."""

    samples: int = 1000
    """Training samples in the mean, from the first on; of a text tokens, in whole windows, and of a
    loader of your own whole batches."""
    chunk: int = 64
    """Samples in a batch: memory and speed, not the outcome. A loader of your own has its own."""
    dtype: Precision = "float64"
    """Of all arithmetic."""
    batch_norm: BatchNormStatistics = "running"
    """Statistics of batch norm: those at the run's weights, or each batch's own, which go with the
    weights where they are moved far."""
    threads: int = 0
    """Threads on the processor; 0 leaves it to torch."""

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)


def finished_run(target: str, root: Path, *, command: str = "") -> RunFolder:
    """The run of a folder, or of a recipe by name: its variant `paper`, trained where it is not.

    Raises ValueError where `target` is neither, or the folder's run has no checkpoint.
    """
    if target in RECIPES:
        recipe = RECIPES[target]
        # A recipe for comparisons has no variants, but a tuned run of each optimizer.
        variant = "paper" if "paper" in recipe.variants else recipe.optimizers[0]
        config = recipe.variants.get(variant) or recipe.config(variant)
        train(recipe, [(variant, config)], root, command=command)
        return RunFolder(run_path(root, recipe, variant, seed=config.seed))
    folder = RunFolder(Path(target))
    if not folder.begun:
        raise ValueError(f"{target!r}: neither a run folder nor one of {', '.join(RECIPES)}")
    return folder


def run_name(end: End) -> str:
    """The last two parts of a run's path, which are its name and its seed; or the model's name."""
    if isinstance(end, OwnModel):
        return end.name
    folder = end
    return "/".join(folder.path.resolve().parts[-2:])


def recipe_of(end: End) -> str:
    """What runs, or models, that are compared have in common."""
    return end.model if isinstance(end, OwnModel) else str(end.config["recipe"])


def loss_of(end: End, config: LossConfig) -> Objective:
    """The mean training loss at the weights a run is evaluated at, or of a model of one's own."""
    if isinstance(end, OwnModel):
        if config.samples < 1:
            raise ValueError(f"samples={config.samples}: must be at least 1")
        if config.threads:
            torch.set_num_threads(config.threads)
        return Objective(
            end.network(),
            end.loss_function(),
            end.batches(config.samples),
            dtype=DTYPES[config.dtype],
            batch_norm=config.batch_norm,
        )
    loop = loop_of(end, config)
    with loop.evaluation_weights():
        return objective_of(loop, config)


def loop_of(folder: RunFolder, config: LossConfig) -> Loop:
    """The run as its last checkpoint left it."""
    # Read before the run sets its own number.
    threads = config.threads or torch.get_num_threads()
    name = folder.config["recipe"]
    if name not in RECIPES:
        raise ValueError(f"{folder.path}: its recipe {name!r} is not known here")
    loop = restore(folder, RECIPES[name].task)
    torch.set_num_threads(threads)  # the run's own number, which it set, is not the instrument's
    return loop


def objective_of(loop: Loop, config: LossConfig) -> Objective:
    """The mean training loss at the weights that a loop's model has now."""
    network, batches = loop.feed.training_batches(loop.model, config.samples, config.chunk)
    return Objective(
        network,
        functional.cross_entropy,
        batches,
        dtype=DTYPES[config.dtype],
        batch_norm=config.batch_norm,
    )


def facts_of(
    end: End, config: LossConfig, objective: Objective, began: float, command: str
) -> dict[str, Any]:
    """What numbers about weights depend on, and what they cost since `began`."""
    return {
        "recipe": recipe_of(end),
        **(_facts_of_model(end) if isinstance(end, OwnModel) else _facts_of_run(end)),
        "loss": objective.value(),
        "gradient_norm": float(objective.gradient().norm()),
        "samples": int(sum(objective.weight_of(*batch) for batch in objective.batches)),
        "dtype": config.dtype,
        "seconds": time.monotonic() - began,
        "peak_bytes": peak_bytes(objective.device),
        "command": command,
        **environment_facts(objective.device),
    }


def _facts_of_run(folder: RunFolder) -> dict[str, Any]:
    plain, last = folder.config, folder.records[-1]
    metric = metric_of(last)
    return {
        "optimizer": plain["optimizer"]["name"],
        "seed": plain["seed"],
        "gradients": last["gradients"],
        "judged": [metric.title, result_of(last)],  # so called in the files there are
    }


def _facts_of_model(own: OwnModel) -> dict[str, Any]:
    checkpoint = str(own.checkpoint) if own.checkpoint else ""
    # "optimizer" is what tells results of one recipe apart, in titles and tables.
    return {
        "optimizer": own.name,
        "checkpoint": checkpoint,
        "data": own.data,
        "objective": own.loss,
    }
