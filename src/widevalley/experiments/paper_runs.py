"""The rows of the paper's tables, run one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from widevalley.data import Corpus, Dataset, DataUnavailable
from widevalley.experiments.recipe import Recipe, run_path
from widevalley.experiments.series import seeds_of
from widevalley.training import (
    Bars,
    Diverged,
    RunBusy,
    RunConfig,
    RunConflict,
    RunFolder,
    run,
)

SAMPLES, TOKENS = 640, 2_400
"""Training data that `small` takes; of the other splits it takes a quarter of that."""


def reproduce(
    recipes: Sequence[Recipe],
    variants: Sequence[str],
    seeds: int,
    root: Path,
    *,
    threads: int = 0,
    command: str = "",
) -> list[str]:
    """Run or resume what is missing of these variants, at ROOT/RECIPE/VARIANT/seed-N.

    A run goes on with the device, precision and threads it began with; `threads` is for new
    ones. A variant that a recipe lacks is passed over. A run that diverges, lacks its data, is
    another process's at the moment or has other settings than the variant is left behind; returns
    one line on each of those. Raises ValueError for a variant that none of the recipes has.
    """
    left = []
    with Bars() as bars:
        for recipe, name, config in _runs(recipes, variants, seeds):
            folder = RunFolder(run_path(root, recipe, name, seed=config.seed))
            label = f"{recipe.name} {name} seed {config.seed}"
            try:
                # 0 leaves it to the folder: other threads would be other settings, and a conflict.
                config = replace(config, threads=0 if folder.begun else threads)
                bar = None if folder.finished else bars.run(label)
                run(recipe.task, config, folder.path, progress=bar, command=command)
            except (DataUnavailable, Diverged, RunBusy, RunConflict) as error:
                bars.console.print(str(error), markup=False, soft_wrap=True)
                left.append(label)
    return left


def _runs(
    recipes: Sequence[Recipe], variants: Sequence[str], seeds: int
) -> list[tuple[Recipe, str, RunConfig]]:
    # A dictionary, for the order in which recipes name them.
    known = dict.fromkeys(name for recipe in recipes for name in recipe.variants)
    if unknown := [name for name in variants if name not in known]:
        raise ValueError(f"variant {unknown[0]!r}: there are {', '.join(known)}")
    return [
        (recipe, name, config)
        for recipe in recipes
        for name in variants
        if name in recipe.variants
        for config in seeds_of(recipe.variant(name), seeds)
    ]


def small(recipe: Recipe) -> Recipe:
    """The same networks and settings for one epoch of a sliver of the data, to see them work."""

    def sliver() -> Dataset | Corpus:
        return _sliver(recipe.task.load())

    return replace(
        recipe,
        task=replace(recipe.task, load=sliver),
        variants={name: _brief(config) for name, config in recipe.variants.items()},
    )


def _sliver(data: Dataset | Corpus) -> Dataset | Corpus:
    if isinstance(data, Dataset):
        return replace(
            data,
            train_inputs=data.train_inputs[:SAMPLES],
            train_targets=data.train_targets[:SAMPLES],
            test_inputs=data.test_inputs[: SAMPLES // 4],
            test_targets=data.test_targets[: SAMPLES // 4],
        )
    return replace(
        data,
        train=data.train[:TOKENS],
        valid=data.valid[: TOKENS // 4],
        test=data.test[: TOKENS // 4],
    )


def _brief(config: RunConfig) -> RunConfig:
    """One epoch of small batches; what the schedule does in a run it does in that epoch."""
    return replace(
        config,
        # Brief, and with everything in it that the whole run has.
        epochs=1.0,
        batch_size=16,
        window=max(1, config.window // 5),
        schedule_from=config.schedule_from / config.epochs,
        schedule_every=config.schedule_every / config.epochs,
        evaluate_every=0.5,
    )
