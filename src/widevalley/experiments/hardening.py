"""What the ends of runs withstand: rounding, noise, and training on other data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from widevalley.data import Corpus, Dataset, in_characters, load_ptb, load_war_and_peace, rotated
from widevalley.experiments.measured_runs import (
    Progress,
    by_name,
    load_measures,
    measure_missing,
    plain_settings,
)
from widevalley.experiments.recipes import RECIPES
from widevalley.experiments.run_end import RANGES, run_name
from widevalley.training import AdamWSettings, Loop, RunFolder, Task, check_ranges, restore
from widevalley.valley.robustness import quantised, with_noise


@dataclass(frozen=True, kw_only=True)
class HardeningConfig:
    """What is done to the weights."""

    bits: tuple[int, ...] = (8, 4, 3)
    """Of round-to-nearest."""
    radii: tuple[float, ...] = (0.05, 0.1, 0.2)
    """Standard deviations of weight noise, as shares of each parameter's root mean square."""
    draws: int = 5
    """Of noise, of which the mean is taken."""
    tuning: int = 200
    """Gradients spent on other data; 0 leaves it out."""
    tuning_lr: float = 3e-4
    """Constant rate of AdamW, without weight decay, on them."""
    seed: int = 0
    """Keys noise and order of the other data."""

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)


@dataclass(frozen=True)
class Hardening:
    """What the end of one run withstands, in nats on its test set."""

    run: str
    """Its name and seed: `adamw/seed-0`."""
    losses: dict[str, float]
    """The test loss, how much it rises by each treatment, and the loss on the other data."""
    facts: dict[str, Any]
    """Recipe and settings."""


def measure_hardening(
    folders: Sequence[RunFolder],
    config: HardeningConfig,
    to: Path,
    *,
    progress: Progress | None = None,
    command: str = "",
) -> Path:
    """Measure runs into `to`/hardening.json, leaving out those that stand there already.

    Raises:
        ValueError: two runs of one name and seed, runs of different recipes, of one for which
            there is no other data while `config.tuning` asks for it, or measures there by other
            settings.
    """
    recipes = {folder.config["recipe"] for folder in folders}
    if len(recipes) > 1:
        raise ValueError(f"runs: of different recipes, {', '.join(sorted(recipes))}")
    (recipe,) = recipes
    if recipe not in RECIPES:
        raise ValueError(f"{folders[0].path}: its recipe {recipe!r} is not known here")
    if config.tuning and recipe not in OTHER:
        raise ValueError(f"tuning={config.tuning}: must be 0 for {recipe}, which has no other data")
    facts = {"recipe": recipe, "settings": plain_settings(config)}
    named = by_name([run_name(folder) for folder in folders], folders)

    def measure(name: str) -> Hardening:
        return Hardening(name, _losses(named[name], config), facts | {"command": command})

    file = to / "hardening.json"
    return measure_missing(list(named), measure, file, facts, load_hardening, progress=progress)


def load_hardening(file: Path) -> list[Hardening]:
    """What `measure_hardening` wrote. Raises ValueError naming the file where it is not that."""
    return load_measures(Hardening, file)


def _losses(folder: RunFolder, config: HardeningConfig) -> dict[str, float]:
    loop = restore(folder, RECIPES[folder.config["recipe"]].task)
    split = loop.feed.final_splits[0]

    def loss(model: nn.Module) -> float:
        return loop.feed.measure(model, split)["loss"]

    # Statistics of batch norm are those of the trained weights, as in a network that is used.
    with loop.evaluation_weights():
        clean = loss(loop.model)
        losses = {"loss": clean}
        for bits in config.bits:
            losses[f"{bits} bits"] = loss(quantised(loop.model, bits)) - clean
        for radius in config.radii:
            seeds = range(config.seed, config.seed + config.draws)
            noisy = [loss(with_noise(loop.model, radius, seed=seed)) for seed in seeds]
            losses[f"noise {radius:g}"] = math.fsum(noisy) / config.draws - clean
        if config.tuning:
            tuned, other = _tuned_further(loop, OTHER[folder.config["recipe"]], config)
            losses["forgetting"] = loss(tuned) - clean
            losses["other data"] = other
    return losses


def _tuned_further(loop: Loop, task: Task, config: HardeningConfig) -> tuple[nn.Module, float]:
    """A run's network after training on other data, and its test loss there."""
    settings = AdamWSettings(lr=config.tuning_lr, weight_decay=0.0)
    there = replace(
        loop.config,
        optimizer=settings,
        schedule="constant",
        epochs=1.0,
        seed=config.seed,
        holdout=0,
    )
    further = Loop(task, there)
    further.model.load_state_dict(loop.model.state_dict())
    for _ in range(config.tuning):
        further.step()
    if not all(torch.isfinite(p).all() for p in further.model.parameters()):
        raise ValueError(f"tuning_lr={config.tuning_lr}: the weights are no longer finite")
    split = further.feed.final_splits[0]
    return further.model, further.feed.measure(further.model, split)["loss"]


def _rotated(recipe: str) -> Task:
    task = RECIPES[recipe].task

    def load() -> Dataset:
        data = task.load()
        assert isinstance(data, Dataset)
        return rotated(data)

    return replace(task, load=load)


def _newspaper(recipe: str) -> Task:
    def load() -> Corpus:
        text = in_characters(load_ptb(), load_war_and_peace().symbols)
        return replace(text, valid=text.valid[: 2**17], test=text.test[: 2**17])

    return replace(RECIPES[recipe].task, load=load)


OTHER: dict[str, Task] = {
    name: _rotated(name) for name in ("digits", "mnistfc", "lenet", "mnist-1000", "mnist-noise")
} | {name: _newspaper(name) for name in ("gpt", "small-gpt", "charlstm")}
"""What networks are trained further on: the same images turned, or a newspaper's characters."""
