"""The verbs that train: train, compare, sweep."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import tyro
from rich.console import Console

from widevalley import experiments
from widevalley.cli.tournament_verb import Tournament
from widevalley.cli.verb import (
    CONFIG,
    UsageError,
    Verb,
    asks_for_help,
    command,
    flag_value,
    parse_flags,
    parse_verb,
)
from widevalley.experiments import CONTESTS, RECIPES, Recipe
from widevalley.report import (
    Group,
    group_runs,
    rich_table,
    run_cells,
    trial_table,
    write_page,
    write_report,
)
from widevalley.training import RunConfig, started


@dataclass(frozen=True, kw_only=True)
class OfRecipe(Verb):
    """What verbs that train a recipe share: its name and the settings of its runs."""

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """A task with its network and settings; widevalley --help lists them."""
    config: Annotated[RunConfig, *CONFIG]
    seeds: int = 1
    """Runs, with seeds SEED, SEED + 1, ..."""
    runs: Path = Path("runs")
    """Folder of all runs; this one's is RUNS/RECIPE/NAME/seed-N, NAME its optimizer or variant."""

    @classmethod
    def named_recipe(cls, arguments: Sequence[str]) -> Recipe:
        """The recipe right after the verb; for help without one the first there is."""
        if not arguments or arguments[0].startswith("-"):
            if asks_for_help(arguments):
                return next(iter(RECIPES.values()))
            raise UsageError(f"{cls.name} needs a RECIPE ({', '.join(RECIPES)}) right after it")
        if arguments[0] not in RECIPES:
            raise UsageError(f"no recipe {arguments[0]!r}; there are {', '.join(RECIPES)}")
        return RECIPES[arguments[0]]


@dataclass(frozen=True, kw_only=True)
class Train(OfRecipe):
    """Train a recipe with one optimizer, or by --variant the paper's settings or ours."""

    name: ClassVar[str] = "train"

    optimizer: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """The run of this optimizer; the defaults of all other flags are its tuned settings."""
    variant: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """The run of this name instead."""

    @classmethod
    def chosen_run(cls, arguments: Sequence[str]) -> tuple[str, RunConfig]:
        """The run that --optimizer or --variant names, and its name before it."""
        recipe = cls.named_recipe(arguments)
        optimizer = flag_value(arguments, "--optimizer")
        variant = flag_value(arguments, "--variant")
        if optimizer is not None and variant is not None:
            raise UsageError("--optimizer and --variant exclude each other")
        if not variant and (optimizer or recipe.tuned):
            optimizer = optimizer or recipe.default
            return optimizer, recipe.config(optimizer)
        variant = variant or recipe.default
        return variant, recipe.variant(variant)

    @classmethod
    def default(cls, arguments: Sequence[str]) -> Self:
        """The settings of the chosen run."""
        # The recipe is left to tyro, which says where it is missing.
        return cls(recipe=tyro.MISSING, config=cls.chosen_run(arguments)[1])

    @classmethod
    def about(cls, arguments: Sequence[str]) -> str:
        """The recipe's title, and whose settings the defaults are."""
        recipe, (name, _) = cls.named_recipe(arguments), cls.chosen_run(arguments)
        if arguments[0] not in RECIPES:
            return (
                f"{inspect.getdoc(cls)} Recipes are {', '.join(RECIPES)}; see also compare, "
                "which trains several optimizers, sweep, which tunes one, and report, which shows "
                f"runs. The defaults below are those of {recipe.name}; name a recipe for its own."
            )
        return (
            f"{recipe.title}. The defaults below are those of {name}; choose another run by "
            f"--optimizer NAME or --variant NAME: {recipe.choices}."
        )

    @property
    def run_name(self) -> str:
        """What the run is called: its variant, or its optimizer."""
        return self.optimizer or self.variant or RECIPES[self.recipe].default

    def run(self) -> None:
        """Train, then show the results."""
        recipe, config = RECIPES[self.recipe], self.config
        if started() == 1 and config.workers > 1:
            from widevalley.cli.launch import launch

            launch(config.workers)
            return
        if config.workers == 1:  # under torchrun it need not be said
            config = replace(config, workers=started())
        runs = [(self.run_name, one) for one in experiments.seeds_of(config, self.seeds)]
        folders = experiments.train(recipe, runs, self.runs, command=command())
        _show(group_runs(folders), recipe)
        print("\n".join(f"run folder: {folder.path}" for folder in folders))


@dataclass(frozen=True, kw_only=True)
class Compare(OfRecipe):
    """Train a recipe with several optimizers, or tune methods first (--methods all).

    All spend the same gradient evaluations. With --methods, --trials or --budget it is a
    tournament: widevalley compare --methods all --help shows its flags.
    """

    name: ClassVar[str] = "compare"

    optimizers: Annotated[str | None, tyro.conf.arg(metavar="A,B,...")] = None
    """Which, separated by commas; by default those the recipe compares."""
    arguments: tyro.conf.Suppress[tuple[str, ...]] = ()
    """As given, to be read over the defaults of each optimizer."""

    @classmethod
    def chosen(cls, arguments: Sequence[str]) -> type[Verb]:
        """A tournament where one of its flags is given, or there is nothing else to help with."""
        recipe = RECIPES.get(next(iter(arguments), ""))
        nothing = recipe is not None and not recipe.compared and recipe.name in CONTESTS
        if Tournament.asked_for(arguments) or (nothing and asks_for_help(arguments)):
            return Tournament
        return cls

    @classmethod
    def names(cls, arguments: Sequence[str]) -> list[str]:
        """The optimizers to compare."""
        recipe = cls.named_recipe(arguments)
        listed = flag_value(arguments, "--optimizers")
        names = listed.split(",") if listed else list(recipe.compared)
        if not names:
            other = "compare --methods all" if recipe.name in CONTESTS else "reproduce"
            raise UsageError(f"{recipe.name} has {recipe.choices}: see widevalley {other}")
        if any(argument.startswith("--optimizer.") for argument in arguments):
            raise UsageError(
                "compare takes each optimizer's tuned settings; change them with train"
            )
        return names

    @classmethod
    def default(cls, arguments: Sequence[str]) -> Self:
        """The settings of the first optimizer."""
        names = cls.names(arguments)
        config = cls.named_recipe(arguments).config(names[0])
        return cls(recipe=tyro.MISSING, config=config, arguments=tuple(arguments))

    @classmethod
    def about(cls, arguments: Sequence[str]) -> str:
        """The recipe's title, and what is compared."""
        if arguments[0] not in RECIPES:
            return f"{inspect.getdoc(cls)} Recipes are {', '.join(RECIPES)}."
        names = ", ".join(cls.names(arguments))
        return f"{cls.named_recipe(arguments).title}. Compares {names} by default."

    def run(self) -> None:
        """Train all, then show them side by side."""
        recipe, names = RECIPES[self.recipe], self.names(self.arguments)
        configs = [self.config, *(self._config_of(name) for name in names[1:])]
        folders = experiments.compare(recipe, configs, self.seeds, self.runs, command=command())
        groups = group_runs(folders)
        folder = self.runs / recipe.name
        table, curves = write_report(groups, recipe.title, folder)
        page = write_page(groups, recipe.title, folder / "report.html")
        _show(groups, recipe)
        print(f"table:  {table}\ncurves: {curves}\npage:   {page}, for a browser")

    def _config_of(self, optimizer: str) -> RunConfig:
        """The same flags over the settings of another optimizer, whose defaults may differ."""
        # Without the list of all of them: this reads for one.
        flags = [one for one in self.arguments if not one.startswith("--optimizers=")]
        if "--optimizers" in flags:
            at = flags.index("--optimizers")
            del flags[at : at + 2]
        # Two verbs, as a choice needs; the name decides.
        arguments = [self.name, *flags, "--optimizers", optimizer]
        read = parse_verb([Compare, Train], arguments, "")
        assert isinstance(read, Compare)
        return read.config


@dataclass(frozen=True, kw_only=True)
class Sweep(Train):
    """A grid over settings of one optimizer or variant, evaluated on held-out training samples."""

    name: ClassVar[str] = "sweep"

    grid: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FIELD=VALUE,VALUE,... of any flag below; given again, every combination is run."""

    @classmethod
    def default(cls, arguments: Sequence[str]) -> Self:
        """The settings of the chosen run, with the recipe's samples held out."""
        config = replace(cls.chosen_run(arguments)[1], holdout=cls.named_recipe(arguments).holdout)
        return cls(recipe=tyro.MISSING, config=config)

    def run(self) -> None:
        """Run the grid, then show its trials."""
        recipe, name = RECIPES[self.recipe], self.run_name
        values = dict(self._values(entry) for entry in self.grid)
        trials = experiments.sweep(
            recipe, name, self.config, values, self.seeds, self.runs, command=command()
        )
        Console().print(trial_table(trials, f"{recipe.name} {name}, {len(trials)} trials"))
        print(f"runs: {self.runs / recipe.name / 'sweeps' / name}")

    def _values(self, entry: str) -> tuple[str, list[Any]]:
        """A dotted field and its values, each read as the flag of that name would be."""
        name, equals, listed = entry.partition("=")
        name = name.replace("-", "_")
        if not (name and equals) or name == "seed":
            raise UsageError(
                f"--grid {entry}: must be FIELD=VALUE,VALUE,... of a field but the seed"
            )
        # Flags of the verb, which are no settings of a run.
        if name in ("grid", "runs", "seeds", "recipe", "variant", "optimizer"):
            raise UsageError(f"--grid {entry}: a run has no setting {name}")
        values = []
        for text in listed.split(","):
            if "." not in name and hasattr(self.config.optimizer, name):
                raise UsageError(f"--grid {entry}: must be optimizer.{entry}")
            read: Any = parse_flags(self.config, [f"--{name}", *text.split()])
            for part in name.split("."):
                read = getattr(read, part)
            values.append(read)
        return name, values


def _show(groups: list[Group], recipe: Recipe) -> None:
    Console().print(rich_table(run_cells(groups), recipe.title))
