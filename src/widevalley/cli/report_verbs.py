"""The verbs that show results: report, claims, theory; and reproduce, which makes the missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from widevalley import experiments
from widevalley.cli.terminal import show
from widevalley.cli.tournament_verb import report_tournament
from widevalley.cli.verb import SWITCH, UsageError, Verb, command
from widevalley.experiments import PAPER, RECIPES, small
from widevalley.report import (
    copy_reproduction,
    diverged_in,
    find_groups,
    pictures_in,
    rich_table,
    run_cells,
    sgld_table,
    table_1,
    write_claims,
    write_page,
    write_power,
    write_results,
    write_theory,
)

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]


class Incomplete(RuntimeError):
    """Some runs did not come to their end; the message names them."""


@dataclass(frozen=True)
class Report(Verb):
    """Table and curves of finished runs, from their folders alone, and a page to explore them.

    The page, report.html in the folder, needs no network; what spectrum and landscape left in the
    folder or below is on it.
    """

    name: ClassVar[str] = "report"
    needs: ClassVar[str] = "a FOLDER"

    folder: Folder
    """Where the runs are, at NAME/seed-N below it."""
    to: Path | None = None
    """Copy the runs (without checkpoints) here, with table.md and curves.png; else only show."""
    unfinished: Annotated[bool, SWITCH] = False
    """Take in the runs that are not at their end, marked as partial."""
    split: Literal["", "test", "validation"] = ""
    """What to evaluate on; empty takes the test set where runs have it. The trials of a sweep over
    a text have both, and validation chose among them."""

    def run(self) -> None:
        """Show the runs of a folder, and copy them where asked."""
        if (self.folder / "tournament.json").exists():
            report_tournament(self.folder, self.to)
            return
        groups = find_groups(self.folder, unfinished=self.unfinished, split=self.split)
        diverged = diverged_in(self.folder)
        recipe = groups[0].folders[0].config["recipe"]
        title = RECIPES[recipe].title if recipe in RECIPES else recipe
        show(rich_table(run_cells(groups, diverged), title))
        if self.to:
            table, curves = write_results(groups, title, self.to, diverged)
            print(f"table:  {table}\ncurves: {curves}")
        page = write_page(
            groups,
            title,
            (self.to or self.folder) / "report.html",
            diverged,
            pictures_in(self.folder),
        )
        print(f"page:   {page}")


@dataclass(frozen=True)
class Reproduce(Verb):
    """Run what is missing of the paper's tables and figures, and show them beside its numbers."""

    name: ClassVar[str] = "reproduce"

    recipes: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RECIPE ...]")
    ] = ()
    """The paper's networks; all of them by default."""
    seeds: int = 1
    """Runs of each variant, with seeds 0, 1, ..."""
    variants: tuple[str, ...] = ("paper", "baseline", "best", "tuned", "sgld")
    """Which runs of each recipe that has them."""
    scale: Literal["full", "small"] = "full"
    """small trains every network for one epoch of a sliver of its data, to see that it works; its
    runs go to RUNS-small."""
    runs: Path = Path("runs")
    """Folder of all runs; one's is RUNS/RECIPE/VARIANT/seed-N. Table and figures go there too."""
    threads: int = 0
    """Threads on the processor; 0 leaves it to torch."""
    report_only: Annotated[bool, SWITCH] = False
    """Train nothing; show the runs there are, of every variant."""
    to: Path | None = None
    """Copy the runs (without checkpoints) here, with table and figures; else these stay in RUNS."""

    def run(self) -> None:
        """Run what is missing of the paper's tables, then show them."""
        names = self.recipes or tuple(PAPER)
        unknown = [name for name in names if name not in PAPER]
        if unknown:
            raise UsageError(f"no row {unknown[0]!r}; there are {', '.join(PAPER)}")
        recipes, root = list(PAPER.values()), self.runs
        if self.scale == "small":
            recipes = [small(recipe) for recipe in recipes]
            root = root.with_name(f"{root.name}-small")
        chosen = [recipe for recipe in recipes if recipe.name in names]
        left = []
        if not self.report_only:
            left = experiments.reproduce(
                chosen, self.variants, self.seeds, root, threads=self.threads, command=command()
            )
        show(rich_table(table_1(root, chosen), "Table 1"))
        show(rich_table(sgld_table(root, chosen), "SGLD"))
        # The files are of all recipes, so that one recipe's run leaves no table of that one alone.
        for path in copy_reproduction(root, recipes, self.to or root):
            print(f"written: {path}")
        if left:
            raise Incomplete(f"not at their end: {', '.join(left)}")


@dataclass(frozen=True)
class Claims(Verb):
    """The paper's claims, each with the evidence of the runs of a results folder."""

    name: ClassVar[str] = "claims"
    needs: ClassVar[str] = "a FOLDER"

    folder: Folder
    """Holds `paper` and `studies`; claims.md and power.md are written there."""

    def run(self) -> None:
        """Test the paper's claims by the runs of a results folder."""
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder}: no such folder")
        kinds = (self.folder / "paper", self.folder / "studies")
        if not any(any(kind.rglob("config.json")) for kind in kinds):
            raise ValueError(f"{self.folder}: no run of the paper's networks in paper or studies")
        file = self.folder / "claims.md"
        for title, verdict in write_claims(self.folder, file):
            print(f"{verdict:14} {title}")
        print(f"written: {file}\nwritten: {write_power(self.folder, self.folder / 'power.md')}")


@dataclass(frozen=True)
class CheckTheory(Verb):
    """The paper's equations, each beside the function that checks it and what it gave."""

    name: ClassVar[str] = "theory"

    to: Path = Path("theory.md")
    """The page."""

    def run(self) -> None:
        """Check the paper's equations in numbers."""
        print(f"written: {write_theory(self.to)}")
