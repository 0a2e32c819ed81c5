"""What rounding costs at one rate: AdamW, and walks of it with gradients beside the weights.

    python benchmarks/rounding.py runs/rounding
    widevalley harden runs/rounding/* --to results/tournament/small-gpt-rounded/one-rate

Tournaments tune each method, with few trials, so that their rates differ by luck. Here all have the
rate and the weight decay that AdamW's tournament on small-gpt chose, and else their defaults, the
last fifth of a run displaced. Seeds 31 to 35, which no tournament has seen.
"""

from __future__ import annotations

import functools
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from widevalley.experiments import CONTESTS
from widevalley.training import (
    AdamWSettings,
    HardenedAdamWSettings,
    OptimizerSettings,
    RoundedAdamWSettings,
    run,
)

CONTEST = CONTESTS["small-gpt-rounded"]
START = round(0.8 * CONTEST.budget)
CHOSEN = Path("results/tournament/small-gpt/adamw/seed-1/config.json")


def rows(lr: float, weight_decay: float) -> dict[str, OptimizerSettings]:
    """What is compared."""
    hardened = HardenedAdamWSettings(
        langevin_lr=lr, weight_decay=weight_decay, smoothing_start=START
    )
    rounded = RoundedAdamWSettings(
        langevin_lr=lr, weight_decay=weight_decay, rounding=CONTEST.bits, rounding_start=START
    )
    plain = AdamWSettings(lr=lr, weight_decay=weight_decay)
    return {"adamw": plain, "hardened-adamw": hardened, "rounded-adamw": rounded}


if __name__ == "__main__":
    chosen = json.loads(CHOSEN.read_text())["optimizer"]
    task = replace(CONTEST.recipe.task, load=functools.cache(CONTEST.recipe.task.load))
    epochs = CONTEST.budget / task.feed(task.load(), CONTEST.config, torch.device("cpu")).batches
    for seed in range(31, 36):
        for name, optimizer in rows(chosen["lr"], chosen["weight_decay"]).items():
            walks = name != "adamw"
            config = replace(
                CONTEST.config,
                optimizer=optimizer,
                schedule="constant" if walks else "cosine",
                walk_schedule="cosine" if walks else "constant",
                epochs=epochs,
                evaluate_every=epochs / 10,
                seed=seed,
                threads=1,
            )
            path = Path(sys.argv[1]) / name / f"seed-{seed}"
            run(task, config, path, command=" ".join(["python", *sys.argv]))
