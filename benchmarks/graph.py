"""Time a whole training step with and without a CUDA graph, in one process.

    python benchmarks/graph.py [--networks digits mnistfc lenet] [--rounds 20] [--device cuda]

Forward, backward and step on one batch of random data that lies on the device; a timing is a walk
of 20 steps, outer update included, and the figure is its twentieth part. Off a GPU `GraphedStep` is
the ordinary step.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from figures import FOLDER, Figures, Row, in_turns, rows
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from widevalley import EntropySGD
from widevalley.experimental import GraphedStep
from widevalley.models import DigitsMLP, LeNet, MnistFC

WALK = 20
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "digits": (DigitsMLP, 64, 32),
    "mnistfc": (MnistFC, 784, 128),
    "lenet": (LeNet, 784, 128),
}
"""How to build it, inputs of a sample, samples of a batch."""

Step = Callable[[Tensor, Tensor], object]


def ordinary(optimizer: torch.optim.Optimizer, compute: Callable[[Tensor, Tensor], Tensor]) -> Step:
    """The step of any training loop."""

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        compute(x, y)
        optimizer.step()

    return step


def contenders(case: str, device: torch.device) -> dict[str, Step]:
    """SGD, and EntropySGD without and with a graph, each with a network of its own."""
    build, _, _ = NETWORKS[case]

    def made(optimizer: Callable[..., Any], wrap: Callable[..., Step]) -> Step:
        model = build().to(device)

        def compute(x: Tensor, y: Tensor) -> Tensor:
            loss = functional.cross_entropy(model(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        return wrap(optimizer(model.parameters()), compute)

    def sgd(p: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(p, lr=1e-2, momentum=0.9, nesterov=True, fused=True)

    def entropy_sgd(p: Any) -> EntropySGD:
        return EntropySGD(p, langevin_lr=1e-2, langevin_steps=WALK)

    return {
        "torch SGD, Nesterov, fused": made(sgd, ordinary),
        "EntropySGD": made(entropy_sgd, ordinary),
        "EntropySGD, GraphedStep": made(entropy_sgd, GraphedStep),
    }


def measure(case: str, device: torch.device, rounds: int) -> list[Row]:
    """Time a step of every contender; a graph is captured in the round that warms up."""
    _, inputs, samples = NETWORKS[case]
    x = torch.randn(samples, inputs, device=device)
    y = torch.randint(10, (samples,), device=device)

    def walk_of(step: Step) -> Callable[[], None]:
        def walk() -> None:
            for _ in range(WALK):
                step(x, y)

        return walk

    works = {name: walk_of(step) for name, step in contenders(case, device).items()}
    taken = in_turns(works, rounds, device)
    return rows(case, {name: [t / WALK for t in each] for name, each in taken.items()}, {})


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--to", type=Path, default=FOLDER / "graph.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    console, all_rows = Console(width=110), []
    for case in given.networks:
        measured = measure(case, device, given.rounds)
        table = Table(title=f"{case}: a step, forward and backward included")
        for column in ("step", "ms", "/ SGD"):
            table.add_column(column, justify="left" if column == "step" else "right")
        for row in measured:
            table.add_row(row.name, f"{row.ms:.3f}", f"{row.ratio:.2f}")
        console.print(table)
        all_rows += measured
    figures = Figures.of("graph", all_rows, vars(given), device)
    figures.write(given.to)
    console.print(f"{figures}; median of {given.rounds}", highlight=False)


if __name__ == "__main__":
    main()
