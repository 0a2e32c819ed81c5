"""One run of several workers: what workers.py does in each of its processes."""

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW, Optimizer

from widevalley import LocalEntropy
from widevalley.experiments.contests import CONTESTS
from widevalley.optim.workers import Compression
from widevalley.optim.workers._communication import Channel
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


@dataclass(frozen=True)
class Job:
    """One run; `outer` is the anchor's rate and momentum."""

    task: str
    row: str
    seed: int
    file: Path
    outer: tuple[float, float]
    tuning: bool = False
    gradients: int = 0
    """In all; 0 spends the task's."""
    steps: int = 0
    """Of each worker where a run is timed, not judged; 0 spends the gradients."""


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
    steps = job.steps or (job.gradients or problem.gradients) // n
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
