"""Time one optimizer step beside torch's fused SGD and AdamW, in one process.

    python benchmarks/step.py [--shapes large|mnistfc|tiny] [--rounds 30] [--threads 2]

Every contender steps the same shapes with the same gradients, in turns, round after round, so that
a drift of the machine's speed meets all alike; the figure is the median. Entropy-SGD's row is the
mean over a whole walk, outer update included. "Floor" is the fewest bytes a step can move (read or
write) per fp32 parameter; "share" what that amounts to of the measured memory bandwidth.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from widevalley import EntropySGD

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "large": [(2048, 2048)] * 8,
    "mnistfc": [(1024, 784), (1024,), (1024, 1024), (1024,), (10, 1024), (10,)],
    "tiny": [(32, 32)] * 300,
}
WALK = 20

Params = list[nn.Parameter]


@dataclass(frozen=True)
class Contender:
    """What is timed: how to build it, the steps a timing takes, the bytes a step must move."""

    name: str
    build: Callable[[Params], torch.optim.Optimizer]
    steps: int
    floor: float


def entropy_sgd(momentum: float, noise: float) -> Callable[[Params], torch.optim.Optimizer]:
    """EntropySGD with walks of 20 steps."""
    return lambda p: EntropySGD(
        p, langevin_steps=WALK, langevin_momentum=momentum, noise=noise, weight_decay=0.0
    )


CONTENDERS = [
    Contender(
        "torch SGD, Nesterov, fused",
        lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, nesterov=True, fused=True),
        1,
        20,
    ),
    Contender("torch AdamW, fused", lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True), 1, 28),
    Contender("Langevin walk, noise off", entropy_sgd(0.0, 0.0), WALK, 24 + 20 / WALK),
    Contender("Langevin walk, noise on", entropy_sgd(0.0, 1e-4), WALK, 24 + 20 / WALK),
    Contender("with Nesterov, noise off", entropy_sgd(0.9, 0.0), WALK, 32 + 24 / WALK),
    Contender("with Nesterov, noise on", entropy_sgd(0.9, 1e-4), WALK, 32 + 24 / WALK),
]


def parameters(shapes: list[tuple[int, ...]], device: torch.device) -> Params:
    """Parameters with gradients, small enough to stay finite."""
    made = [nn.Parameter(torch.randn(shape, device=device)) for shape in shapes]
    for p in made:
        p.grad = 1e-3 * torch.randn_like(p)
    return made


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def bandwidth(device: torch.device) -> float:
    """Bytes a second of a large in-place multiply, reads and writes counted.

    A copy into another buffer would read its target too on a CPU, uncounted, and look slower.
    """
    numbers = torch.randn(64 * 2**20, device=device)
    times = [seconds(lambda: numbers.mul_(1.0), device) for _ in range(20)]
    return 2 * numbers.nbytes / statistics.median(times)


def measure(shapes: list[tuple[int, ...]], device: torch.device, rounds: int) -> dict[str, float]:
    """Median seconds a step of every contender."""

    def stepper(contender: Contender) -> Callable[[], None]:
        optimizer = contender.build(parameters(shapes, device))

        def steps() -> None:
            for _ in range(contender.steps):
                optimizer.step()

        steps()
        return steps

    steppers = {c.name: (stepper(c), c.steps) for c in CONTENDERS}
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(rounds):
        for name, (steps, count) in steppers.items():
            times[name].append(seconds(steps, device) / count)
    return {name: statistics.median(values) for name, values in times.items()}


def table(title: str, figures: dict[str, float], size: int, bytes_a_second: float) -> Table:
    """One row a contender: milliseconds, ratios to torch's two, share of the bandwidth."""
    made = Table(title=title)
    for column in ("step", "ms", "/ SGD", "/ AdamW", "floor B", "share"):
        made.add_column(column, justify="left" if column == "step" else "right")
    sgd, adamw = (figures[c.name] for c in CONTENDERS[:2])
    for c in CONTENDERS:
        t = figures[c.name]
        share = c.floor * size / t / bytes_a_second
        made.add_row(
            c.name, f"{1e3 * t:.3f}", f"{t / sgd:.2f}", f"{t / adamw:.2f}", f"{c.floor:.1f}",
            f"{share:.0%}",
        )  # fmt: skip
    return made


def processor(device: torch.device) -> str:
    """The device's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shapes", choices=[*SHAPES, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=20, help="timings of each contender")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    bytes_a_second = bandwidth(device)
    console = Console(width=100)
    console.print(
        f"torch {torch.__version__} on {processor(device)}; "
        f"memory {bytes_a_second / 1e9:.0f} GB/s; median of {given.rounds}"
    )
    for name in SHAPES if given.shapes == "all" else [given.shapes]:
        shapes = SHAPES[name]
        size = sum(torch.Size(shape).numel() for shape in shapes)
        figures = measure(shapes, device, given.rounds)
        title = f"{name}: {len(shapes)} tensors, {size / 1e6:.1f} M parameters"
        console.print(table(title, figures, size, bytes_a_second))


if __name__ == "__main__":
    main()
