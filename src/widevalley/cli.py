"""The command line: reads verbs and flags, calls what they name, prints what comes back."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from rich.console import Console

from widevalley import experiments
from widevalley.data import DataUnavailable
from widevalley.experiments import RECIPES, Recipe
from widevalley.report import (
    find_groups,
    group_runs,
    rich_table,
    trial_table,
    write_report,
    write_results,
)
from widevalley.training import Diverged, Interrupted, RunBusy, RunConfig

HELP = """usage: widevalley VERB ...

  train RECIPE [--optimizer NAME]    train a recipe with one optimizer
  compare RECIPE                     train it with several, at equal gradient evaluations
  sweep RECIPE [--optimizer NAME]    a grid over settings, judged on held-out training samples
  report FOLDER                      table and curves of finished runs, from their folders

recipes:
{recipes}
Flags, their units and defaults: widevalley VERB RECIPE [--optimizer NAME] --help"""

T = TypeVar("T")


class UsageError(ValueError):
    """The command line cannot be understood; the message is one line."""


@dataclass(frozen=True)
class TrainFlags:
    """Flags of `train`, beside those of the run."""

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    seeds: int = 1
    """Runs, with seeds SEED, SEED + 1, ..."""
    runs: Path = Path("runs")
    """Folder of all runs; this one's is RUNS/RECIPE/OPTIMIZER/seed-N."""


@dataclass(frozen=True)
class SweepFlags(TrainFlags):
    """Flags of `sweep`, beside those of the run."""

    grid: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FIELD=VALUE,VALUE,... of any flag below; given again, every combination is run."""


@dataclass(frozen=True)
class ReportFlags:
    """Flags of `report`."""

    to: Path | None = None
    """Copy the runs (without checkpoints) here, with table.md and curves.png; else only show."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 1 failed, 2 misused, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _dispatch(arguments)
    except (DataUnavailable, Diverged, RunBusy) as error:
        return _say(error, 1)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        return _say(error, 2)
    except Interrupted as error:
        return _say(error, 130)
    except KeyboardInterrupt:
        return _say("stopped", 130)
    return 0


def _say(message: object, code: int) -> int:
    print("widevalley:", " ".join(str(message).split()), file=sys.stderr)
    return code


def _dispatch(arguments: list[str]) -> None:
    verbs: dict[str, Callable[[str, list[str]], None]] = {
        "train": _train,
        "compare": _compare,
        "sweep": _sweep,
        "report": _report,
    }
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP.format(recipes="".join(f"  {r.name:34} {r.title}\n" for r in RECIPES.values())))
        return
    verb, *rest = arguments
    if verb not in verbs:
        raise UsageError(f"no verb {verb!r}; there are {', '.join(verbs)}")
    if rest[:1] in (["-h"], ["--help"]):
        _dispatch([])
        return
    what = "a FOLDER" if verb == "report" else f"a RECIPE ({', '.join(RECIPES)})"
    if not rest or rest[0].startswith("-"):
        raise UsageError(f"{verb} needs {what} right after it")
    verbs[verb](rest[0], rest[1:])


def _train(name: str, flags: list[str]) -> None:
    recipe = _recipe(name)
    config, flags = _chosen(recipe, flags)
    told = _parse(TrainFlags, TrainFlags(config), flags, f"train {name}", _about(recipe, config))
    folders = experiments.train(
        recipe, experiments.seeds_of(told.config, told.seeds), told.runs, command=_command()
    )
    _show_table(group_runs(folders), recipe)
    print("\n".join(f"run folder: {folder.path}" for folder in folders))


def _compare(name: str, flags: list[str]) -> None:
    recipe = _recipe(name)
    listed, flags = _take(flags, "--optimizers")
    names = listed.split(",") if listed else list(recipe.compared)
    if any(flag.startswith("--optimizer.") for flag in flags):
        raise UsageError("compare takes each optimizer's tuned settings; change them with train")
    about = f"{recipe.title}. Compares {', '.join(names)}; choose others by --optimizers A,B."
    told = [
        _parse(TrainFlags, TrainFlags(recipe.config(one)), flags, f"compare {name}", about)
        for one in names
    ]
    root, configs = told[0].runs, [each.config for each in told]
    folders = experiments.compare(recipe, configs, told[0].seeds, root, command=_command())
    groups = group_runs(folders)
    table, curves = write_report(groups, recipe.title, root / recipe.name)
    _show_table(groups, recipe)
    print(f"table:  {table}\ncurves: {curves}")


def _sweep(name: str, flags: list[str]) -> None:
    recipe = _recipe(name)
    config, flags = _chosen(recipe, flags)
    config = replace(config, holdout=recipe.holdout)
    about = _about(recipe, config)
    told = _parse(SweepFlags, SweepFlags(config), flags, f"sweep {name}", about)
    values = dict(_grid_values(told.config, entry) for entry in told.grid)
    trials = experiments.sweep(
        recipe, told.config, values, told.seeds, told.runs, command=_command()
    )
    optimizer = told.config.optimizer.name
    Console().print(trial_table(trials, f"{recipe.name} {optimizer}, {len(trials)} trials"))
    print(f"runs: {told.runs / recipe.name / 'sweeps' / optimizer}")


def _report(name: str, flags: list[str]) -> None:
    folder = Path(name)
    told = _parse(ReportFlags, ReportFlags(), flags, "report FOLDER", "Reads run folders alone.")
    groups = find_groups(folder)
    recipe = _recipe(groups[0].folders[0].config["recipe"])
    _show_table(groups, recipe)
    if told.to:
        table, curves = write_results(groups, recipe.title, told.to)
        print(f"table:  {table}\ncurves: {curves}")


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def _chosen(recipe: Recipe, flags: list[str]) -> tuple[RunConfig, list[str]]:
    """The tuned run of the optimizer that --optimizer names, and the other flags."""
    name, rest = _take(flags, "--optimizer")
    return recipe.config(name or recipe.optimizers[0]), rest


def _take(flags: list[str], name: str) -> tuple[str | None, list[str]]:
    """The value of the flag `name`, and the flags without it."""
    flags = [part for flag in flags for part in _split(flag, name)]
    if name not in flags:
        return None, flags
    at = flags.index(name)
    if at + 1 == len(flags) or flags[at + 1].startswith("-"):
        raise UsageError(f"{name} needs a value")
    if name in flags[at + 1 :]:
        raise UsageError(f"{name} is given twice")
    return flags[at + 1], flags[:at] + flags[at + 2 :]


def _split(flag: str, name: str) -> list[str]:
    return [name, flag.removeprefix(name + "=")] if flag.startswith(name + "=") else [flag]


def _grid_values(config: RunConfig, entry: str) -> tuple[str, list[Any]]:
    """A dotted field and its values, read as the flag of that name would be."""
    name, equals, listed = entry.partition("=")
    name = name.replace("-", "_")
    if not equals or name == "seed":
        raise UsageError(f"--grid {entry}: must be FIELD=VALUE,VALUE,... of a field but the seed")
    values = []
    for text in listed.split(","):
        flags = [f"--{name}", *text.split()]
        read: Any = _parse(TrainFlags, TrainFlags(config), flags, "sweep", "").config
        for part in name.split("."):
            if not hasattr(read, part):
                raise UsageError(f"--grid {entry}: a run has no setting {name}")
            read = getattr(read, part)
        values.append(read)
    return name, values


def _parse(kind: type[T], default: T, flags: list[str], verb: str, about: str) -> T:
    """Read flags over a default; tyro's boxed complaint becomes a UsageError of one line."""
    boxed = io.StringIO()
    try:
        with contextlib.redirect_stderr(boxed):
            return tyro.cli(
                kind,
                default=default,
                args=flags,
                prog=f"widevalley {verb}",
                description=about,
                config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(_unboxed(boxed.getvalue())) from None


def _unboxed(text: str) -> str:
    """What a box says under its title; without UTF-8, rules are dashes and there are no sides."""
    paragraphs: list[list[str]] = [[]]
    for line in text.splitlines():
        words = line.strip(" │╭╮╰╯─-")
        if words:
            paragraphs[-1].append(line.strip(" │╭╮╰╯─"))
        if line.startswith("╭") or not words:
            paragraphs.append([])
    said = [" ".join(lines) for lines in paragraphs if lines]
    return said[min(1, len(said) - 1)] if said else "the command line cannot be understood"


def _about(recipe: Recipe, config: RunConfig) -> str:
    others = ", ".join(recipe.optimizers)
    return (
        f"{recipe.title}. The defaults below are those of {config.optimizer.name}; choose another "
        f"optimizer by --optimizer NAME: {others}."
    )


def _command() -> str:
    return shlex.join(["widevalley", *sys.argv[1:]])


def _show_table(groups: list[Any], recipe: Recipe) -> None:
    Console().print(rich_table(groups, recipe.title))


if __name__ == "__main__":
    sys.exit(main())
