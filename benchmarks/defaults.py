"""Defaults of LocalEntropy around AdamW, chosen on half of the tasks and shown on the others.

    python benchmarks/defaults.py choose runs/defaults
    python benchmarks/defaults.py show runs/defaults
    python benchmarks/defaults.py table runs/defaults > results/tournament/defaults/table.md

The rules are in results/tournament/defaults/README.md. Inner's rate and weight decay are those that
AdamW was tuned to on a task, for every row alike, so what is compared is the walk around it alone.
"""

from __future__ import annotations

import functools
import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import torch
from scipy import stats

from widevalley.experiments import CONTESTS, Contest
from widevalley.report.table import markdown_table
from widevalley.training import AdamWSettings, LocalEntropyAdamWSettings, OptimizerSettings, run

CPU = torch.device("cpu")
CHOOSE = "digits", "mnist-1000", "small-gpt"
CHOSEN = "averaging .75"
"""What the rules chose: the paper's averaging, and the defaults that there are."""
SHOW = "mnist-noise", "lenet", "small-gpt-constant"
CHOOSING, SHOWING = (11, 12, 13), (21, 22, 23, 24, 25)
"""Seeds that no tournament has seen."""


def candidates(lr: float, weight_decay: float) -> dict[str, OptimizerSettings]:
    """The rows, at AdamW's own rate."""
    walk = functools.partial(
        LocalEntropyAdamWSettings, langevin_lr=lr, weight_decay=weight_decay, langevin_steps=20
    )
    return {
        "AdamW alone": AdamWSettings(lr=lr, weight_decay=weight_decay),
        "averaging .75": walk(averaging=0.75),
        "averaging .1": walk(averaging=0.1),
        "outer .7/.3": walk(lr=0.7, momentum=0.3),
        "outer .7/.3, L 10": walk(lr=0.7, momentum=0.3, langevin_steps=10),
        "outer .7/.5": walk(lr=0.7, momentum=0.5),
        "Lookahead .5": walk(lr=0.5),
        "Lookahead .5, L 5": walk(lr=0.5, langevin_steps=5),
        "read-out .9, L 5": walk(readout=0.9, langevin_steps=5),
        "read-out .5, L 5": walk(readout=0.5, langevin_steps=5),
    }


def tuned(contest: Contest) -> tuple[float, float]:
    """AdamW's rate and weight decay, as its tournament chose them."""
    folder = Path("results/tournament") / contest.name / "adamw"
    settings = json.loads(next(folder.glob("seed-*/config.json")).read_text())["optimizer"]
    return settings["lr"], settings["weight_decay"]


def train(contest: Contest, runs: Path, *, tuning: bool) -> None:
    """Run every candidate with every seed, those that are missing."""
    task = contest.tuned_on if tuning else contest.recipe.task
    task = replace(task, load=functools.cache(task.load))
    holdout = contest.holdout if tuning else 0
    batches = task.feed(task.load(), replace(contest.config, holdout=holdout), CPU).batches
    epochs = contest.budget / batches
    for name, optimizer in candidates(*tuned(contest)).items():
        plain = name == "AdamW alone"
        if not (tuning or plain or name == CHOSEN):
            continue
        for seed in CHOOSING if tuning else SHOWING:
            config = replace(
                contest.config,
                optimizer=optimizer,
                schedule=contest.schedule if plain else "constant",
                walk_schedule="constant" if plain else contest.schedule,
                epochs=epochs,
                evaluate_every=epochs,
                holdout=holdout,
                seed=seed,
                threads=1,
            )
            path = runs / contest.name / name.replace(" ", "-") / f"seed-{seed}"
            run(task, config, path, command=" ".join(sys.argv))


def measured(contest: Contest, runs: Path, *, tuning: bool) -> dict[str, list[float]]:
    """What each candidate came to, by seed."""
    measure = f"{'validation' if tuning else 'test'}_{contest.criterion}"
    found = {}
    for name in candidates(1.0, 0.0):
        files = sorted((runs / contest.name / name.replace(" ", "-")).glob("*/metrics.jsonl"))
        found[name] = [json.loads(f.read_text().splitlines()[-1])[measure] for f in files]
    return found


def difference(ours: list[float], theirs: list[float]) -> str:
    """Mean over seeds with Student's interval of 95 %, bold where that leaves out 0."""
    d = [a - b for a, b in zip(ours, theirs, strict=True)]
    half = stats.t.ppf(0.975, len(d) - 1) * stdev(d) / len(d) ** 0.5
    shown = f"{mean(d):+.4f} ± {half:.4f}"
    return f"**{shown}**" if abs(mean(d)) > half else shown


def table(runs: Path) -> str:
    """Differences to AdamW alone, at the same seeds."""
    columns: dict[str, dict[str, list[float]]] = {}
    for names, tuning in ((CHOOSE, True), (SHOW, False)):
        for name in names:
            found = measured(CONTESTS[name], runs, tuning=tuning)
            if found["AdamW alone"]:
                columns[f"{name}, {'held out' if tuning else 'test'}"] = found
    rows = []
    for name in candidates(1.0, 0.0):
        cells = [name]
        for found in columns.values():
            alone = found["AdamW alone"]
            plain = name == "AdamW alone"
            shown = difference(found[name], alone) if found[name] and not plain else ""
            cells.append(f"{mean(alone):.4f}" if plain else shown)
        rows.append(cells)
    return markdown_table((["around AdamW", *columns], rows))


if __name__ == "__main__":
    what, runs = sys.argv[1], Path(sys.argv[2])
    if what == "table":
        print(table(runs))
    for name in {"choose": CHOOSE, "show": SHOW}.get(what, ()):
        train(CONTESTS[name], runs, tuning=what == "choose")
