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
import math
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW, Optimizer

from widevalley import LocalEntropy
from widevalley._files import atomic_write
from widevalley.experiments.contests import CONTESTS
from widevalley.optim._communication import Channel
from widevalley.optim.workers import Compression
from widevalley.scoping import TotalGrowth
from widevalley.training.evaluation import evaluation_weights
from widevalley.workers import BFloat16, Coupling, EightBits, TopK, Workers


@dataclass(frozen=True)
class Problem:
    """A task of the tournament, what all its runs spend, and AdamW's best settings there."""

    gradients: int
    lr: float
    weight_decay: float


PROBLEMS = {
    "lenet": Problem(2_000, lr=0.0249, weight_decay=0.0438),
    "small-gpt": Problem(1_200, lr=0.00471, weight_decay=0.16),
}


@dataclass(frozen=True)
class Row:
    """How workers work together: walks of L steps, or, where that is 0, averaged gradients."""

    walk: int = 0
    compression: Compression | None = None
    coupled: bool = False


ROWS = {
    "one": Row(),
    "ddp": Row(),
    "local-5": Row(5),
    "local-20": Row(20),
    "local-100": Row(100),
    "parle": Row(25, coupled=True),
    "local-20-bf16": Row(20, BFloat16()),
    "local-20-8bits": Row(20, EightBits()),
    "local-20-topk": Row(20, TopK(1 / 100)),
}
OUTER = [(0.7, 0.9), (0.7, 0.6), (1.0, 0.3), (1.0, 0.0)]
"""Rate and momentum of the anchor that are tried."""


@dataclass(frozen=True)
class Job:
    """One run; `outer` is the anchor's rate and momentum."""

    task: str
    row: str
    seed: int
    file: Path
    outer: tuple[float, float]
    tuning: bool = False
    steps: int = 0
    """Of each worker; 0 spends the task's gradients."""


# --- one run, in each of the processes ----------------------------------------------------------


def train(job: Job, data: Any) -> dict[str, Any]:
    """Train, and return what the run came to (rank 0 alone judges it)."""
    problem, row, contest = PROBLEMS[job.task], ROWS[job.row], CONTESTS[job.task]
    rank, n = dist.get_rank(), dist.get_world_size()
    config = replace(
        contest.config, seed=job.seed, holdout=contest.holdout if job.tuning else 0, threads=1
    )
    torch.manual_seed(job.seed)
    model = contest.recipe.task.build(config)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed((job.seed << 16) + rank)  # dropout
    feed = contest.recipe.task.feed(data, config, torch.device("cpu"))
    steps = job.steps or problem.gradients // n
    replica, optimizer, channel = connected(model, problem, row, job.outer, steps)
    epoch, begun = -1, time.perf_counter()
    for step in range(steps):
        now, k = divmod(step * n + rank, feed.batches)
        if now != epoch:
            feed.begin(model, epoch := now)
        optimizer.zero_grad()
        loss, _ = feed.loss(replica, k, ())
        loss.backward()  # type: ignore[no-untyped-call]
        if config.clip:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        for group in optimizer.param_groups:
            group["lr"] = problem.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.step()
    if row.coupled:
        with optimizer.at_average():  # the last centre is on its way
            pass
    seconds = time.perf_counter() - begun
    found = {
        "task": job.task,
        "row": job.row,
        "workers": n,
        "seed": job.seed,
        "outer": job.outer,
        "steps": steps,
        "weights": sum(p.numel() for p in model.parameters()),
        "bytes_sent": channel.bytes_sent if channel else 0,
        "seconds": seconds,
    }
    if rank == 0 and not job.steps:
        split = feed.monitored_split if job.tuning else "test"
        with evaluation_weights(model, optimizer, feed):
            found |= feed.measure(model, split)
    return found


def connected(
    model: nn.Module, problem: Problem, row: Row, outer: tuple[float, float], steps: int
) -> tuple[nn.Module, Any, Channel | None]:
    """The network to call, its optimizer, and what counts its bytes."""
    inner: Optimizer = AdamW(
        model.parameters(), lr=problem.lr, weight_decay=problem.weight_decay, fused=True
    )
    group: Any = dist.group.WORLD
    if not row.walk:
        if dist.get_world_size() == 1:
            return model, inner, None
        channel = Channel(Workers(group))
        replica = DistributedDataParallel(model, forward_sync_buffers=False)
        replica.register_comm_hook(channel, averaged)
        return replica, inner, channel
    walks = steps // row.walk
    if row.coupled:
        coupling = Coupling(0.01, TotalGrowth(1e3, walks))
        optimizer = LocalEntropy(
            inner,
            langevin_steps=row.walk,
            averaging=0.25,
            gamma=0.01,
            gamma_growth=TotalGrowth(100, walks),
            process_group=Workers(group, coupling=coupling),
        )
        return model, optimizer, optimizer.workers
    lr, momentum = (1.0, 0.0) if isinstance(row.compression, TopK) else outer
    optimizer = LocalEntropy(
        inner,
        langevin_steps=row.walk,
        averaging=1.0,
        outer_lr=lr,
        outer_momentum=momentum,
        process_group=Workers(group, compression=row.compression),
    )
    return model, optimizer, optimizer.workers


def averaged(
    channel: Channel,
    bucket: dist.GradBucket,  # type: ignore[name-defined]  # which DDP asks for
) -> torch.futures.Future[torch.Tensor]:
    """DDP's gradients, averaged through the counter that walks are averaged through."""
    mean = channel.mean([bucket.buffer()])
    future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    future.set_result(mean()[0])
    return future


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


# --- all runs -----------------------------------------------------------------------------------


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


def all_runs(to: Path, task: str, n: int, seeds: Iterable[int]) -> list[Job]:
    """Every row that n workers have."""
    rows = ["one"] if n == 1 else [name for name in ROWS if name != "one"]
    rows = [name for name in rows if ROWS[name].compression is None or n == 4]
    outer = best(to, task)
    return [
        Job(task, row, seed, to / task / row / str(n) / f"seed-{seed}.json", outer)
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
    given = parser.parse_args()
    if given.verb == "tune":
        start(4, tuning(given.to, given.tasks))
        return
    for task in given.tasks:
        for n in given.workers:
            start(n, all_runs(given.to, task, n, given.seeds))


if __name__ == "__main__":
    main()
