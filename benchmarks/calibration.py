"""How often 95 % intervals cover the truth, by repeating experiments whose truth is known.

    python benchmarks/calibration.py [--repetitions 200] [--to results/instruments]

A linear regression, whose loss is a quadratic: local entropy, its gradient, the trace and the rise
under noise are closed. Every repetition draws its chains, probes or noise anew.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from widevalley.report.table import markdown_table
from widevalley.valley import Hessian, Objective, trace
from widevalley.valley.entropy import (
    QuadraticLoss,
    entropy_differences,
    entropy_gradient,
    laplace,
    local_learning_coefficient,
)
from widevalley.valley.landscape import local_energy
from widevalley.valley.samplers import Chains, SGLDSampler, sample

BETA, GAMMA = 50.0, 2.0
SAMPLER = SGLDSampler(step_size=0.02, beta=BETA)
WEIGHTS = 13
TITLE = """\
# How often 95 % intervals cover

Of repeated experiments on a linear regression of 13 weights, whose truth is closed.
`python benchmarks/calibration.py` makes this page.
"""
SECOND = 10**6
"""Added to the seeds of chains of the second scope."""
FASTER = 10
"""Repetitions of what takes no chains, as a multiple."""
Cover = Iterable[bool]
BY_CHAINS = (
    "`entropy_gradient`, a weight at a time, four chains",
    "`entropy_differences` between two scopes",
    "`local_learning_coefficient`",
)


class Regression:
    """The loss, and what is true of it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        x, y = torch.randn(40, WEIGHTS - 1).double(), torch.randn(40, 1).double()
        self.objective = Objective(nn.Linear(WEIGHTS - 1, 1).double(), nn.MSELoss(), [(x, y)])
        self.hessian = Hessian(self.objective)
        self.matrix = self.hessian @ torch.eye(WEIGHTS, dtype=torch.float64)
        self.at = self.objective.flat_weights
        minimum = self.at - torch.linalg.solve(self.matrix, self.objective.gradient())
        base = self.objective.value() - QuadraticLoss(self.matrix, minimum)(self.at).item()
        self.exact = QuadraticLoss(self.matrix, minimum, base)

    @cache  # noqa: B019
    def chains(self, seed: int, gamma: float = GAMMA) -> Chains:
        """Four short chains, the same for whatever is read off them."""
        return sample(self.objective, SAMPLER, gamma, steps=200, burn_in=80, chains=4, seed=seed)

    def excess(self, gamma: float) -> float:
        """-F above that of a flat loss."""
        flat = self.objective.value() + WEIGHTS / (2 * BETA) * math.log(BETA * gamma / 2 / math.pi)
        return float(-self.exact.local_entropy(self.at, gamma, beta=BETA) - flat)

    def mean_loss(self, gamma: float) -> float:
        """<f> under the law of the walk."""
        identity = torch.eye(WEIGHTS, dtype=torch.float64)
        covariance = torch.linalg.inv(self.matrix + gamma * identity) / BETA
        centre: Tensor = self.exact.mean(self.at, gamma)
        spread = (self.matrix @ covariance).trace() / 2
        return float(self.exact(centre) + spread)


def within(interval: tuple[float, float], truth: float) -> bool:
    """Whether an interval covers a truth."""
    return interval[0] <= truth <= interval[1]


def experiments(model: Regression) -> dict[str, Callable[[int], Cover]]:
    """By name; each call is a repetition with its seed."""
    slope = model.exact.gradient(model.at, GAMMA).numpy()
    total = model.matrix.trace().item()
    rise = 0.02 * total

    def gradients(seed: int) -> Cover:
        low, high = entropy_gradient(model.chains(seed)).interval()
        covered: list[bool] = ((low <= slope) & (slope <= high)).tolist()
        return covered

    def differences(seed: int) -> Cover:
        scopes = [model.chains(seed), model.chains(SECOND + seed, 3.0)]
        found = entropy_differences(scopes, subtract_flat=True)[1]
        return [within(found.interval(), model.excess(3.0) - model.excess(2.0))]

    def coefficients(seed: int) -> Cover:
        found = local_learning_coefficient(model.chains(seed))
        truth = BETA * (model.mean_loss(GAMMA) - model.objective.value())
        return [within(found.interval(), truth)]

    def second_order(seed: int) -> Cover:
        found = laplace(model.hessian, [GAMMA], beta=BETA, steps=WEIGHTS, probes=8, seed=seed)
        return [within(found.excess[0].interval(), model.excess(GAMMA))]

    return {
        **dict(zip(BY_CHAINS, (gradients, differences, coefficients), strict=True)),
        "`laplace`, 8 probes": second_order,
        "`trace`, 15 products": lambda seed: [
            within(trace(model.hessian, products=15, seed=seed).interval(), total)
        ],
        "`local_energy`, 20 samples": lambda seed: [
            within(local_energy(model.objective, 0.2, seed=seed).interval(), rise)
        ],
    }


def coverage(repeat: Callable[[int], Cover], repetitions: int) -> tuple[float, float]:
    """Share of intervals that cover, and its standard error over repetitions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short chains are warned of; they are what is tested
        each = np.array([np.mean(list(repeat(seed))) for seed in range(repetitions)])
    return float(each.mean()), float(each.std(ddof=1) / math.sqrt(repetitions))


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--to", type=Path, default=Path("results/instruments"))
    flags = parser.parse_args()
    rows = []
    for name, repeat in experiments(Regression()).items():
        repetitions = flags.repetitions * (1 if name in BY_CHAINS else FASTER)
        share, error = coverage(repeat, repetitions)
        rows.append([name, f"{repetitions:,}", f"{100 * share:.1f} ± {100 * error:.1f}"])
        print(*rows[-1], flush=True)
    flags.to.mkdir(parents=True, exist_ok=True)
    table = markdown_table((["95 % intervals of", "repetitions", "cover, percent"], rows))
    (flags.to / "calibration.md").write_text(f"{TITLE}\n{table}")


if __name__ == "__main__":
    main()
