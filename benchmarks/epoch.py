"""Time a whole epoch of mnistfc beside the same loop with torch's fused SGD, in one process.

    python benchmarks/epoch.py [--rounds 5] [--threads 2] [--device cpu] [--samples 60000]

60,000 samples of the digits' shape in batches of 128; forward, backward and step, evaluation left
out. Contenders take turns, epoch after epoch. "State" is what an optimizer keeps, bytes a
parameter; "peak" the largest memory of a process that does nothing else, on a GPU that of its
tensors.
"""

import argparse
import multiprocessing
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from figures import FOLDER, Figures, Row, in_turns, rows
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from widevalley import EntropyAdam, EntropySGD
from widevalley.experimental import CompactEntropySGD
from widevalley.models import MnistFC

SAMPLES, BATCH = 60_000, 128
Build = Callable[[Iterable[Tensor]], torch.optim.Optimizer]

CONTENDERS: dict[str, Build] = {
    "torch SGD, Nesterov, fused": lambda p: torch.optim.SGD(
        p, lr=1e-2, momentum=0.9, nesterov=True, fused=True
    ),
    "torch AdamW, fused": lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True),
    "EntropySGD": lambda p: EntropySGD(p, langevin_lr=1e-2),
    "EntropySGD, noise off": lambda p: EntropySGD(p, langevin_lr=1e-2, noise=0.0),
    "EntropySGD, bfloat16 state": lambda p: CompactEntropySGD(p, langevin_lr=1e-2),
    "EntropyAdam": lambda p: EntropyAdam(p, langevin_lr=1e-2),
}


class Training:
    """A network, its optimizer, and an epoch of both."""

    def __init__(self, build: Build, device: torch.device, samples: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.rand(samples, 784, generator=generator).to(device)
        self.targets = torch.randint(10, (samples,), generator=generator).to(device)
        self.model: nn.Module = MnistFC().to(device)
        self.optimizer = build(self.model.parameters())

    def epoch(self) -> None:
        """A step for every batch."""
        batches = torch.split(self.inputs, BATCH), torch.split(self.targets, BATCH)
        for x, y in zip(*batches, strict=True):
            self.optimizer.zero_grad()
            functional.cross_entropy(self.model(x), y).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()

    def state(self) -> float:
        """Bytes kept for a parameter."""
        states: Any = self.optimizer.state.values()
        kept = sum(t.nbytes for s in states for t in s.values() if isinstance(t, Tensor))
        return float(kept) / sum(p.numel() for p in self.model.parameters())


def peak(name: str, device: str, threads: int, samples: int) -> float:
    """Largest memory of this process in MB, after fifty steps or an epoch of fewer."""
    torch.set_num_threads(threads)
    Training(CONTENDERS[name], torch.device(device), min(50 * BATCH, samples)).epoch()
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measure(device: torch.device, samples: int, rounds: int) -> list[Row]:
    """Seconds of an epoch, state and peak memory of every contender."""
    # Peaks come first: a process begins with the peak of the one that starts it.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        threads = torch.get_num_threads()
        where = (device.type, threads, samples)
        peaks = {name: pool.apply(peak, (name, *where)) for name in CONTENDERS}
    trainings = {name: Training(build, device, samples) for name, build in CONTENDERS.items()}
    taken = in_turns({name: t.epoch for name, t in trainings.items()}, rounds, device)
    also = {
        name: {"state_bytes": t.state(), "peak_mb": peaks[name]} for name, t in trainings.items()
    }
    return rows("mnistfc", taken, also)


def table(measured: list[Row]) -> Table:
    """One row a contender."""
    made = Table(title="mnistfc, an epoch")
    for head in ("optimizer", "seconds", "/ SGD", "state, B a parameter", "peak, MB"):
        made.add_column(head, justify="left" if head == "optimizer" else "right")
    for row in measured:
        state, most = f"{row.also['state_bytes']:.0f}", f"{row.also['peak_mb']:.0f}"
        made.add_row(row.name, f"{row.ms / 1e3:.2f}", f"{row.ratio:.3f}", state, most)
    return made


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="of an epoch")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--to", type=Path, default=FOLDER / "epoch.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    measured = measure(device, given.samples, given.rounds)
    figures = Figures.of("epoch", measured, vars(given), device)
    figures.write(given.to)
    console = Console(width=110)
    console.print(table(measured))
    console.print(f"{figures}; median of {given.rounds}", highlight=False)


if __name__ == "__main__":
    main()
