"""A tournament: methods tuned at equal cost on held-out data, then compared on the test set.

FOLDER/tournament.json           what was decided before the first run
FOLDER/study.journal             Optuna's trials
FOLDER/trials/METHOD/POINT/seed-0   a trial's run, judged by held-out data
FOLDER/METHOD/seed-1, -2, ...    the best point's runs with fresh seeds, judged by the test set
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from widevalley._files import atomic_write
from widevalley.experiments.contests import Contest
from widevalley.experiments.grid_search import configured, label
from widevalley.experiments.measured_runs import rewriting
from widevalley.experiments.methods import METHODS, Method
from widevalley.experiments.search import Point, Study
from widevalley.training import (
    Bars,
    Diverged,
    RunBusy,
    RunConfig,
    RunFolder,
    Task,
    differing,
    restore,
    run,
)
from widevalley.valley.robustness import quantised

EVALUATIONS = 20
"""Records of a run with a fresh seed; a trial has one, at its end."""
ROUNDED = "rounded.json"
"""File of a trial with what its rounded weights come to, in a contest that rounds."""
PATIENCE = 5.0
"""Seconds between looks for trials and runs that other processes are at."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a tournament gives to each method alike."""

    budget: int = 0
    """Gradient evaluations of a run, SAM's two a step both counted; 0 takes the task's own."""
    trials: int = 24
    """Trials of each method on held-out data, with seed 0."""
    seeds: int = 5
    """Runs of each method's best trial, with seeds 1, 2, ..., judged by the test set."""
    threads: int = 1
    """Threads on the processor."""

    def __post_init__(self) -> None:
        for name, least in (("budget", 0), ("trials", 1), ("seeds", 1), ("threads", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least {least}")


def play(
    contest: Contest, methods: Sequence[str], rules: Rules, root: Path, *, command: str = ""
) -> Path:
    """Run what is missing of a tournament and return its folder, ROOT/TASK-BUDGET.

    Finished runs are not made again, so that trials, seeds and methods may be added. Several
    processes may play one at the same time, and share its runs; each returns when all are made.

    Raises:
        ValueError: an unknown method, or a folder that holds a tournament by other rules: another
            search space, say.
    """
    if unknown := [name for name in methods if name not in METHODS]:
        raise ValueError(f"method {unknown[0]!r}: there are {', '.join(METHODS)}")
    rules = replace(rules, budget=rules.budget or contest.budget)
    chosen = [METHODS[name] for name in methods]
    folder = root / f"{contest.name}-{rules.budget}"
    write_down(folder, contest, chosen, rules)
    with Bars() as bars:
        player = _Player(contest, rules, folder, bars, command)
        studies = [(method, Study(method, folder)) for method in chosen]
        for method, study in studies:
            study.run(rules.trials, functools.partial(player.trial, method))
        for method, study in studies:
            while not study.complete:
                time.sleep(PATIENCE)
                study.run(rules.trials, functools.partial(player.trial, method))
        finals = [
            (method, study.best, seed)
            for method, study in studies
            for seed in range(1, rules.seeds + 1)
        ]
        busy = [final for final in finals if not player.final(*final)]
        while busy:  # what another process is at, and left if it is killed
            time.sleep(PATIENCE)
            busy = [final for final in busy if not player.final(*final)]
    return folder


def write_down(folder: Path, contest: Contest, methods: Sequence[Method], rules: Rules) -> None:
    """Note in tournament.json what is decided before the first run; methods may be added.

    Raises ValueError where something else was decided there.
    """
    file = folder / "tournament.json"
    with rewriting(file):
        _write_down(file, contest, methods, rules)


def _write_down(file: Path, contest: Contest, methods: Sequence[Method], rules: Rules) -> None:
    noted: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"methods": {}}
    decided = {
        "task": contest.name,
        "budget": rules.budget,
        "criterion": contest.criterion,
        "schedule": contest.schedule,
        "holdout": contest.holdout,
        "bits": contest.bits,
    }
    config = contest.config.as_dict() | {"optimizer": None}
    rows = {method.name: _row(method) for method in methods}
    now = json.loads(json.dumps({**decided, "run": config, "methods": rows}))
    there = {name: noted.get(name, value) for name, value in decided.items()}
    if said := differing(there, decided) or differing(noted.get("run", config), config):
        raise ValueError(f"{file.parent}: was played by other rules: {said}")
    for name, row in now["methods"].items():
        if not _agree(noted["methods"].get(name, row), row):
            raise ValueError(f"{file.parent}: {name} was tuned over another space; go elsewhere")
    now["methods"] = noted["methods"] | now["methods"]
    now["trials"] = max(rules.trials, noted.get("trials", 0))
    now["seeds"] = max(rules.seeds, noted.get("seeds", 0))
    with atomic_write(file) as out:
        out.write((json.dumps(now, indent=2) + "\n").encode())


def _agree(noted: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a method is tuned as was noted; settings that came later stand at their defaults."""
    fixed = {**row["fixed"], **noted["fixed"]}
    return {**row, **noted, "fixed": fixed} == dict(row)


def _row(method: Method) -> dict[str, Any]:
    return {
        "space": [asdict(parameter) for parameter in method.space],
        "said": [str(parameter) for parameter in method.space],
        "fixed": {
            name: value
            for name, value in asdict(method.settings).items()
            if f"optimizer.{name}" not in {one.field for one in method.space}
        },
        "anneals": method.anneals,
        "smooths": method.smooths,
    }


class _Player:
    """Makes the runs of one tournament; the data are read once."""

    def __init__(
        self, contest: Contest, rules: Rules, folder: Path, bars: Bars, command: str
    ) -> None:
        self.contest, self.rules, self.folder = contest, rules, folder
        self.bars, self.command = bars, command
        self.tuning = _loading_once(contest.tuned_on)
        self.task = _loading_once(contest.recipe.task)
        self._batches: dict[bool, int] = {}

    def trial(self, method: Method, point: Point) -> float:
        """Run a point with seed 0 and return what it is judged by on held-out data."""
        config = self._config(method, point, seed=0, tuning=True)
        path = self.folder / "trials" / method.name / label(point) / "seed-0"
        name = f"{method.name} {label(point)}"
        folder = self._run(self.tuning, config, path, name)
        if self.contest.bits and folder.finished:
            with folder.locked():  # nobody may delete the checkpoint meanwhile
                if not (path / ROUNDED).exists():
                    self._round(folder)
        (path / "checkpoint.pt").unlink(missing_ok=True)
        return held_out(folder, self.contest.criterion)

    def _round(self, folder: RunFolder) -> None:
        """Note what the rounded weights of a trial come to on held-out data."""
        loop = restore(folder, self.tuning)
        with loop.evaluation_weights():
            rounded = quantised(loop.model, self.contest.bits)
            found = loop.feed.measure(rounded, loop.feed.monitored_split)
        with atomic_write(folder.path / ROUNDED) as out:
            out.write(json.dumps(found).encode() + b"\n")

    def final(self, method: Method, point: Point, seed: int) -> bool:
        """Run a point with a fresh seed; False where another process is at it."""
        config = self._config(method, point, seed=seed, tuning=False)
        path = self.folder / method.name / f"seed-{seed}"
        try:
            self._run(self.task, config, path, f"{method.name} seed {seed}")
        except RunBusy:
            return False
        return True

    def _run(self, task: Task, config: RunConfig, path: Path, name: str) -> RunFolder:
        """The run at `path`, made where it is missing."""
        folder = RunFolder(path)
        if not folder.finished and not folder.diverged:
            try:
                run(task, config, path, progress=self.bars.run(name), command=self.command)
            except Diverged as error:
                self.bars.console.print(str(error), markup=False, soft_wrap=True)
        return folder

    def _config(self, method: Method, point: Point, *, seed: int, tuning: bool) -> RunConfig:
        epochs = self.rules.budget / self._batches_of(tuning)
        config = replace(
            self.contest.config,
            optimizer=method.settings,
            schedule="constant",
            walk_schedule="constant",
            epochs=epochs,
            evaluate_every=epochs if tuning else epochs / EVALUATIONS,
            holdout=self.contest.holdout if tuning else 0,
            seed=seed,
            threads=self.rules.threads,
        )
        own: Point = {method.anneals: self.contest.schedule} if method.anneals else {}
        if method.smooths < 1:
            rounds = getattr(method.settings, "rounding", 0)
            name = "rounding_start" if rounds else "smoothing_start"
            own[f"optimizer.{name}"] = round((1 - method.smooths) * self.rules.budget)
            if rounds and self.contest.bits:
                own["optimizer.rounding"] = self.contest.bits
        return configured(config, own | point)

    def _batches_of(self, tuning: bool) -> int:
        """Gradient evaluations an epoch, of which the length of a run is a multiple."""
        if tuning not in self._batches:
            task = self.tuning if tuning else self.task
            holdout = self.contest.holdout if tuning else 0
            config = replace(self.contest.config, holdout=holdout)
            feed = task.feed(task.load(), config, torch.device("cpu"))
            self._batches[tuning] = feed.batches
        return self._batches[tuning]


def held_out(folder: RunFolder, criterion: str) -> float:
    """What a trial is judged by on held-out data; infinite where it diverged."""
    if not folder.finished:
        return math.inf
    if (folder.path / ROUNDED).exists():
        return float(json.loads((folder.path / ROUNDED).read_text())[criterion])
    return float(folder.records[-1][f"validation_{criterion}"])


def _loading_once(task: Task) -> Task:
    return replace(task, load=functools.cache(task.load))
