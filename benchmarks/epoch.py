"""Time a whole epoch of mnistfc beside the same loop with torch's fused SGD, in one process.

    python benchmarks/epoch.py [--rounds 5] [--threads 2] [--device cpu]

60,000 samples of the digits' shape in batches of 128; forward, backward and step, evaluation left
out. Contenders take turns, epoch after epoch; the ratio is the median of each round's own. "State"
is what an optimizer keeps, bytes a parameter; "peak" the largest memory of a process that does
nothing else, on a GPU that of its tensors.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from widevalley import EntropyAdam, EntropySGD
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
    "EntropySGD, bfloat16 state": lambda p: EntropySGD(
        p, langevin_lr=1e-2, state_dtype=torch.bfloat16
    ),
    "EntropyAdam": lambda p: EntropyAdam(p, langevin_lr=1e-2),
}


class Training:
    """A network, its optimizer, and an epoch of both."""

    def __init__(self, build: Build, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.rand(SAMPLES, 784, generator=generator).to(device)
        self.targets = torch.randint(10, (SAMPLES,), generator=generator).to(device)
        self.model: nn.Module = MnistFC().to(device)
        self.optimizer = build(self.model.parameters())

    def steps(self, count: int) -> None:
        """As many steps."""
        for k in range(count):
            batch = slice(k * BATCH, (k + 1) * BATCH)
            self.optimizer.zero_grad()
            loss = functional.cross_entropy(self.model(self.inputs[batch]), self.targets[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()

    def epoch(self) -> float:
        """Seconds of an epoch."""
        start = time.perf_counter()
        self.steps(SAMPLES // BATCH)
        if self.inputs.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def state(self) -> float:
        """Bytes kept for a parameter."""
        states: Any = self.optimizer.state.values()
        kept = sum(t.nbytes for s in states for t in s.values() if isinstance(t, Tensor))
        return float(kept) / sum(p.numel() for p in self.model.parameters())


def peak(name: str, device: str, threads: int) -> float:
    """Largest memory of this process in MB, after fifty steps."""
    torch.set_num_threads(threads)
    Training(CONTENDERS[name], torch.device(device)).steps(50)
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device, first = torch.device(given.device), next(iter(CONTENDERS))
    # Peaks come first: a process begins with the peak of the one that starts it.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        most = {n: pool.apply(peak, (n, given.device, given.threads)) for n in CONTENDERS}
    trainings = {name: Training(build, device) for name, build in CONTENDERS.items()}
    for training in trainings.values():
        training.steps(50)
    times = [{name: t.epoch() for name, t in trainings.items()} for _ in range(given.rounds)]
    table = Table(title=f"mnistfc, an epoch; torch {torch.__version__}, {given.threads} threads")
    for head in ("optimizer", "seconds", "/ SGD", "state, B a parameter", "peak, MB"):
        table.add_column(head, justify="left" if head == "optimizer" else "right")
    for name, training in trainings.items():
        ratio = statistics.median(each[name] / each[first] for each in times)
        seconds = statistics.median(each[name] for each in times)
        figures = f"{seconds:.2f}", f"{ratio:.3f}", f"{training.state():.0f}", f"{most[name]:.0f}"
        table.add_row(name, *figures)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
