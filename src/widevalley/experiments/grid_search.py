"""Grid search over any settings of a run, by results on held-out training samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from widevalley.experiments.recipe import Recipe, run_path
from widevalley.experiments.series import seeds_of
from widevalley.training import (
    Bars,
    Diverged,
    RunConfig,
    RunFolder,
    result_of,
    run,
)

SPLIT = "validation"
"""What trials are evaluated on, never the test set."""


@dataclass(frozen=True)
class Trial:
    """One point of a grid and the runs made at it."""

    point: Mapping[str, Any]
    """Values by dotted field name."""
    folders: tuple[RunFolder, ...]

    @property
    def results(self) -> list[float]:
        """The metric of each run on validation samples; infinite where it diverged."""
        return [result_of(f.records[-1], SPLIT) if f.finished else math.inf for f in self.folders]

    @property
    def result(self) -> float:
        """Their mean."""
        return math.fsum(self.results) / len(self.results)

    @property
    def loss(self) -> float:
        """Mean validation loss in nats."""
        losses = [
            float(folder.records[-1][f"{SPLIT}_loss"]) if folder.finished else math.inf
            for folder in self.folders
        ]
        return math.fsum(losses) / len(losses)


def set_field(config: RunConfig, name: str, value: Any) -> RunConfig:
    """`config` with the field of this dotted name ("dropout", "optimizer.lr") replaced.

    Raises ValueError where there is no such field.
    """
    outer, _, inner = name.partition(".")
    changed: dict[str, Any] = {inner or outer: value}
    names, inner_names = (
        {field.name for field in fields(settings)} for settings in (config, config.optimizer)
    )
    if outer == "optimizer" and inner in inner_names:
        return replace(config, optimizer=replace(config.optimizer, **changed))
    # `optimizer` itself is no setting to vary: its name decides which others there are.
    if inner or outer == "optimizer" or outer not in names:
        raise ValueError(f"{name}: {config.optimizer.name} runs have no such setting")
    return replace(config, **changed)


def configured(config: RunConfig, point: Mapping[str, Any]) -> RunConfig:
    """`config` with the fields of a point replaced."""
    for name, value in point.items():
        config = set_field(config, name, value)
    return config


def grid(
    config: RunConfig, values: Mapping[str, Sequence[Any]]
) -> list[tuple[dict[str, Any], RunConfig]]:
    """Every combination of the values, each with the configuration it makes of `config`."""
    points = []
    for chosen in itertools.product(*values.values()):
        point = dict(zip(values, chosen, strict=True))
        points.append((point, configured(config, point)))
    return points


def label(point: Mapping[str, Any]) -> str:
    """A folder name for a point of the grid."""

    def plain(value: Any) -> str:
        # Without commas, which separate settings, and without blanks and brackets.
        return "_".join(map(plain, value)) if isinstance(value, tuple) else str(value)

    return ",".join(f"{name}={plain(value)}" for name, value in point.items()) or "default"


def sweep(
    recipe: Recipe,
    name: str,
    config: RunConfig,
    values: Mapping[str, Sequence[Any]],
    seeds: int,
    root: Path,
    *,
    command: str = "",
) -> list[Trial]:
    """Run the grid and return its trials, the best on validation samples first (ties by loss).

    Runs live under ROOT/RECIPE/sweeps/NAME/POINT/seed-N, `name` being that of the run varied, its
    optimizer or variant; finished ones are not run again. A trial that diverges counts as
    infinitely bad. Raises ValueError where nothing is held out.
    """
    # Whatever chose the settings, the test set must not have.
    if config.holdout == 0 and not recipe.task.feed.validates:
        raise ValueError("holdout=0: a sweep must not be evaluated on the test set; hold some out")
    trials = []
    with Bars() as bars:
        for point, at in grid(config, values):
            folders = []
            for one in seeds_of(at, seeds):
                path = run_path(root, recipe, "sweeps", name, label(point), seed=one.seed)
                bar = bars.run(f"{name} {label(point)} seed {one.seed}")
                try:
                    run(recipe.task, one, path, progress=bar, command=command)
                # A rate too large is a result of the search, not the end of it.
                except Diverged as error:
                    bars.console.print(str(error), markup=False, soft_wrap=True)
                folders.append(RunFolder(path))
            trials.append(Trial(point, tuple(folders)))
    return sorted(trials, key=lambda trial: (trial.result, trial.loss))
