"""Faults of many workers, each in real processes: who ends when, and with what words.

    python benchmarks/faults.py [--only WORD] [--to results/workers/faults.md]

Three workers train, and something happens to one of them, as `faulty_workers.py` has it. Prints a
row a fault, and writes all of them to a file. What must hold: nobody hangs, and the others end
within the timeout and the three seconds in which all say that they are there, naming the worker.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from faulty_workers import AT, DIFFER, FAULTS, STEPS, TIMEOUT, WALK, WORLD
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # not in __all__

FILE = Path(__file__).parents[1] / "results" / "workers" / "faults.md"
WORKER = Path(__file__).with_name("faulty_workers.py")
LONGEST = 60.0
"""Seconds after which a fault's processes are ended, and have hung."""
RESTARTED = "killed amid a walk, under torchrun --max-restarts 1"
KEPT: list[TCPStore] = []
"""The stores of this process, which must outlive their workers."""


@dataclass(frozen=True)
class Outcome:
    """How a fault has ended."""

    fault: str
    seconds: float
    """From the fault until the last of the others had ended."""
    words: dict[int, str]
    """Last words of each of the others."""
    hung: list[int]

    @property
    def good(self) -> bool:
        """Whether nobody hung and all said what they must."""
        return not self.hung and all(map(_pattern(self.fault).search, self.words.values()))

    def cells(self) -> list[str]:
        """The row of the table."""
        kind = "refused by all" if DIFFER in _pattern(self.fault).pattern else "ended"
        bad = f"hung: {self.hung}" if self.hung else "said something else"
        said = next(iter(self.words.values())).partition(";")[0]
        return [self.fault, kind if self.good else bad, f"{self.seconds:.1f}", said]


def _pattern(fault: str) -> re.Pattern[str]:
    return re.compile(FAULTS[fault][1])


def others_of(fault: str) -> list[int]:
    """The workers of which words are expected."""
    if DIFFER in _pattern(fault).pattern:
        return list(range(WORLD))
    return [rank for rank in range(WORLD) if rank != (0 if "the first" in fault else 1)]


def started(fault: str, folder: Path) -> list[subprocess.Popen[bytes]]:
    """The workers of a fault, as torchrun would start them."""
    of_first = "with the store it kept" in fault
    KEPT.append(TCPStore("localhost", 0, is_master=True, wait_for_workers=False))
    environment = os.environ | {
        "WORLD_SIZE": f"{WORLD}",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": f"{free_port() if of_first else KEPT[-1].port}",
        "TORCHELASTIC_USE_AGENT_STORE": f"{not of_first}",
        "FAULT_NOTE": str(folder / "note"),
    }
    return [
        subprocess.Popen(
            [sys.executable, str(WORKER), fault],
            env=environment | {"RANK": f"{rank}"},
            stderr=(folder / f"{rank}.txt").open("w"),
        )
        for rank in range(WORLD)
    ]


def free_port() -> int:
    """One that nobody listens to."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def tried(fault: str) -> Outcome:
    """Let a fault happen, and see who ends."""
    others = others_of(fault)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        note, processes = folder / "note", started(fault, folder)
        ended, end = dict[int, float](), time.time() + 10 * LONGEST
        while len(ended) < len(others) and time.time() < end:
            for rank in others:
                if rank not in ended and processes[rank].poll() is not None:
                    ended[rank] = time.time()
            if note.exists():
                end = min(end, note.stat().st_mtime + LONGEST)
            time.sleep(0.02)
        for process in processes:
            process.kill()  # those that hang, and one that is stopped
            process.wait()
        begun = note.stat().st_mtime if note.exists() else time.time()
        words = {rank: last_words((folder / f"{rank}.txt").read_text()) for rank in others}
    hung = [rank for rank in others if rank not in ended]
    return Outcome(fault, max(ended.values(), default=end) - begun, words, hung)


def last_words(text: str) -> str:
    """The message of an exception that ended a process."""
    errors = re.findall(r"^(?:\[rank\d\]: )?[\w.]+Error: (.*)$", text, re.MULTILINE)
    return errors[-1] if errors else " ".join(text[-200:].split())


def restarted() -> list[str]:
    """The row of a worker that is killed where torchrun may start all of them again."""
    ends, seconds = [], 0.0
    for kills in ({}, {"FAULT_KILLS": "1"}):
        with tempfile.TemporaryDirectory() as name:
            note = Path(name) / "note"
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            command += ["--nproc-per-node", f"{WORLD}", "--max-restarts", "1"]
            environment = os.environ | kills | {"FAULT_NOTE": str(note), "OMP_NUM_THREADS": "1"}
            subprocess.run(
                [*command, str(WORKER), "restarts"],
                env=environment,
                stderr=subprocess.DEVNULL,
                check=True,
                timeout=10 * LONGEST,
            )
            ends.append(torch.load(Path(name) / "end.pt"))
            seconds = time.time() - note.stat().st_mtime if kills else 0.0
    before, after = ends
    alike = all(torch.equal(before[name], after[name]) for name in before)
    outcome = "went on, to the same bits" if alike else "went on, to other weights"
    return [RESTARTED, outcome, f"{seconds:.1f}", "the run ended"]


def table(found: list[list[str]], load: float) -> str:
    """The rows in Markdown, under what they are of."""
    head = ["one of three workers", "the others", "after s", "what the first of them says"]
    rows = [head, ["---", "---", "---:", "---"], *found]
    text = f"""# Faults of many workers

`python benchmarks/faults.py`: {WORLD} gloo processes on one machine, walks of {WALK} steps,
`Workers(timeout={TIMEOUT:g})`, the fault before step {AT} of {STEPS}. Seconds are from the fault
until the last of the others had ended, as a process, beside other work: a load of {load:.0f} on
{os.cpu_count()} cores.

"""
    return text + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> int:
    """Try all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD", help="faults whose name has it")
    parser.add_argument("--to", type=Path, default=FILE)
    arguments = parser.parse_args()
    found, good, load = list[list[str]](), True, os.getloadavg()[0]
    for fault in (*FAULTS, RESTARTED):
        if arguments.only not in fault:
            continue
        if fault == RESTARTED:
            found.append(restarted())
            good = good and "same bits" in found[-1][1]
        else:
            outcome = tried(fault)
            found.append(outcome.cells())
            good = good and outcome.good
        print(*found[-1], sep="  |  ", flush=True)
    arguments.to.parent.mkdir(parents=True, exist_ok=True)
    arguments.to.write_text(table(found, load))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
