"""Many workers at equal gradients in all: what they reach, and what they send.

    python benchmarks/workers.py tune --to runs/workers
    python benchmarks/workers.py run --to runs/workers
    python benchmarks/workers_table.py runs/workers --to results/workers

Real processes with gloo, one thread each, on the tasks of the tournament; the rules stand in
results/workers/README.md. A run is one JSON file, TO/TASK/ROW/WORKERS/seed-N.json, and is not made
again. `tune` looks for the anchor's rate and momentum on held-out data, `run` takes the best.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from worker_run import PROBLEMS, ROWS, Job, train

from widevalley._files import atomic_write
from widevalley.experiments.contests import CONTESTS

OUTER = [(0.7, 0.9), (0.7, 0.6), (1.0, 0.3), (1.0, 0.0)]
"""Rate and momentum of the anchor that are tried."""


def process(rank: int, world: int, store: str, jobs: list[Job]) -> None:
    """Do the jobs as one rank."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world))
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    data: dict[str, Any] = {}
    for job in jobs:
        if job.task not in data:
            data[job.task] = CONTESTS[job.task].recipe.task.load()
        found = train(job, data[job.task])
        if rank == 0:
            job.file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(job.file) as out:
                out.write((json.dumps(found) + "\n").encode())
            print(json.dumps(found), flush=True)
        dist.barrier()
    dist.destroy_process_group()


def tuning(to: Path, tasks: Iterable[str]) -> list[Job]:
    """Runs that judge the anchor's settings."""
    return [
        Job(task, "local-20", 0, to / task / "tuning" / f"{lr:g}-{m:g}.json", (lr, m), tuning=True)
        for task in tasks
        for lr, m in OUTER
    ]


def best(to: Path, task: str) -> tuple[float, float]:
    """The anchor's settings with the lowest held-out loss."""
    tried = [json.loads(job.file.read_text()) for job in tuning(to, [task])]
    lr, momentum = min(tried, key=lambda found: found["loss"])["outer"]
    return lr, momentum


def all_runs(
    to: Path, task: str, n: int, seeds: Iterable[int], chosen: Iterable[str], gradients: int = 0
) -> list[Job]:
    """Those of the chosen rows that n workers have."""
    rows = [row for row in chosen if (row == "one") == (n == 1)]
    rows = [row for row in rows if ROWS[row].compression is None or n == 4]
    outer, longer = best(to, task), f"-{gradients}" if gradients else ""
    folder = to / f"{task}{longer}"
    return [
        Job(task, row, seed, folder / row / str(n) / f"seed-{seed}.json", outer, False, gradients)
        for seed in seeds
        for row in rows
    ]


def start(n: int, jobs: list[Job]) -> None:
    """Start n processes for the jobs that are not done yet."""
    left = [job for job in jobs if not job.file.exists()]
    if left:
        with tempfile.TemporaryDirectory() as folder:
            spawn(process, (n, f"file://{folder}/store", left), n)  # type: ignore[no-untyped-call]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["tune", "run"])
    parser.add_argument("--to", type=Path, default=Path("runs/workers"))
    parser.add_argument("--tasks", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--workers", nargs="+", type=int, choices=[1, 2, 4], default=[1, 2, 4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--gradients", type=int, default=0, help="in all; 0: the task's")
    given = parser.parse_args()
    if given.verb == "tune":
        start(4, tuning(given.to, given.tasks))
        return
    for task in given.tasks:
        for n in given.workers:
            start(n, all_runs(given.to, task, n, given.seeds, given.rows, given.gradients))


if __name__ == "__main__":
    main()
