"""Runs one after another, each with its bar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from widevalley.experiments.recipe import Recipe, check_equal_cost, run_path
from widevalley.training import Bars, RunConfig, RunFolder, run

Named = tuple[str, RunConfig]
"""A run and what it is called: its variant, or its optimizer."""


def seeds_of(config: RunConfig, count: int) -> list[RunConfig]:
    """The same run with `count` seeds in a row, from its own on."""
    if count < 1:
        raise ValueError(f"seeds={count}: must be at least 1")
    return [replace(config, seed=config.seed + k) for k in range(count)]


def train(
    recipe: Recipe, runs: Iterable[Named], root: Path, *, command: str = ""
) -> list[RunFolder]:
    """Run each configuration to its end, under ROOT/RECIPE/NAME/seed-N.

    Raises what `widevalley.training.run` raises, at the first run that does.
    """
    with Bars() as bars:
        return [
            run(
                recipe.task,
                config,
                run_path(root, recipe, name, seed=config.seed),
                progress=bars.run(f"{name} seed {config.seed}"),
                command=command,
            )
            for name, config in runs
        ]


def compare(
    recipe: Recipe, configs: Sequence[RunConfig], seeds: int, root: Path, *, command: str = ""
) -> list[RunFolder]:
    """Train several optimizers with `seeds` seeds each, at equal gradient evaluations.

    Raises ValueError where the configurations cost differently, and what `train` raises.
    """
    check_equal_cost(configs)
    runs = [(one.optimizer.name, one) for config in configs for one in seeds_of(config, seeds)]
    return train(recipe, runs, root, command=command)
