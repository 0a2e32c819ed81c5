"""PAC-Bayes bounds at the ends of runs, beside the errors that they bound."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from widevalley.data import Dataset
from widevalley.experiments.measured_runs import (
    Progress,
    by_name,
    load_measures,
    measure_missing,
    plain_settings,
)
from widevalley.experiments.pac_bayes_laws import Laws, PacBayesConfig, evaluated
from widevalley.experiments.recipes import BOUNDED
from widevalley.experiments.run_end import run_name
from widevalley.training import (
    EntropySGDSettings,
    Loop,
    RunConfig,
    RunFolder,
    environment_facts,
    restore,
)
from widevalley.valley import theory


@dataclass(frozen=True)
class PacBayes:
    """Bounds for one run: shares from 0 to 1, relative entropy in nats."""

    run: str
    """Recipe, name and seed: `binary-mnist/sgld/seed-0`."""
    numbers: dict[str, float]
    facts: dict[str, Any]
    """Settings, command, versions."""


def measure_pac_bayes(
    folders: Sequence[RunFolder],
    config: PacBayesConfig,
    to: Path,
    *,
    progress: Progress | None = None,
    command: str = "",
) -> Path:
    """Bound runs into `to`/pac-bayes.json, leaving out those that stand there already.

    Raises:
        ValueError: two runs of one recipe, name and seed, a run whose loss is not bounded or whose
            optimizer has no thermal noise, or bounds there by other settings.
    """
    facts = {"settings": plain_settings(config)}
    names = [f"{folder.config['recipe']}/{run_name(folder)}" for folder in folders]
    named = by_name(names, folders)

    def measure(name: str) -> PacBayes:
        versions = environment_facts(torch.device("cpu"))
        numbers = _bounds(named[name], config)
        return PacBayes(name, numbers, facts | {"command": command} | versions)

    file = to / "pac-bayes.json"
    return measure_missing(list(named), measure, file, facts, load_pac_bayes, progress=progress)


def load_pac_bayes(file: Path) -> list[PacBayes]:
    """What `measure_pac_bayes` wrote. Raises ValueError naming the file where it is not that."""
    return load_measures(PacBayes, file)


def _bounds(folder: RunFolder, config: PacBayesConfig) -> dict[str, float]:
    recipe, optimizer = folder.config["recipe"], folder.config["optimizer"]
    if recipe not in BOUNDED:
        allowed = ", ".join(BOUNDED)
        raise ValueError(f"{folder.path}: its loss must be bounded, as that of {allowed} is")
    if not optimizer.get("noise"):
        raise ValueError(f"{folder.path}: {optimizer['name']} has no thermal noise")
    task = BOUNDED[recipe].task
    loop, data = restore(folder, task), task.load()
    assert isinstance(data, Dataset)
    samples = len(data.train_targets) - folder.config["holdout"]
    train = data.train_inputs[:samples], data.train_targets[:samples]
    held_out = data.train_inputs[samples:], data.train_targets[samples:]
    with loop.evaluation_weights():
        law = Laws(
            loop.model,
            train,
            (data.test_inputs, data.test_targets),
            2 / optimizer["noise"] ** 2,
            config,
        )
        numbers = {"samples": samples, "tau": law.tau, "epsilon": law.epsilon}
        numbers |= law.of_the_end() | law.of_the_prior()
        numbers |= law.of_the_posterior(
            _walk(loop, Loop(task, _walking(loop, law.tau, config)), config)
        )
        if samples < len(data.train_targets):
            wrong = evaluated(loop.model, *held_out).error
            bound = theory.pac_bayes.chernoff_bound(wrong, len(held_out[1]), config.delta)
            numbers |= {"held-out error": wrong, "held-out bound": bound}
    return numbers


def _walking(loop: Loop, tau: float, config: PacBayesConfig) -> RunConfig:
    """Settings of a walk around an anchor that never moves, at the temperature 1/tau."""
    settings = EntropySGDSettings(
        langevin_steps=2**40,
        langevin_lr=config.walk_lr,
        langevin_momentum=0.0,
        gamma=config.gamma,
        gamma_growth=0.0,
        noise=math.sqrt(2 / tau),
        averaging=1.0,
    )
    return replace(
        loop.config,
        optimizer=settings,
        schedule="constant",
        walk_schedule="constant",
        clip=0.0,
        batch_size=config.batch_size,
        seed=config.seed,
    )


def _walk(end: Loop, walk: Loop, config: PacBayesConfig) -> Iterator[nn.Module]:
    """The network at points of a walk that begins and stays around the end of a run."""
    walk.model.load_state_dict(end.model.state_dict())
    for _ in range(config.walk // 6):
        walk.step()
    for _ in range(config.records):
        for _ in range(config.walk // config.records):
            walk.step()
        yield walk.model
