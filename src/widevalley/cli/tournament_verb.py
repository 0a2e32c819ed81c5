"""compare with --methods, --budget or --trials: a tournament; and its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import tyro

from widevalley import experiments
from widevalley.cli.terminal import show
from widevalley.cli.verb import CONFIG, UsageError, Verb, command
from widevalley.experiments import CONTESTS, METHODS, Rules
from widevalley.report import rich_table, tournament_cells, write_tournament

ASKED_BY = ("--methods", "--budget", "--trials")
"""Flags that make a comparison a tournament."""


@dataclass(frozen=True, kw_only=True)
class Tournament(Verb):
    """Tune methods on held-out data at equal cost, then compare them on the test set."""

    name: ClassVar[str] = "compare"
    needs: ClassVar[str] = f"a TASK ({', '.join(CONTESTS)})"

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
    """A task with what a run of it spends."""
    methods: Annotated[str, tyro.conf.arg(metavar="A,B,...")] = "all"
    """Which, separated by commas."""
    rules: Annotated[Rules, *CONFIG]
    runs: Path = Path("runs/tournament")
    """Folder of tournaments; one's is RUNS/TASK-BUDGET."""

    @staticmethod
    def asked_for(arguments: Sequence[str]) -> bool:
        """Whether the arguments of `compare` mean a tournament."""
        return any(argument.split("=")[0] in ASKED_BY for argument in arguments)

    @classmethod
    def default(cls, arguments: Sequence[str]) -> Self:
        """What each method gets alike."""
        return cls(task=tyro.MISSING, rules=Rules())

    @classmethod
    def about(cls, arguments: Sequence[str]) -> str:
        """The tasks and the methods."""
        return f"{cls.__doc__} Tasks: {', '.join(CONTESTS)}. Methods: {', '.join(METHODS)}."

    def run(self) -> None:
        """Make the runs that are missing, then show the results."""
        if self.task not in CONTESTS:
            raise UsageError(f"no tournament of {self.task!r}; there are {', '.join(CONTESTS)}")
        methods = list(METHODS) if self.methods == "all" else self.methods.split(",")
        contest = CONTESTS[self.task]
        report_tournament(
            experiments.play(contest, methods, self.rules, self.runs, command=command())
        )


def report_tournament(folder: Path, to: Path | None = None) -> None:
    """Show a tournament and write its table and curves, beside a copy where asked."""
    written = write_tournament(folder, to)
    show(rich_table(tournament_cells(to or folder), folder.name))
    print("\n".join(f"written: {path}" for path in written))
