"""How often 95 % intervals cover the truth, by repeating experiments whose truth is known.

    python benchmarks/calibration.py [--repetitions 2000] [--processes 2] [--to results/instruments]

A linear regression, whose loss is a quadratic: local entropy, its gradient, the trace and the rise
under noise are closed. Every repetition draws its chains, probes or noise anew.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import warnings
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from widevalley.report.table import markdown_table
from widevalley.valley import Estimate, Hessian, Objective, trace
from widevalley.valley.entropy import (
    QuadraticLoss,
    entropy_differences,
    entropy_gradient,
    laplace,
    local_learning_coefficient,
)
from widevalley.valley.landscape import local_energy
from widevalley.valley.samplers import Chains, SGLDSampler, sample

BETA, GAMMA, NARROWER = 50.0, 2.0, 3.0
SAMPLER = SGLDSampler(step_size=0.02, beta=BETA)
WEIGHTS = 13
TITLE = """\
# How often 95 % intervals cover

Of repeated experiments on a linear regression of 13 weights, whose truth is closed.
`python benchmarks/calibration.py` makes this page.
"""
SECOND = 10**6
"""Added to the seeds of chains of the second scope."""
EVERY = 20
"""Repetitions between two tables."""
Cover = np.ndarray
"""Whether intervals cover, one or several."""


class LeastSquares(Objective):
    """A linear regression whose gradient is by its formula, in a fifth of the time."""

    def batch_gradient_at(self, vector: Tensor, k: int) -> tuple[float, Tensor]:
        """Mean square of the residuals, and its gradient."""
        x, y = self.batches[k]
        gap = x @ vector[:-1] + vector[-1] - y[:, 0]
        slope = torch.cat([x.T @ gap, gap.sum()[None]]) * (2 / len(gap))
        return float(gap.square().mean()), slope


class Regression:
    """The loss, and what is true of it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        x, y = torch.randn(40, WEIGHTS - 1).double(), torch.randn(40, 1).double()
        line, loss = nn.Linear(WEIGHTS - 1, 1).double(), nn.MSELoss()
        self.objective = LeastSquares(line, loss, [(x, y)])
        torch.testing.assert_close(
            self.objective.gradient(), Objective(line, loss, [(x, y)]).gradient()
        )
        self.hessian = Hessian(self.objective)
        self.matrix = self.hessian @ torch.eye(WEIGHTS, dtype=torch.float64)
        self.at = self.objective.flat_weights
        minimum = self.at - torch.linalg.solve(self.matrix, self.objective.gradient())
        base = self.objective.value() - QuadraticLoss(self.matrix, minimum)(self.at).item()
        self.exact = QuadraticLoss(self.matrix, minimum, base)

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


@cache
def regression() -> Regression:
    """The one of this process."""
    return Regression()


@lru_cache(maxsize=2)
def chains(seed: int, gamma: float) -> Chains:
    """Four short chains, the same for whatever is read off them."""
    model = regression().objective
    return sample(model, SAMPLER, gamma, steps=200, burn_in=80, chains=4, seed=seed)


def gradients(seed: int) -> Cover:
    """Weight by weight."""
    low, high = entropy_gradient(chains(seed, GAMMA)).interval()
    slope = regression().exact.gradient(regression().at, GAMMA).numpy()
    return (low <= slope) & (slope <= high)


def differences(seed: int) -> Cover:
    """Between two scopes."""
    scopes = [chains(seed, GAMMA), chains(SECOND + seed, NARROWER)]
    truth = regression().excess(NARROWER) - regression().excess(GAMMA)
    return within(entropy_differences(scopes, subtract_flat=True)[1], truth)


def coefficients(seed: int) -> Cover:
    """Of a quadratic, whose mean loss is known at every scope."""
    model = regression()
    truth = BETA * (model.mean_loss(GAMMA) - model.objective.value())
    return within(local_learning_coefficient(chains(seed, GAMMA)), truth)


def second_order(seed: int) -> Cover:
    """The log-determinant, by probes."""
    hessian, scopes = regression().hessian, [GAMMA]
    found = laplace(hessian, scopes, beta=BETA, steps=WEIGHTS, probes=8, seed=seed)
    return within(found.excess[0], regression().excess(GAMMA))


def traces(seed: int) -> Cover:
    """Of the Hessian."""
    total = regression().matrix.trace().item()
    return within(trace(regression().hessian, products=15, seed=seed), total)


def rises(seed: int) -> Cover:
    """Of a quadratic, s^2 / 2 times the trace."""
    rise = 0.2**2 / 2 * regression().matrix.trace().item()
    return within(local_energy(regression().objective, 0.2, seed=seed), rise)


EXPERIMENTS: dict[str, Callable[[int], Cover]] = {
    "`entropy_gradient`, a weight at a time, four chains": gradients,
    "`entropy_differences` between two scopes": differences,
    "`local_learning_coefficient`": coefficients,
    "`laplace`, 8 probes": second_order,
    "`trace`, 15 products": traces,
    "`local_energy`, 20 samples": rises,
}


def within(estimate: Estimate, truth: float) -> Cover:
    """Whether an interval covers a truth."""
    low, high = estimate.interval()
    return np.array([low <= truth <= high])


def covered(name: str, seed: int) -> float:
    """Share of an experiment's intervals that cover, with this seed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short chains are warned of; they are what is tested
        return float(EXPERIMENTS[name](seed).mean())


def repetition(seed: int) -> dict[str, float]:
    """The same of every experiment."""
    torch.set_num_threads(1)
    return {name: covered(name, seed) for name in EXPERIMENTS}


def coverage(shares: Sequence[float]) -> tuple[float, float]:
    """Share of intervals that cover, and its standard error over repetitions."""
    return float(np.mean(shares)), float(np.std(shares, ddof=1) / math.sqrt(len(shares)))


def page(found: Sequence[dict[str, float]]) -> str:
    """The table, of the repetitions that are done."""
    rows = []
    for name in EXPERIMENTS:
        share, error = coverage([each[name] for each in found])
        rows.append([name, f"{len(found):,}", f"{100 * share:.1f} ± {100 * error:.1f}"])
    table = markdown_table((["95 % intervals of", "repetitions", "cover, percent"], rows))
    return f"{TITLE}\n{table}"


def main() -> None:
    """Write the table, anew whenever some more repetitions are done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--to", type=Path, default=Path("results/instruments"))
    flags = parser.parse_args()
    flags.to.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, float]] = []
    with multiprocessing.get_context("spawn").Pool(flags.processes) as pool:
        # In the order of seeds: which repetitions are in the table depends on no outcome.
        for each in pool.imap(repetition, range(flags.repetitions)):
            found.append(each)
            if len(found) % EVERY == 0 or len(found) == flags.repetitions:
                (flags.to / "calibration.md").write_text(page(found))


if __name__ == "__main__":
    main()
