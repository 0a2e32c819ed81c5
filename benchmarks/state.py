"""What bfloat16 state costs in accuracy: EntropySGD and EntropyAdam on digits, beside float32.

    python benchmarks/state.py [--seeds 10] [--epochs 40]

"mean off by" is the error of mu - x at the end of one walk from the same weights, as a share of its
length. Errors and losses are of the same 360 test digits, mean over seeds ± standard error; the
last line of each pair is the difference seed by seed. What is kept as "ratio" is of the test
losses, seed by seed, bfloat16 over float32.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from figures import FOLDER, Figures, Row, quartiles
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from widevalley import EntropyAdam, EntropySGD
from widevalley.experimental import CompactEntropyAdam, CompactEntropySGD
from widevalley.models import DigitsMLP

TRAIN, BATCH, WALK = 1437, 64, 5
SETTINGS = {"langevin_steps": WALK, "langevin_lr": 0.02}
KINDS: dict[str, dict[str, Any]] = {
    "EntropySGD": {"float32": EntropySGD, "bfloat16": CompactEntropySGD},
    "EntropyAdam": {"float32": EntropyAdam, "bfloat16": CompactEntropyAdam},
}
RATES = {"EntropySGD": 1.0, "EntropyAdam": 0.01}
STATES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Outcome:
    """Of one training."""

    drift: Tensor
    """mu - x just before the first anchor update."""
    error: float
    """Percent."""
    loss: float
    """Nats."""
    seconds: float


def train(kind: str, state: str, seed: int, epochs: int) -> Outcome:
    """Train on the digits; the order of samples is a function of the seed."""
    inputs, targets = load_digits(return_X_y=True)
    x, y = torch.tensor(inputs, dtype=torch.float32) / 16, torch.tensor(targets)
    torch.manual_seed(seed)
    model = DigitsMLP()
    optimizer = KINDS[kind][state](model.parameters(), RATES[kind], seed=seed, **SETTINGS)
    drift, start = torch.empty(0), time.perf_counter()
    for epoch in range(epochs):
        for k, batch in enumerate(torch.split(torch.randperm(TRAIN), BATCH)):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if epoch == 0 and k == WALK - 2:
                drift = torch.cat([_drift(optimizer.state[p]) for p in model.parameters()])
    taken = time.perf_counter() - start
    model.eval()
    with optimizer.at_anchor(), torch.no_grad():
        scores = model(x[TRAIN:])
    wrong = (scores.argmax(dim=1) != y[TRAIN:]).float().mean()
    loss = float(functional.cross_entropy(scores, y[TRAIN:]))
    return Outcome(drift, 100 * float(wrong), loss, taken)


def _drift(state: dict[str, Tensor]) -> Tensor:
    mean, anchor = state["mean"], state["anchor"]
    kept = mean.float() if mean.dtype == torch.bfloat16 else mean - anchor
    return kept.flatten().clone()


def shown(values: Sequence[float], digits: int) -> str:
    """Mean ± standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.fmean(values):.{digits}f} ± {error:.{digits}f}"


def rows_of(kind: str, runs: dict[str, list[Outcome]], drift: float) -> list[Row]:
    """A row a state: time of a training, ratio of the losses, means of what the table shows."""
    made = []
    for state, found in runs.items():
        ratios = [a.loss / b.loss for a, b in zip(found, runs["float32"], strict=True)]
        also = {
            "mean_off_by": drift if state == "bfloat16" else 0.0,
            "error": statistics.fmean(r.error for r in found),
            "loss": statistics.fmean(r.loss for r in found),
        }
        ms = 1e3 * statistics.median(r.seconds for r in found)
        ratio = statistics.median(ratios)
        made.append(Row("digits", f"{kind}, {state}", ms, ratio, quartiles(ratios), also))
    return made


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=10, help="two or more")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--to", type=Path, default=FOLDER / "state.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title=f"digits, {given.seeds} seeds, {given.epochs} epochs")
    for head in ("optimizer", "state", "mean off by", "test error, %", "test loss, nats"):
        table.add_column(head, justify="right" if head.startswith(("mean", "test")) else "left")
    kept = []
    for kind in KINDS:
        runs = {s: [train(kind, s, k, given.epochs) for k in range(given.seeds)] for s in STATES}
        pairs = list(zip(*runs.values(), strict=True))
        off = max(float((b.drift - a.drift).norm() / a.drift.norm()) for a, b in pairs)
        for state, found in runs.items():
            means = shown([r.error for r in found], 2), shown([r.loss for r in found], 4)
            table.add_row(kind, state, "" if state == "float32" else f"{off:.1%}", *means)
        errors, losses = [b.error - a.error for a, b in pairs], [b.loss - a.loss for a, b in pairs]
        table.add_row(kind, "difference", "", shown(errors, 2), shown(losses, 4), end_section=True)
        kept += rows_of(kind, runs, off)
    figures = Figures.of("state", kept, vars(given), torch.device("cpu"))
    figures.write(given.to)
    console = Console(width=110)
    console.print(table)
    console.print(str(figures), highlight=False)


if __name__ == "__main__":
    main()
