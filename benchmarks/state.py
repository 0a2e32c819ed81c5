"""What bfloat16 state costs in accuracy: EntropySGD and EntropyAdam on digits, beside float32.

    python benchmarks/state.py [--seeds 10] [--epochs 40]

"mean off by" is the error of mu - x at the end of one walk from the same weights, as a share of its
length. Errors and losses are of the same 360 test digits, mean over seeds ± standard error; the
last line of each pair is the difference seed by seed.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from widevalley import EntropyAdam, EntropySGD
from widevalley.models import DigitsMLP

TRAIN, BATCH, WALK = 1437, 64, 5
KINDS: dict[str, Any] = {
    "EntropySGD": lambda p, **kw: EntropySGD(p, langevin_steps=WALK, langevin_lr=0.02, **kw),
    "EntropyAdam": lambda p, **kw: EntropyAdam(
        p, lr=0.01, langevin_steps=WALK, langevin_lr=0.02, **kw
    ),
}
STATES: dict[str, Any] = {"float32": {}, "bfloat16": {"state_dtype": torch.bfloat16}}


@dataclass(frozen=True)
class Outcome:
    """Of one training."""

    drift: Tensor
    """mu - x just before the first anchor update."""
    error: float
    """Percent."""
    loss: float
    """Nats."""


def train(kind: str, state: str, seed: int, epochs: int) -> Outcome:
    """Train on the digits; the order of samples is a function of the seed."""
    inputs, targets = load_digits(return_X_y=True)
    x, y = torch.tensor(inputs, dtype=torch.float32) / 16, torch.tensor(targets)
    torch.manual_seed(seed)
    model = DigitsMLP()
    optimizer = KINDS[kind](model.parameters(), seed=seed, **STATES[state])
    drift = torch.empty(0)
    for epoch in range(epochs):
        for k, batch in enumerate(torch.split(torch.randperm(TRAIN), BATCH)):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if epoch == 0 and k == WALK - 2:
                drift = torch.cat([_drift(optimizer.state[p]) for p in model.parameters()])
    model.eval()
    with optimizer.at_anchor(), torch.no_grad():
        scores = model(x[TRAIN:])
    wrong = (scores.argmax(dim=1) != y[TRAIN:]).float().mean()
    return Outcome(drift, 100 * float(wrong), float(functional.cross_entropy(scores, y[TRAIN:])))


def _drift(state: dict[str, Tensor]) -> Tensor:
    mean, anchor = state["mean"], state["anchor"]
    kept = mean.float() if mean.dtype == torch.bfloat16 else mean - anchor
    return kept.flatten().clone()


def shown(values: Sequence[float], digits: int) -> str:
    """Mean ± standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.fmean(values):.{digits}f} ± {error:.{digits}f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    title = f"digits, {given.seeds} seeds, {given.epochs} epochs; torch {torch.__version__}, CPU"
    table = Table(title=title)
    for head in ("optimizer", "state", "mean off by", "test error, %", "test loss, nats"):
        table.add_column(head, justify="right" if head.startswith(("mean", "test")) else "left")
    for kind in KINDS:
        runs = {s: [train(kind, s, k, given.epochs) for k in range(given.seeds)] for s in STATES}
        pairs = list(zip(*runs.values(), strict=True))
        off = [float((b.drift - a.drift).norm() / a.drift.norm()) for a, b in pairs]
        for state, found in runs.items():
            told = shown([r.error for r in found], 2), shown([r.loss for r in found], 4)
            table.add_row(kind, state, "" if state == "float32" else f"{max(off):.1%}", *told)
        errors, losses = [b.error - a.error for a, b in pairs], [b.loss - a.loss for a, b in pairs]
        table.add_row(kind, "difference", "", shown(errors, 2), shown(losses, 4), end_section=True)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
