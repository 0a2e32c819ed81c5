"""Time a Hessian-vector product beside a gradient and beside curvlinops, in one process.

    python benchmarks/hessian.py [--samples 256] [--rounds 10] [--threads 2]

The networks are the paper's at their full size with random weights, the data random images: a
product costs the same at any weights. All contenders take the same mean loss over the same batches
in float32, in turns; the figure is the median, the ratio to one gradient beside it.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
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


def measure(work: dict[str, Work], rounds: int) -> dict[str, float]:
    """Median seconds of each, a column of a block counted alone."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for k in range(rounds + 1):
        for name, call in work.items():
            start = time.perf_counter()
            call()
            if k:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {name: t / (COLUMNS if "block" in name else 1) for name, t in medians.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    console = Console()
    for name in told.networks:
        build, shape = NETWORKS[name]
        figures = measure(contenders(build(), shape, told.samples), told.rounds)
        size = sum(p.numel() for p in build().parameters())
        table = Table(title=f"{name}: {size:,} weights, {told.samples} samples")
        for column in ("", "ms", "/ gradient"):
            table.add_column(column, justify="right" if column else "left")
        for what, t in figures.items():
            table.add_row(what, f"{1e3 * t:.1f}", f"{t / figures['gradient']:.2f}")
        console.print(table)
    console.print(f"torch {torch.__version__}, {told.threads} thread(s), float32")


if __name__ == "__main__":
    main()
