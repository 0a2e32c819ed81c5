"""Seconds of a step where workers are joined by a slow link: real processes and real messages.

    python benchmarks/slow_link.py [--workers 1 2 4] [--mbit 100] [--to slow-link.json]

Every worker is in a network namespace of its own, at one bridge; once all are warm a token bucket
filter (`tc`) lets so many megabits a second leave each. Needs root, `ip` and `tc`; the latency is
that of the bridge, and measured. TO gets the seconds of rows of workers.py, three times in turns.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from worker_run import PROBLEMS, Job, train

from widevalley.experiments.contests import CONTESTS

STEPS = {
    "one": 40,
    "ddp": 20,
    "local-5": 20,
    "local-20": 40,
    "local-100": 100,
    "parle": 50,
    "local-20-8bits": 40,
    "local-20-topk": 40,
}
"""Of each row, whole walks; the seconds of Parle's last message, which nothing hides, are part."""
ROUNDS = 3
NAME = "widevalley"


def shell(command: str) -> None:
    subprocess.run(command.split(), check=True)


@contextmanager
def network(n: int) -> Iterator[None]:
    """Namespaces widevalley0, widevalley1, … with 10.77.0.1, 10.77.0.2, … at one bridge."""
    spaces = [f"{NAME}{i}" for i in range(n)]
    try:
        shell(f"ip netns add {NAME}")
        shell(f"ip -n {NAME} link add hub type bridge")
        shell(f"ip -n {NAME} link set hub up")
        for i, space in enumerate(spaces):
            shell(f"ip netns add {space}")
            shell(f"ip -n {space} link add link0 type veth peer name port{i} netns {NAME}")
            shell(f"ip -n {space} addr add 10.77.0.{i + 1}/24 dev link0")
            shell(f"ip -n {space} link set link0 up")
            shell(f"ip -n {space} link set lo up")
            shell(f"ip -n {NAME} link set port{i} master hub up")
        yield
    finally:
        for space in (NAME, *spaces):
            subprocess.run(["ip", "netns", "del", space], check=False, stderr=subprocess.DEVNULL)


def worker(rank: int, n: int, mbit: float) -> None:
    """Measure as one rank; the first one prints what it finds."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="tcp://10.77.0.1:29555", rank=rank, world_size=n)
    data = {task: CONTESTS[task].recipe.task.load() for task in PROBLEMS}

    def measure(task: str, row: str, *, warm: bool = True) -> None:
        dist.barrier()
        found = train(Job(task, row, 1, Path(), (1.0, 0.0), steps=STEPS[row]), data[task])
        if rank == 0 and warm:
            print(json.dumps(found | {"mbit": mbit}), flush=True)

    rows = [row for row in STEPS if (row == "one") == (n == 1)]
    for task in PROBLEMS:
        for row in rows[:2]:  # what is imported and compiled once
            measure(task, row, warm=False)
    if n > 1:
        shell(f"tc qdisc add dev link0 root tbf rate {mbit}mbit burst 32kbit latency 1s")
        latency = seconds_of_a_round(n)
        if rank == 0:
            print(json.dumps({"row": "latency", "workers": n, "mbit": mbit, "seconds": latency}))
    for _ in range(ROUNDS):
        for task in PROBLEMS:
            for row in rows:
                measure(task, row)
    dist.destroy_process_group()


def seconds_of_a_round(n: int) -> float:
    """Of an all-reduce of one number, whose ring has 2 (n - 1) rounds."""
    one = torch.zeros(1)
    dist.barrier()
    begun = time.perf_counter()
    for _ in range(100):
        dist.all_reduce(one)
    return (time.perf_counter() - begun) / 100 / (2 * (n - 1))


def measured(n: int, mbit: float) -> list[dict[str, Any]]:
    """What the first of n workers found."""
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "link0"}
    with network(n):
        processes = [
            subprocess.Popen(
                [
                    *("ip", "netns", "exec", f"{NAME}{rank}", sys.executable, __file__),
                    *("--rank", str(rank), "--workers", str(n), "--mbit", str(mbit)),
                ],
                env=environment,
                stdout=subprocess.PIPE if rank == 0 else None,
                text=True,
            )
            for rank in range(n)
        ]
        out, _ = processes[0].communicate()
        assert not any(process.wait() for process in processes)
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--mbit", type=float, default=100)
    parser.add_argument("--to", type=Path, default=Path("results/workers/slow-link.json"))
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rank is not None:
        worker(given.rank, given.workers[0], given.mbit)
        return
    kept = json.loads(given.to.read_text()) if given.to.exists() else []
    for n in given.workers:
        found = measured(n, given.mbit)
        kept = [one for one in kept if one["workers"] != n] + found
        given.to.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
