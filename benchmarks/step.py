"""Time one optimizer step beside torch's SGD and AdamW, and peers', in one process.

    python benchmarks/step.py [--shapes 50m allcnn …] [--rounds 20] [--threads 2] [--way auto]

Every contender steps the same shapes with the same gradients, in turns, round after round; a timing
is a walk of 20 steps, outer update included, and the figure is its twentieth part. "Floor" is the
fewest bytes a step can move (read or write) per fp32 parameter; "share" what that amounts to of the
measured memory bandwidth; "first" the seconds of the first step, compilation included. Peers are
timed where they are installed (schedulefree, pytorch_optimizer, heavyball); of SAM, which takes two
gradients a step, half a step counts.
"""

import argparse
import inspect
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module as module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from figures import FOLDER, Figures, Row, in_turns, rows, seconds
from rich.console import Console
from rich.table import Table
from torch import nn

from widevalley import EntropySGD
from widevalley.models import AllCNN, DigitsMLP

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "large": [(2048, 2048)] * 32,
    "50m": [(2048, 2048)] * 12,
    "allcnn": [tuple(p.shape) for p in AllCNN().parameters()],
    "mnistfc": [(1024, 784), (1024,), (1024, 1024), (1024,), (10, 1024), (10,)],
    "digits": [tuple(p.shape) for p in DigitsMLP().parameters()],
    "tiny": [(32, 32)] * 300,
}
WALK = 20
ARGUMENTS = inspect.signature(EntropySGD).parameters
WAYS: dict[str, dict[str, Any]] = {
    "auto": {},
    "fused": {"fused": True},
    "plain": {"foreach": False, "fused": False},
}

Params = list[nn.Parameter]
Build = Callable[[Params], torch.optim.Optimizer]


@dataclass(frozen=True)
class Contender:
    """What is timed: how to build it, and what a step of it takes."""

    name: str
    build: Build
    floor: float | None = None
    """Bytes a step must move per parameter."""
    gradients: int = 1


def torch_sgd(**way: bool) -> Build:
    """With Nesterov's momentum."""
    return lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, nesterov=True, **way)


TORCH = [
    Contender("torch SGD, Nesterov, fused", torch_sgd(fused=True), 20),
    Contender("torch SGD, Nesterov, foreach", torch_sgd(foreach=True), 20),
    Contender("torch AdamW, fused", lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True), 28),
]


def ours(way: str) -> Iterator[Contender]:
    """EntropySGD in walks of 20 steps, from what SGD computes to all of Algorithm 1."""
    gaussian = {"noise": 1e-4, "noise_law": "gaussian"}
    two_point = {"noise": 1e-4, "noise_law": "two-point"}
    # Bytes: gradient 4, walker 8, mean 8 and anchor 4; in a walk's last step 16 or 20 more.
    kinds: list[tuple[str, dict[str, Any], float]] = [
        ("averaging 1, gamma 0", {"noise": 0.0, "averaging": 1.0, "gamma": 0.0}, 12 + 16 / WALK),
        ("noise off", {"noise": 0.0}, 24 + 20 / WALK),
        ("two-point noise", two_point, 24 + 20 / WALK),
        ("Gaussian noise", gaussian, 24 + 20 / WALK),
    ]
    if "noise_law" not in ARGUMENTS:
        kinds = [kind for kind in kinds if kind[1] is not two_point]
    for kind, settings, floor in kinds:
        yield Contender(f"EntropySGD, {kind}", entropy_sgd(0.0, settings, way), floor)
        name = f"EntropySGD, {kind}, Nesterov"
        yield Contender(name, entropy_sgd(0.9, settings, way), floor + 8 + 4 / WALK)


def entropy_sgd(momentum: float, settings: dict[str, Any], way: str) -> Build:
    """EntropySGD with those of the settings that this version of it has."""
    known = {name: v for name, v in {**settings, **WAYS[way]}.items() if name in ARGUMENTS}
    return lambda p: EntropySGD(
        p, langevin_steps=WALK, langevin_momentum=momentum, weight_decay=0.0, **known
    )


def peers() -> Iterator[Contender]:
    """Optimizers of other packages that keep a second set of weights, or walk."""

    def schedule_free(p: Params) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = module("schedulefree").SGDScheduleFree(p, lr=1e-3)
        made.train()  # type: ignore[attr-defined]
        return made

    def lookahead(p: Params) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = module("pytorch_optimizer").Lookahead(TORCH[0].build(p))
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
            Contender("pytorch_optimizer Lookahead(SGD)", lookahead),
            Contender("pytorch_optimizer SAM(SGD), a gradient", sam, gradients=2),
        ],
        "heavyball": [Contender("heavyball SGD", heavy)],
    }
    for name, listed in known.items():
        if find_spec(name):
            yield from listed


def measure(case: str, chosen: list[Contender], device: torch.device, rounds: int) -> list[Row]:
    """Time every contender on the same parameters; what each keeps of them is its own."""
    shared = [nn.Parameter(torch.randn(shape, device=device)) for shape in SHAPES[case]]
    # Of 0, in memory of their own: torch's foreach adds the momentum to them, and they would grow.
    gradients = [torch.randn_like(p).mul_(0) for p in shared]

    def ready() -> None:  # heavyball takes gradients away
        for p, gradient in zip(shared, gradients, strict=True):
            p.grad = gradient

    def walk_of(step: Callable[[], object]) -> Callable[[], None]:
        def walk() -> None:
            for _ in range(WALK):
                step()
                ready()

        return walk

    ready()
    steps = {c.name: c.build(shared).step for c in chosen}
    first = {}
    for name, step in steps.items():
        first[name] = seconds(step, device)
        ready()
    multiply, volume = pass_over(device)
    works: dict[str, Callable[[], object]] = {name: walk_of(step) for name, step in steps.items()}
    taken = in_turns({**works, "memory": multiply}, rounds, device)
    speed = volume / statistics.median(taken.pop("memory"))
    size = sum(p.numel() for p in shared)
    each = {c.name: [t / WALK / c.gradients for t in taken[c.name]] for c in chosen}
    medians = {name: statistics.median(values) for name, values in each.items()}
    also = {}
    for c in chosen:
        also[c.name] = {"first_s": first[c.name]}
        for peer, name in zip(("foreach", "adamw"), (TORCH[1].name, TORCH[2].name), strict=True):
            also[c.name][f"ratio_{peer}"] = medians[c.name] / medians[name]
        if c.floor is not None:
            share = c.floor * size / medians[c.name] / speed
            also[c.name] |= {"floor_bytes": c.floor, "bandwidth_share": share}
    return rows(case, each, also)


def pass_over(device: torch.device) -> tuple[Callable[[], object], int]:
    """A large in-place multiply, and the bytes it reads and writes.

    A copy into another buffer would read its target too on a CPU, uncounted, and look slower.
    """
    numbers = torch.randn(64 * 2**20, device=device)
    return lambda: numbers.mul_(1.0), 2 * numbers.nbytes


def table(case: str, measured: list[Row]) -> Table:
    """One row a contender: milliseconds, ratios to torch's, share of the bandwidth."""
    shapes = SHAPES[case]
    size = sum(torch.Size(shape).numel() for shape in shapes)
    made = Table(title=f"{case}: {len(shapes)} tensors, {size / 1e6:.2f} M parameters")
    for column in ("step", "ms", "/ SGD", "/ foreach", "/ AdamW", "floor B", "share", "first s"):
        made.add_column(column, justify="left" if column == "step" else "right")
    for row in measured:
        also = row.also
        floor = f"{also['floor_bytes']:.1f}" if "floor_bytes" in also else ""
        share = f"{also['bandwidth_share']:.0%}" if "bandwidth_share" in also else ""
        ratios = (f"{r:.2f}" for r in (row.ratio, also["ratio_foreach"], also["ratio_adamw"]))
        made.add_row(row.name, f"{row.ms:.3f}", *ratios, floor, share, f"{also['first_s']:.2f}")
    return made


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=20, help="timings of each contender")
    parser.add_argument("--way", choices=WAYS, default="auto", help="of ours")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--to", type=Path, default=FOLDER / "step.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    chosen, console, all_rows = [*TORCH, *ours(given.way), *peers()], Console(width=120), []
    for case in given.shapes:
        measured = measure(case, chosen, device, given.rounds)
        console.print(table(case, measured))
        all_rows += measured
    figures = Figures.of("step", all_rows, vars(given), device)
    figures.write(given.to)
    console.print(f"{figures}; median of {given.rounds}", highlight=False)


if __name__ == "__main__":
    main()
