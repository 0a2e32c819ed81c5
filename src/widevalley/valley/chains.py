"""Sampling around a network's weights: chains in, raw traces out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import grad_and_value

from widevalley.valley.exact_entropy import check_scope
from widevalley.valley.objective import Objective, Progress
from widevalley.valley.samplers import Sampler
from widevalley.valley.store import read_arrays, write_arrays


@dataclass(frozen=True)
class Trace:
    """What chains went through, a row a chain and a column a kept step; norms are Euclidean.

    Every chain has a twin, which draws the same noise where f is flat. Its law is known, and what
    it goes through is nearly what the chain does along the many directions where f is nearly flat:
    differences from it are what f adds, with most of the scatter gone.
    """

    loss: np.ndarray
    """f of the step's batch at the position before the step."""
    distance: np.ndarray
    """Squared distance from the anchor."""
    flat_distance: np.ndarray
    """The twin's."""
    gradient_norm: np.ndarray
    """Of the batch's gradient of f."""
    pull_norm: np.ndarray
    """Of gamma (x' - x)."""
    noise_norm: np.ndarray
    """Of what the step's noise would be without preconditioner or memory."""
    mean: np.ndarray
    """Mean position less the anchor, (chains, n)."""
    flat_mean: np.ndarray
    """The twin's; its expectation is 0."""
    facts: dict[str, Any] = field(default_factory=dict)
    """gamma, beta, the sampler and its settings."""

    def save(self, file: Path) -> None:
        """Write everything to an .npz file."""
        write_arrays(file, {"facts": self.facts}, **{name: getattr(self, name) for name in ARRAYS})

    @classmethod
    def load(cls, file: Path) -> Trace:
        """Read what `save` wrote. Raises ValueError naming the file where it is not that."""
        return cls(**read_arrays(file))


ARRAYS = [name for name in Trace.__dataclass_fields__ if name != "facts"]


def sample(
    objective: Objective,
    sampler: Sampler,
    gamma: float,
    *,
    steps: int = 1000,
    burn_in: int = 500,
    chains: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
) -> Trace:
    """Run chains around the objective's weights, each step on one of its batches.

    The network is in evaluation mode throughout, so dropout adds nothing to the thermal noise.
    Batches are drawn with replacement, each as often as its share of the data; one batch of all
    the data makes the law exact but for the step size.

    Args:
        objective: f and the anchor.
        sampler: the chains' rule and temperature.
        gamma: the scope.
        steps: kept steps of each chain.
        burn_in: steps before them that are not kept.
        chains: independent chains, all begun at the anchor.
        seed: keys batches and noise.
        progress: called with steps done and steps in all.

    Raises:
        ValueError: gamma not above 0, or steps or chains below 1, or burn_in below 0.
    """
    check_scope(gamma, sampler.beta)
    for name, value, least in (("steps", steps, 1), ("chains", chains, 1), ("burn_in", burn_in, 0)):
        if value < least:
            raise ValueError(f"{name}={value}: must be at least {least}")
    generator = torch.Generator().manual_seed(seed)
    found = []
    for k in range(chains):
        chain = _Chain(objective, sampler, gamma, generator)
        for j in range(burn_in + steps):
            chain.step(keep=j >= burn_in)
            if progress:
                progress(k * (burn_in + steps) + j + 1, chains * (burn_in + steps))
        found.append(chain)
    rows = {
        name: np.array([[row[name] for row in chain.rows] for chain in found])
        for name in found[0].rows[0]
    }
    for name, k in (("mean", 0), ("flat_mean", 1)):
        rows[name] = np.stack([(chain.total[k] / steps).cpu().numpy() for chain in found])
    settings = {"sampler": sampler.name, **sampler.__dict__, "gamma": gamma}
    facts = settings | {"seed": seed, "burn_in": burn_in}
    return Trace(**rows, facts=facts)


class _Chain:
    def __init__(
        self, objective: Objective, sampler: Sampler, gamma: float, generator: torch.Generator
    ) -> None:
        self._objective, self._sampler, self._gamma = objective, sampler, gamma
        self._generator = generator
        self._anchor = objective.flat(objective.weights)
        self._shares = torch.tensor(objective.shares, dtype=torch.float64)
        self._state = sampler.start(self._anchor)
        self._twin = sampler.start(torch.zeros_like(self._anchor))
        self.rows: list[dict[str, float]] = []
        self.total = torch.zeros(2, len(self._anchor), dtype=torch.float64, device=objective.device)

    def step(self, *, keep: bool) -> None:
        x = self._state["x"]
        away, twin = x - self._anchor, self._twin["x"]
        loss, gradient = self._loss(x)
        pull = self._gamma * away
        noise = torch.randn(x.shape, generator=self._generator, dtype=torch.float64).to(x)
        if keep:
            self.total[0] += away
            self.total[1] += twin
            self.rows.append(
                {
                    "loss": loss,
                    "distance": float(away.double().square().sum()),
                    "flat_distance": float(twin.double().square().sum()),
                    "gradient_norm": float(gradient.norm()),
                    "pull_norm": float(pull.norm()),
                    "noise_norm": self._sampler.heat() * float(noise.norm()),
                }
            )
        self._state = self._sampler.step(self._state, gradient + pull, noise)
        self._twin = self._sampler.step(self._twin, self._gamma * twin, noise)

    def _loss(self, x: Tensor) -> tuple[float, Tensor]:
        objective = self._objective
        k = int(torch.multinomial(self._shares, 1, generator=self._generator))
        slope, loss = grad_and_value(objective.batch_loss)(
            objective.unflat(x), *objective.batches[k]
        )
        return float(loss), objective.flat(slope)
