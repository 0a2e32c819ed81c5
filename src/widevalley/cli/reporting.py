"""The verbs that show results: report, claims, theory; and reproduce, which makes the missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from widevalley import experiments
from widevalley.cli.flags import UsageError, command, first, leading, parse
from widevalley.cli.terminal import show
from widevalley.experiments import PAPER, RECIPES, small
from widevalley.report import (
    copy_reproduction,
    diverged_in,
    find_groups,
    rich_table,
    run_cells,
    sgld_table,
    table_1,
    write_claims,
    write_results,
    write_theory,
)


class Incomplete(RuntimeError):
    """Some runs did not come to their end; the message names them."""


@dataclass(frozen=True)
class ReportFlags:
    """Flags of `report`."""

    to: Path | None = None
    """Copy the runs (without checkpoints) here, with table.md and curves.png; else only show."""
    unfinished: bool = False
    """Take in the runs that are not at their end, marked as partial."""
    split: Literal["", "test", "validation"] = ""
    """What to judge by; empty takes the test set where runs were judged on it. The trials of a
    sweep over a text have both, and validation chose among them."""


@dataclass(frozen=True)
class ReproduceFlags:
    """Flags of `reproduce`."""

    seeds: int = 1
    """Runs of each variant, with seeds 0, 1, ..."""
    variants: tuple[str, ...] = ("paper", "baseline", "best", "tuned", "sgld")
    """Which runs of each recipe that has them."""
    scale: Literal["full", "small"] = "full"
    """small trains every network for one epoch of a sliver of its data, to see that it works; its
    runs are kept apart, in RUNS-small."""
    runs: Path = Path("runs")
    """Folder of all runs; one's is RUNS/RECIPE/VARIANT/seed-N. Table and figures go there too."""
    threads: int = 0
    """Threads on the processor; 0 leaves it to torch."""
    report_only: bool = False
    """Train nothing; show the runs there are, of every variant."""
    to: Path | None = None
    """Copy the runs (without checkpoints) here, with table and figures; else these stay in RUNS."""


def report(arguments: list[str]) -> None:
    """Show the runs of a folder, and copy them where asked."""
    name, flags = first(arguments, "report", "a FOLDER")
    about = "Reads run folders alone."
    told = parse(ReportFlags, ReportFlags(), flags, "report FOLDER", about, switches=True)
    groups = find_groups(Path(name), unfinished=told.unfinished, split=told.split)
    diverged = diverged_in(Path(name))
    recipe = groups[0].folders[0].config["recipe"]
    title = RECIPES[recipe].title if recipe in RECIPES else recipe
    show(rich_table(run_cells(groups, diverged), title))
    if told.to:
        table, curves = write_results(groups, title, told.to, diverged)
        print(f"table:  {table}\ncurves: {curves}")


def reproduce(arguments: list[str]) -> None:
    """Run what is missing of the paper's tables, then show them."""
    names, flags = leading(arguments)
    names = names or list(PAPER)
    about = f"The paper's networks, all of {', '.join(PAPER)} unless told which."
    told = parse(
        ReproduceFlags, ReproduceFlags(), flags, "reproduce [RECIPE ...]", about, switches=True
    )
    unknown = [name for name in names if name not in PAPER]
    if unknown:
        raise UsageError(f"no row {unknown[0]!r}; there are {', '.join(PAPER)}")
    recipes, root = list(PAPER.values()), told.runs
    if told.scale == "small":
        recipes, root = [small(recipe) for recipe in recipes], root.with_name(f"{root.name}-small")
    chosen = [recipe for recipe in recipes if recipe.name in names]
    left = []
    if not told.report_only:
        left = experiments.reproduce(
            chosen, told.variants, told.seeds, root, threads=told.threads, command=command()
        )
    show(rich_table(table_1(root, chosen), "Table 1"))
    show(rich_table(sgld_table(root, chosen), "SGLD"))
    to = told.to or root
    for path in copy_reproduction(root, recipes, to):
        print(f"written: {path}")
    if left:
        raise Incomplete(f"not at their end: {', '.join(left)}")


def claims(arguments: list[str]) -> None:
    """Hold the paper's claims against the runs of a results folder."""
    name, flags = first(arguments, "claims", "a FOLDER")
    if flags:
        raise UsageError(f"claims takes a FOLDER and nothing else, not {flags[0]}")
    root = Path(name)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    file = root / "claims.md"
    for title, verdict in write_claims(root, file):
        print(f"{verdict:14} {title}")
    print(f"written: {file}")


@dataclass(frozen=True)
class TheoryFlags:
    """Flags of `theory`."""

    to: Path = Path("theory.md")
    """The page."""


def theory(arguments: list[str]) -> None:
    """Check the paper's equations in numbers."""
    about = "Each equation beside the function that checks it and what it gave; takes seconds."
    told = parse(TheoryFlags, TheoryFlags(), arguments, "theory", about)
    print(f"written: {write_theory(told.to)}")
