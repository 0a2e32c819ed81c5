"""Time one optimizer step beside torch's fused SGD and AdamW, and peers', in one process.

    python benchmarks/step.py [--shapes large|allcnn|mnistfc|tiny] [--rounds 20] [--threads 2]
                              [--way fused|foreach|loop]

Every contender steps the same shapes with the same gradients, in turns, round after round, so that
a drift of the machine's speed meets all alike; the figure is the median. Entropy-SGD's row is the
mean over a whole walk, outer update included. "Floor" is the fewest bytes a step can move (read or
write) per fp32 parameter; "share" what that amounts to of the measured memory bandwidth; "first"
the seconds of the first step, compilation included. Peers are timed where they are installed
(schedulefree, pytorch_optimizer, heavyball); SAM's two gradients a step are counted as two steps.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module as module
from importlib.util import find_spec
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from widevalley import EntropySGD
from widevalley.models import AllCNN

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "large": [(2048, 2048)] * 32,
    "allcnn": [tuple(p.shape) for p in AllCNN().parameters()],
    "mnistfc": [(1024, 784), (1024,), (1024, 1024), (1024,), (10, 1024), (10,)],
    "tiny": [(32, 32)] * 300,
}
WALK = 20
WAYS: dict[str, Any] = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "loop": {"foreach": False, "fused": False},
}

Params = list[nn.Parameter]


@dataclass(frozen=True)
class Contender:
    """What is timed: how to build it, the steps a timing takes, the bytes a step must move."""

    name: str
    build: Callable[[Params], torch.optim.Optimizer]
    steps: int = 1
    floor: float | None = None
    gradients: int = 1
    """That a step takes."""


def entropy_sgd(
    momentum: float, noise: float, way: str
) -> Callable[[Params], torch.optim.Optimizer]:
    """EntropySGD with walks of 20 steps."""
    return lambda p: EntropySGD(
        p,
        langevin_steps=WALK,
        langevin_momentum=momentum,
        noise=noise,
        weight_decay=0.0,
        **WAYS[way],
    )


def contenders(way: str) -> list[Contender]:
    """Torch's, ours, and the peers that are installed."""
    ours = [
        Contender("Langevin walk, noise off", entropy_sgd(0.0, 0.0, way), WALK, 24 + 20 / WALK),
        Contender("Langevin walk, noise on", entropy_sgd(0.0, 1e-4, way), WALK, 24 + 20 / WALK),
        Contender("with Nesterov, noise off", entropy_sgd(0.9, 0.0, way), WALK, 32 + 24 / WALK),
        Contender("with Nesterov, noise on", entropy_sgd(0.9, 1e-4, way), WALK, 32 + 24 / WALK),
    ]
    return [Contender("torch SGD, Nesterov, fused", nesterov, 1, 20), *TORCH, *ours, *peers()]


def nesterov(p: Params) -> torch.optim.Optimizer:
    """Torch's own, at its fastest."""
    return torch.optim.SGD(p, lr=1e-3, momentum=0.9, nesterov=True, fused=True)


TORCH = [
    Contender("torch AdamW, fused", lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True), 1, 28)
]


def peers() -> Iterator[Contender]:
    """Optimizers of other packages that keep a second set of weights, or walk."""

    def schedule_free(p: Params) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = module("schedulefree").SGDScheduleFree(p, lr=1e-3)
        made.train()  # type: ignore[attr-defined]
        return made

    def lookahead(p: Params) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = module("pytorch_optimizer").Lookahead(nesterov(p))
        return made

    def sam(p: Params) -> torch.optim.Optimizer:
        settings = {"lr": 1e-3, "momentum": 0.9, "nesterov": True, "fused": True}
        made = module("pytorch_optimizer").SAM(p, torch.optim.SGD, **settings)
        made.step = lambda: (made.first_step(), made.second_step())
        chosen: torch.optim.Optimizer = made
        return chosen

    def heavy(p: Params) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = module("heavyball").SGD(p, lr=1e-3, beta=0.9)
        return made

    known = {
        "schedulefree": [Contender("schedulefree SGD", schedule_free)],
        "pytorch_optimizer": [
            Contender("pytorch_optimizer Lookahead(SGD)", lookahead, 10),
            Contender("pytorch_optimizer SAM(SGD), a gradient", sam, gradients=2),
        ],
        "heavyball": [Contender("heavyball SGD", heavy)],
    }
    for name, listed in known.items():
        if find_spec(name):
            yield from listed


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


def pass_over(device: torch.device) -> tuple[Callable[[], object], int]:
    """A large in-place multiply, and the bytes it reads and writes.

    A copy into another buffer would read its target too on a CPU, uncounted, and look slower.
    """
    numbers = torch.randn(64 * 2**20, device=device)
    return lambda: numbers.mul_(1.0), 2 * numbers.nbytes


@dataclass
class Figure:
    """Of one contender, seconds."""

    step: float
    """Median of a step, or of a gradient's share in it."""
    first: float
    """The first step."""


def measure(
    chosen: list[Contender], shapes: list[tuple[int, ...]], device: torch.device, rounds: int
) -> tuple[dict[str, Figure], float]:
    """Time every contender, all on the same parameters; what each keeps of them is its own.

    Returns the figures, and the memory's bytes a second, taken in turns with them.
    """
    shared = parameters(shapes, device)
    gradients = [p.grad for p in shared]

    def ready() -> None:  # heavyball takes gradients away
        for p, gradient in zip(shared, gradients, strict=True):
            p.grad = gradient

    def stepper(contender: Contender) -> tuple[Callable[[], None], float]:
        optimizer = contender.build(shared)
        ready()
        first = seconds(optimizer.step, device)

        def steps() -> None:
            for _ in range(contender.steps):
                optimizer.step()

        ready()
        steps()
        return steps, first

    steppers = {c.name: (*stepper(c), c.steps * c.gradients) for c in chosen}
    times: dict[str, list[float]] = {name: [] for name in steppers}
    multiply, volume = pass_over(device)
    passes = []
    for _ in range(rounds):
        passes.append(seconds(multiply, device))
        for name, (steps, _, count) in steppers.items():
            ready()
            times[name].append(seconds(steps, device) / count)
    figures = {
        name: Figure(statistics.median(values), steppers[name][1]) for name, values in times.items()
    }
    return figures, volume / statistics.median(passes)


def table(
    title: str,
    chosen: list[Contender],
    figures: dict[str, Figure],
    size: int,
    bytes_a_second: float,
) -> Table:
    """One row a contender: milliseconds, ratios to torch's two, share of the bandwidth."""
    made = Table(title=title)
    for column in ("step", "ms", "/ SGD", "/ AdamW", "floor B", "share", "first s"):
        made.add_column(column, justify="left" if column == "step" else "right")
    sgd, adamw = (figures[c.name].step for c in chosen[:2])
    for c in chosen:
        t = figures[c.name].step
        floor = "" if c.floor is None else f"{c.floor:.1f}"
        share = "" if c.floor is None else f"{c.floor * size / t / bytes_a_second:.0%}"
        made.add_row(
            c.name, f"{1e3 * t:.3f}", f"{t / sgd:.2f}", f"{t / adamw:.2f}", floor, share,
            f"{figures[c.name].first:.2f}",
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
    parser.add_argument("--way", choices=WAYS, default="fused", help="of ours")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    console = Console(width=100)
    console.print(
        f"torch {torch.__version__} on {processor(device)}; median of {given.rounds}; "
        f"ours {given.way}"
    )
    for name in SHAPES if given.shapes == "all" else [given.shapes]:
        shapes = SHAPES[name]
        size = sum(torch.Size(shape).numel() for shape in shapes)
        chosen = contenders(given.way)
        figures, speed = measure(chosen, shapes, device, given.rounds)
        title = f"{name}: {len(shapes)} tensors, {size / 1e6:.1f} M parameters; memory"
        title += f" {speed / 1e9:.0f} GB/s"
        console.print(table(title, chosen, figures, size, speed))


if __name__ == "__main__":
    main()
