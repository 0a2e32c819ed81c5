"""PAC-Bayes bounds at the ends of runs, beside the errors that they bound."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from widevalley.data import Dataset
from widevalley.experiments.binary_mnist import BOUND
from widevalley.experiments.measured_runs import (
    Progress,
    by_name,
    load_measures,
    measure_missing,
    plain_settings,
)
from widevalley.experiments.recipes import BOUNDED
from widevalley.experiments.run_end import run_name
from widevalley.training import (
    EntropySGDSettings,
    Loop,
    Range,
    RunConfig,
    RunFolder,
    check_ranges,
    environment_facts,
    restore,
)
from widevalley.valley import theory
from widevalley.valley.samplers import effective_sample_size

CHUNK = 2000
"""Samples in a forward pass."""
PAC_BAYES_RANGES: tuple[Range, ...] = (
    ("above 0", ("gamma", "walk_lr"), lambda v: v > 0),
    ("at least 1", ("draws", "passes", "walk", "batch_size"), lambda v: v >= 1),
    ("at least 2", ("records",), lambda v: v >= 2),
    ("in (0, 1)", ("delta", "sampling_delta"), lambda v: 0 < v < 1),
    ("at least 0", ("seed",), lambda v: v >= 0),
)
"""What is allowed of the settings, in words and as a test."""


@dataclass(frozen=True, kw_only=True)
class PacBayesConfig:
    """What is sampled, and with which confidence."""

    gamma: float = 1.0
    """Scope: the prior is N(x, 1 / (tau gamma)), x the end of a run."""
    draws: int = 10
    """Draws of the prior that the relative entropy is bounded by."""
    passes: int = 4
    """Passes over the samples with fresh weights for each of them, for the prior's own error."""
    walk: int = 600
    """Steps of the walk that stands in for the Gibbs posterior, after a sixth as many left out."""
    walk_lr: float = 0.02
    """Rate of its steps."""
    batch_size: int = 256
    """Of its gradients."""
    records: int = 20
    """Points of the walk that are evaluated on all samples."""
    delta: float = 0.03
    """Probability that the theorem fails."""
    sampling_delta: float = 0.01
    """That of each of three estimates by sampling: of the prior's mean of exp(-tau f), and of the
    walk's mean loss and error."""
    seed: int = 0
    """Keys draws and walk."""

    def __post_init__(self) -> None:
        check_ranges(self, PAC_BAYES_RANGES)
        if self.records > self.walk:
            raise ValueError(f"records={self.records}: must be at most walk, {self.walk}")


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
        law = _Law(
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


Samples = tuple[Tensor, Tensor]
"""Inputs and targets."""


@dataclass(frozen=True)
class Evaluated:
    """Means over samples: loss in nats, and the share that is classified wrongly."""

    loss: float
    error: float


@torch.no_grad()
def evaluated(model: nn.Module, inputs: Tensor, targets: Tensor) -> Evaluated:
    """Evaluate a network that has no dropout and no batch norm."""
    loss = wrong = 0.0
    for x, y in zip(torch.split(inputs, CHUNK), torch.split(targets, CHUNK), strict=True):
        scores = model(x)
        loss += float(functional.cross_entropy(scores, y, reduction="sum"))
        wrong += float((scores.argmax(dim=1) != y).sum())
    return Evaluated(loss / len(targets), wrong / len(targets))


@torch.no_grad()
def fresh_weights_error(
    model: nn.Module, inputs: Tensor, targets: Tensor, std: float, generator: torch.Generator
) -> float:
    """Share of samples classified wrongly, each by weights of its own from N(w, std^2 I).

    A linear layer with fresh weights gives each sample independent Gaussians, of mean W h + b and
    variance std^2 (|h|^2 + 1), so that no weights need be drawn.
    """
    assert isinstance(model, nn.Sequential)
    wrong = 0.0
    for x, y in zip(torch.split(inputs, CHUNK), torch.split(targets, CHUNK), strict=True):
        for layer in model:
            h, x = x, layer(x)
            if isinstance(layer, nn.Linear):
                spread = std * (h.square().sum(dim=1, keepdim=True) + 1).sqrt()
                x = x + spread * torch.randn(x.shape, generator=generator)
        wrong += float((x.argmax(dim=1) != y).sum())
    return wrong / len(targets)


@dataclass(frozen=True)
class _Law:
    """Prior and Gibbs posterior around the end of a run."""

    model: nn.Module
    train: Samples
    test: Samples
    tau: float
    config: PacBayesConfig

    @property
    def samples(self) -> int:
        return len(self.train[1])

    @property
    def epsilon(self) -> float:
        return theory.pac_bayes.exponential_mechanism(self.tau, BOUND, self.samples)

    @property
    def std(self) -> float:
        return 1 / math.sqrt(self.tau * self.config.gamma)

    def bound(self, error: float, kl: float) -> float:
        return theory.pac_bayes.risk_bound(
            error, kl, self.samples, self.config.delta, epsilon=self.epsilon
        )

    def of_the_end(self) -> dict[str, float]:
        """Errors of the weights themselves, of which the theorem says nothing."""
        return {
            "end train error": evaluated(self.model, *self.train).error,
            "end test error": evaluated(self.model, *self.test).error,
        }

    def of_the_prior(self) -> dict[str, float]:
        """The prior as its own posterior: no relative entropy, and draws that are independent."""
        config, generator = self.config, torch.Generator().manual_seed(self.config.seed)

        def error(samples: Samples) -> float:
            return fresh_weights_error(self.model, *samples, self.std, generator)

        on_train = math.fsum(error(self.train) for _ in range(config.passes)) / config.passes
        draws = config.passes * self.samples
        most = theory.pac_bayes.chernoff_bound(on_train, draws, config.sampling_delta)
        return {
            "prior train error": on_train,
            "prior test error": error(self.test),
            "prior bound": self.bound(most, 0.0),
        }

    def of_the_posterior(self, walk: Iterable[nn.Module]) -> dict[str, float]:
        """The Gibbs law, points of a walk standing in for independent draws."""
        config, generator = self.config, torch.Generator().manual_seed(self.config.seed)
        drawn = (_perturbed(self.model, self.std, generator) for _ in range(config.draws))
        losses = [evaluated(model, *self.train).loss for model in drawn]
        points = [(evaluated(model, *self.train), evaluated(model, *self.test)) for model in walk]
        loss, loss_error = _mean_and_error(train.loss for train, _ in points)
        share, share_error = _mean_and_error(train.error for train, _ in points)
        # One side of a normal interval for what the walk's length leaves unknown.
        quantile = NormalDist().inv_cdf(1 - config.sampling_delta)
        least = max(0.0, loss - quantile * loss_error)
        kl = theory.pac_bayes.gibbs_kl_bound(
            losses, self.tau, config.sampling_delta, posterior_loss=least
        )
        return {
            "Gibbs train error": share,
            "Gibbs test error": math.fsum(test.error for _, test in points) / len(points),
            "KL": kl,
            "Gibbs bound": self.bound(min(1.0, share + quantile * share_error), kl),
        }


def _mean_and_error(values: Iterable[float]) -> tuple[float, float]:
    """Mean of a chain and its standard error."""
    chain = np.array(list(values))
    return float(chain.mean()), float(
        chain.std(ddof=1) / math.sqrt(effective_sample_size(chain[None]))
    )


def _perturbed(model: nn.Module, std: float, generator: torch.Generator) -> nn.Module:
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for p in moved.parameters():
            p.add_(std * torch.randn(p.shape, generator=generator))
    return moved


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
