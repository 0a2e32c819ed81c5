"""The verbs that train: train, compare, sweep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from widevalley import experiments
from widevalley.cli.flags import UsageError, command, first, parse, take
from widevalley.experiments import RECIPES, Recipe
from widevalley.report import group_runs, rich_table, run_cells, trial_table, write_report
from widevalley.training import RunConfig


@dataclass(frozen=True)
class TrainFlags:
    """Flags of `train`, beside those of the run."""

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    seeds: int = 1
    """Runs, with seeds SEED, SEED + 1, ..."""
    runs: Path = Path("runs")
    """Folder of all runs; this one's is RUNS/RECIPE/NAME/seed-N, NAME its optimizer or variant."""


@dataclass(frozen=True)
class SweepFlags(TrainFlags):
    """Flags of `sweep`, beside those of the run."""

    grid: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FIELD=VALUE,VALUE,... of any flag below; given again, every combination is run."""


def train(arguments: list[str]) -> None:
    """Train a recipe with one optimizer or variant."""
    recipe, flags = _recipe("train", arguments)
    name, config, flags = _chosen(recipe, flags)
    verb, about = f"train {recipe.name}", _about(recipe, name)
    told = parse(TrainFlags, TrainFlags(config), flags, verb, about)
    runs = [(name, one) for one in experiments.seeds_of(told.config, told.seeds)]
    folders = experiments.train(recipe, runs, told.runs, command=command())
    _show(group_runs(folders), recipe)
    print("\n".join(f"run folder: {folder.path}" for folder in folders))


def compare(arguments: list[str]) -> None:
    """Train a recipe with several optimizers."""
    recipe, flags = _recipe("compare", arguments)
    listed, flags = take(flags, "--optimizers")
    names = listed.split(",") if listed else list(recipe.compared)
    if not names:
        raise UsageError(f"{recipe.name} has {recipe.choices}: see widevalley reproduce")
    if any(flag.startswith("--optimizer.") for flag in flags):
        raise UsageError("compare takes each optimizer's tuned settings; change them with train")
    verb = f"compare {recipe.name}"
    about = f"{recipe.title}. Compares {', '.join(names)}; choose others by --optimizers A,B."
    told = [parse(TrainFlags, TrainFlags(recipe.config(one)), flags, verb, about) for one in names]
    root, configs = told[0].runs, [each.config for each in told]
    folders = experiments.compare(recipe, configs, told[0].seeds, root, command=command())
    groups = group_runs(folders)
    table, curves = write_report(groups, recipe.title, root / recipe.name)
    _show(groups, recipe)
    print(f"table:  {table}\ncurves: {curves}")


def sweep(arguments: list[str]) -> None:
    """Run a grid over the settings of one optimizer or variant."""
    recipe, flags = _recipe("sweep", arguments)
    name, config, flags = _chosen(recipe, flags)
    config = replace(config, holdout=recipe.holdout)
    verb, about = f"sweep {recipe.name}", _about(recipe, name)
    told = parse(SweepFlags, SweepFlags(config), flags, verb, about)
    values = dict(_grid_values(told.config, entry) for entry in told.grid)
    trials = experiments.sweep(
        recipe, name, told.config, values, told.seeds, told.runs, command=command()
    )
    Console().print(trial_table(trials, f"{recipe.name} {name}, {len(trials)} trials"))
    print(f"runs: {told.runs / recipe.name / 'sweeps' / name}")


def _recipe(verb: str, arguments: list[str]) -> tuple[Recipe, list[str]]:
    name, flags = first(arguments, verb, f"a RECIPE ({', '.join(RECIPES)})")
    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name], flags


def _chosen(recipe: Recipe, flags: list[str]) -> tuple[str, RunConfig, list[str]]:
    """The run that --optimizer or --variant names, its name before it, and the other flags."""
    optimizer, flags = take(flags, "--optimizer")
    variant, flags = take(flags, "--variant")
    if optimizer and variant:
        raise UsageError("--optimizer and --variant exclude each other")
    if optimizer or (recipe.tuned and not variant):
        optimizer = optimizer or recipe.optimizers[0]
        return optimizer, recipe.config(optimizer), flags
    variant = variant or "best"
    return variant, recipe.variant(variant), flags


def _grid_values(config: RunConfig, entry: str) -> tuple[str, list[Any]]:
    """A dotted field and its values, read as the flag of that name would be."""
    name, equals, listed = entry.partition("=")
    name = name.replace("-", "_")
    if not equals or name == "seed":
        raise UsageError(f"--grid {entry}: must be FIELD=VALUE,VALUE,... of a field but the seed")
    values = []
    for text in listed.split(","):
        flags = [f"--{name}", *text.split()]
        read: Any = parse(TrainFlags, TrainFlags(config), flags, "sweep", "").config
        for part in name.split("."):
            if not hasattr(read, part):
                raise UsageError(f"--grid {entry}: a run has no setting {name}")
            read = getattr(read, part)
        values.append(read)
    return name, values


def _about(recipe: Recipe, name: str) -> str:
    return (
        f"{recipe.title}. The defaults below are those of {name}; choose another run by "
        f"--optimizer NAME or --variant NAME: {recipe.choices}."
    )


def _show(groups: list[Any], recipe: Recipe) -> None:
    Console().print(rich_table(run_cells(groups), recipe.title))
