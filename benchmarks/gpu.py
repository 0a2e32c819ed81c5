"""All that waits for a GPU, in order of value, within a given time; goes on where it stopped.

    python benchmarks/gpu.py [--minutes 30] [--seeds 1] [--to runs/gpu] [--rehearse]

First the tests that need a device, then the benchmarks (a step, CUDA graphs, an epoch), then the
paper's All-CNN and PTB-LSTM beside their baselines, and a table of what is there. In TO:

log.txt        all that the steps print
state.json     of each step: done, stopped or failed, when, in how many seconds, at which commit
*.json         figures of the benchmarks, for benchmarks/compare.py
runs/          run folders, with table and figures (runs-small in a rehearsal)

The same command passes over what is done and takes the rest; a training goes on from its last
checkpoint. Delete TO to begin anew. Data come from WIDEVALLEY_DATA or are downloaded. --rehearse
takes every step on the processor, at a tiny size and on made-up data. Exit status: 0 all done, 1
something is left, 2 no CUDA device, 130 interrupted.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import torch

from widevalley._files import atomic_write
from widevalley.training import Interrupted, environment_facts
from widevalley.training.interrupt import InterruptFlag

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
TRAININGS = [
    ("allcnn", "paper"),
    ("allcnn", "baseline"),
    ("ptb", "paper"),
    ("ptb", "baseline"),
    ("allcnn", "best"),
    ("ptb", "best"),
]
REPORT = 60.0
"""Seconds of the whole, kept for the table in the end."""
GRACE = 30.0
"""Seconds between asking a step to stop, when a training writes a checkpoint, and ending it."""
TICK = 0.1
"""Seconds between looks at a step that runs."""


@dataclass(frozen=True)
class Step:
    """A command, and the minutes it may take."""

    name: str
    command: list[str]
    minutes: float


def steps(to: Path, minutes: float, seeds: int, rehearse: bool) -> Iterator[Step]:
    """All but the table, in order of value."""
    python = sys.executable
    yield Step("tests", [python, "-m", "pytest", "-m", "cuda", "-p", "no:cacheprovider"], 8)
    brief = {
        "step": ["--shapes", "digits", "--rounds", "1"],
        "graph": ["--networks", "digits", "--rounds", "1"],
        "epoch": ["--samples", "256", "--rounds", "1"],
    }
    for name, most in {"step": 8, "graph": 4, "epoch": 4}.items():
        flags = ["--to", str(to / f"{name}.json"), *(brief[name] if rehearse else [])]
        yield Step(name, [python, str(BENCHMARKS / f"{name}.py"), *flags], most)
    for seed in range(seeds):
        for recipe, variant in TRAININGS:
            chosen = ["--variants", variant, "--seeds", str(seed + 1)]
            command = reproduce(to, [recipe], *chosen, rehearse=rehearse)
            yield Step(f"{recipe} {variant}, seed {seed}", command, minutes)


def reproduce(to: Path, recipes: Iterable[str], *flags: str, rehearse: bool) -> list[str]:
    """The command that trains; its rehearsal is the same on little of made-up data."""
    verb = ["-m", "widevalley", "reproduce"]
    if rehearse:
        verb, flags = [str(BENCHMARKS / "rehearse.py")], ("--scale", "small", *flags)
    return [sys.executable, *verb, *recipes, *flags, "--runs", str(to / "runs")]


class Session:
    """The output folder, and the time that is left, which `interrupt` may end."""

    def __init__(
        self, to: Path, minutes: float, rehearse: bool, interrupt: InterruptFlag | None = None
    ) -> None:
        self.interrupt = interrupt or InterruptFlag()
        to.mkdir(parents=True, exist_ok=True)
        self.to, self.rehearse = to, rehearse
        self.deadline = time.monotonic() + 60 * minutes
        self.state_file = to / "state.json"
        exists = self.state_file.exists()
        self.state: dict[str, Any] = json.loads(self.state_file.read_text()) if exists else {}
        device = torch.device("cpu" if rehearse else "cuda")
        self.commit = environment_facts(device)["commit"]

    def left(self) -> float:
        """Seconds to the end."""
        return self.deadline - time.monotonic()

    def take(self, step: Step, kept: float = 0.0) -> bool:
        """Take a step within its time and what is left but for `kept`; whether it is done.

        Raises Interrupted where the session has been asked to stop.
        """
        if self.interrupt.raised:
            raise Interrupted(f"before {step.name}")
        if self.state.get(step.name, {}).get("status") == "done":
            print(f"{step.name}: done before")
            return True
        most = min(60 * step.minutes, self.left() - kept - GRACE)
        if most <= 0:
            print(f"{step.name}: no time left")
            return False
        print(f"{step.name}: ", end="", flush=True)
        start = time.monotonic()
        with (self.to / "log.txt").open("a") as log:
            log.write(f"\n=== {step.name}: {' '.join(step.command)}\n")
            log.flush()
            status = run(step.command, most, log, self.rehearse, self.interrupt)
        seconds = round(time.monotonic() - start, 1)
        self._keep(step.name, status, seconds)
        print(f"{status} in {seconds} s", flush=True)
        return status == "done"

    def _keep(self, name: str, status: str, seconds: float) -> None:
        date = datetime.now(UTC).isoformat(timespec="seconds")
        self.state[name] = {
            "status": status,
            "date": date,
            "seconds": seconds,
            "commit": self.commit,
        }
        with atomic_write(self.state_file) as file:
            file.write(json.dumps(self.state, indent=1).encode() + b"\n")


def run(
    command: list[str], most: float, log: IO[str], rehearse: bool, interrupt: InterruptFlag
) -> str:
    """Run a command for so many seconds at most: done, failed, or stopped.

    It has a process group of its own, so that Ctrl-C reaches it through `stop` alone, once.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    if rehearse:
        env["CUDA_VISIBLE_DEVICES"] = ""
    deadline = time.monotonic() + most
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=_hear_interrupts,
    )
    while process.poll() is None:
        if interrupt.raised or time.monotonic() > deadline:
            stop(process)
            if interrupt.raised:
                raise Interrupted("amid a step")
            return "stopped"
        time.sleep(TICK)
    return "done" if process.returncode == 0 else "failed"


def _hear_interrupts() -> None:
    """What was begun in the background by a shell ignores Ctrl-C, and so would all it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask it to leave, as Ctrl-C does, then end it and what it started."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> int:
    """Take the steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=30.0, help="of the whole")
    parser.add_argument("--seeds", type=int, default=1, help="of each training")
    parser.add_argument("--to", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--rehearse", action="store_true", help="on the processor, tiny")
    given = parser.parse_args()
    if not given.rehearse and not torch.cuda.is_available():
        print(f"torch {torch.__version__} finds no CUDA device; --rehearse goes without one")
        return 2
    to = given.to.absolute()
    try:
        with InterruptFlag(signal.SIGINT, signal.SIGTERM) as interrupt:
            session = Session(to, given.minutes, given.rehearse, interrupt)
            planned = steps(to, given.minutes, given.seeds, given.rehearse)
            done = [session.take(step, kept=REPORT) for step in planned]
            session.state.pop("table", None)  # made anew each time
            recipes = dict.fromkeys(recipe for recipe, _ in TRAININGS)
            command = reproduce(to, recipes, "--report-only", rehearse=given.rehearse)
            done.append(session.take(Step("table", command, minutes=3)))
    except Interrupted:
        print("interrupted; the same command goes on")
        return 130
    print(f"{sum(done)} of {len(done)} steps done; see {given.to}/log.txt")
    return int(not all(done))


if __name__ == "__main__":
    raise SystemExit(main())
