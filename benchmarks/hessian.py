"""Time a Hessian-vector product beside a gradient and beside curvlinops, in one process.

    python benchmarks/hessian.py [--samples 256] [--rounds 10] [--threads 2]

The networks are the paper's at their full size with random weights, the data random images: a
product costs the same at any weights. All contenders take the same mean loss over the same batches
in float32, in turns; the ratio is to one gradient.
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from figures import FOLDER, Figures, Row, in_turns, rows
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from widevalley.models import AllCNN, LeNet, MnistFC
from widevalley.valley import GaussNewton, Hessian, Objective

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on import: uses torch.jit
    from curvlinops import HessianLinearOperator

CHUNK = 64
COLUMNS = 8
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mnistfc": (MnistFC, (784,)),
    "lenet": (LeNet, (784,)),
    "allcnn": (AllCNN, (3, 32, 32)),
}

Work = Callable[[], object]


def contenders(network: nn.Module, shape: tuple[int, ...], samples: int) -> dict[str, Work]:
    """What is timed, by name; each call is one product, or one block of columns."""
    inputs, targets = torch.randn(samples, *shape), torch.randint(10, (samples,))
    batches = list(zip(torch.split(inputs, CHUNK), torch.split(targets, CHUNK), strict=True))
    loss = nn.CrossEntropyLoss()
    objective = Objective(network, loss, batches)
    rebuilt, kept = Hessian(objective), Hessian(objective, keep_graphs=True)
    newton = GaussNewton(objective)
    weights = [p for p in network.eval().parameters() if p.requires_grad]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = HessianLinearOperator(network, loss, weights, batches, check_deterministic=False)
    v, block = torch.randn(objective.size), torch.randn(objective.size, COLUMNS)
    _check(rebuilt @ v, peer @ v)
    return {
        "gradient": objective.gradient,
        "Hessian @ v": lambda: rebuilt @ v,
        "Hessian @ v, graphs kept": lambda: kept @ v,
        f"Hessian @ block, a column of {COLUMNS}": lambda: rebuilt @ block,
        "GaussNewton @ v": lambda: newton @ v,
        "curvlinops' Hessian @ v": lambda: peer @ v,
    }


def _check(ours: Tensor, theirs: Tensor) -> None:
    gap = float((ours - theirs).norm() / theirs.norm())
    assert gap < 1e-3, f"the products differ by {gap}"


def measure(case: str, samples: int, rounds: int) -> list[Row]:
    """Time all contenders at a network, a column of a block counted alone."""
    build, shape = NETWORKS[case]
    taken = in_turns(contenders(build(), shape, samples), rounds, torch.device("cpu"))
    each = {
        name: [t / (COLUMNS if "block" in name else 1) for t in values]
        for name, values in taken.items()
    }
    return rows(case, each, {})


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--to", type=Path, default=FOLDER / "hessian.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    console, all_rows = Console(width=110), []
    for case in given.networks:
        measured = measure(case, given.samples, given.rounds)
        size = sum(p.numel() for p in NETWORKS[case][0]().parameters())
        table = Table(title=f"{case}: {size:,} weights, {given.samples} samples, float32")
        for column in ("", "ms", "/ gradient"):
            table.add_column(column, justify="right" if column else "left")
        for row in measured:
            table.add_row(row.name, f"{row.ms:.1f}", f"{row.ratio:.2f}")
        console.print(table)
        all_rows += measured
    figures = Figures.of("hessian", all_rows, vars(given), torch.device("cpu"))
    figures.write(given.to)
    console.print(f"{figures}; median of {given.rounds}", highlight=False)


if __name__ == "__main__":
    main()
