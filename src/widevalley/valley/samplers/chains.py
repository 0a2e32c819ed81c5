"""Sampling around a network's weights, recorded step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from widevalley.valley._storage import read_as, write_arrays
from widevalley.valley._validation import check_at_least, check_positive
from widevalley.valley.objective import Objective, Progress
from widevalley.valley.samplers.diagnostics import r_hat
from widevalley.valley.samplers.sgmcmc import Sampler

Starts = Literal["dispersed", "anchor"]
"""Where chains begin."""
DIRECTIONS = 4
"""Directions that positions are followed along."""


@dataclass(frozen=True)
class Chains:
    """What chains recorded, a row a chain and a column a step after burn-in; norms are Euclidean.

    Every chain has a coupled one, its control variate, which draws the same noise where f is flat.
    Its law is known, and it moves nearly as the chain does along the many directions where f is
    nearly flat: differences from it are what f adds, with most of the variance gone.
    """

    loss: np.ndarray
    """f of the step's batch at the position before the step."""
    distance: np.ndarray
    """Squared distance from the anchor."""
    flat_distance: np.ndarray
    """That of the coupled chain."""
    gradient_norm: np.ndarray
    """Of the batch's gradient of f."""
    pull_norm: np.ndarray
    """Of gamma (x' - x)."""
    noise_norm: np.ndarray
    """Of what the step's noise would be without preconditioner or memory."""
    mean: np.ndarray
    """Mean position less the anchor, (chains, n)."""
    flat_mean: np.ndarray
    """That of the coupled chain, whose expectation is 0."""
    facts: dict[str, Any] = field(default_factory=dict)
    """gamma, beta, the loss at the anchor, the sampler and its settings."""
    projection: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0)))
    """Displacement from the anchor along a few fixed directions, (chains, steps, directions)."""
    flat_projection: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0)))
    """That of the coupled chain."""

    def position_r_hat(self, *, subtract_flat: bool = False) -> float:
        """The largest R-hat of the positions, along the recorded directions; NaN without them.

        Chains in different valleys may agree in their distance from the anchor, and in their loss;
        in where they are they do not. `subtract_flat` takes the coupled chains' positions off.
        """
        positions = self.projection - subtract_flat * self.flat_projection
        if not positions.size:
            return math.nan
        return max(r_hat(each) for each in np.moveaxis(positions, 2, 0))

    def save(self, file: Path) -> None:
        """Write everything to an .npz file."""
        write_arrays(file, {"facts": self.facts}, **{name: getattr(self, name) for name in ARRAYS})

    @classmethod
    def load(cls, file: Path) -> Chains:
        """Read what `save` wrote. Raises ValueError naming the file where it is not that."""
        return read_as(cls, file)


ARRAYS = [name for name in Chains.__dataclass_fields__ if name != "facts"]


def sample(
    objective: Objective,
    sampler: Sampler,
    gamma: float,
    *,
    steps: int = 1000,
    burn_in: int = 500,
    chains: int = 4,
    starts: Starts = "dispersed",
    seed: int = 0,
    progress: Progress | None = None,
) -> Chains:
    """Run chains around the objective's weights, each step on one of its batches.

    The network is in evaluation mode throughout, so dropout adds nothing to the thermal noise.
    Batches are drawn with replacement, each as often as it weighs in the mean; one batch of all
    the data makes the law exact but for the step size.

    Args:
        objective: f and the anchor.
        sampler: the chains' rule and temperature.
        gamma: the scope.
        steps: recorded steps of each chain.
        burn_in: steps before them that are not recorded.
        chains: independent chains.
        starts: "dispersed" draws where each chain begins from the law of a flat loss, the anchor
            plus N(0, 1/(beta gamma)), so that chains which end in different valleys show it;
            "anchor" begins all of them there, and sees the anchor's own valley alone.
        seed: keys batches and noise.
        progress: called with steps done and steps in all.

    Raises:
        ValueError: gamma not above 0, or steps or chains below 1, or burn_in below 0.
    """
    check_positive(gamma=gamma)
    check_at_least(1, steps=steps, chains=chains)
    check_at_least(0, burn_in=burn_in)
    if starts not in ("dispersed", "anchor"):
        raise ValueError(f"starts={starts!r}: must be 'dispersed' or 'anchor'")
    generator = torch.Generator().manual_seed(seed)
    directions = _directions(objective)
    finished = []
    for k in range(chains):
        chain = _Chain(objective, sampler, gamma, generator, directions, starts)
        for j in range(burn_in + steps):
            chain.step(record=j >= burn_in)
            if progress:
                progress(k * (burn_in + steps) + j + 1, chains * (burn_in + steps))
        finished.append(chain)
    rows = {
        name: np.array([[row[name] for row in chain.rows] for chain in finished])
        for name in finished[0].rows[0]
    }
    for name, k in (("mean", 0), ("flat_mean", 1)):
        rows[name] = np.stack([(chain.total[k] / steps).cpu().numpy() for chain in finished])
    settings = {"sampler": sampler.name, **sampler.__dict__, "gamma": gamma}
    run = {"seed": seed, "burn_in": burn_in, "starts": starts, "anchor_loss": objective.value()}
    facts = settings | run
    return Chains(**rows, facts=facts)


def _directions(objective: Objective) -> Tensor:
    """A few directions (n, k) to follow positions along: all axes where there are few."""
    n = objective.size
    if n <= DIRECTIONS:
        return torch.eye(n, dtype=objective.dtype, device=objective.device)
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(n, DIRECTIONS, generator=generator)
    return (random / math.sqrt(n)).to(objective.device, objective.dtype)


class _Chain:
    def __init__(
        self,
        objective: Objective,
        sampler: Sampler,
        gamma: float,
        generator: torch.Generator,
        directions: Tensor,
        starts: Starts,
    ) -> None:
        self._objective, self._sampler, self._gamma = objective, sampler, gamma
        self._generator = generator
        self._anchor = objective.flat_weights
        self._batch_weights = torch.tensor(objective.batch_weights, dtype=torch.float64)
        self._directions = directions
        begin = torch.zeros_like(self._anchor)
        if starts == "dispersed":
            random = torch.randn(begin.shape, generator=generator, dtype=torch.float64)
            begin = (random / math.sqrt(sampler.beta * gamma)).to(begin)
        self._state = sampler.start(self._anchor + begin)
        self._flat_state = sampler.start(begin)
        self.rows: list[dict[str, Any]] = []
        self.total = torch.zeros(2, len(self._anchor), dtype=torch.float64, device=objective.device)

    def step(self, *, record: bool) -> None:
        x = self._state["x"]
        displacement, flat = x - self._anchor, self._flat_state["x"]
        loss, gradient = self._loss(x)
        pull = self._gamma * displacement
        noise = torch.randn(x.shape, generator=self._generator, dtype=torch.float64).to(x)
        if record:
            self.total[0] += displacement
            self.total[1] += flat
            self.rows.append(
                {
                    "loss": loss,
                    "distance": float(displacement.double().square().sum()),
                    "flat_distance": float(flat.double().square().sum()),
                    "gradient_norm": float(gradient.norm()),
                    "pull_norm": float(pull.norm()),
                    "projection": (displacement @ self._directions).cpu().numpy(),
                    "flat_projection": (flat @ self._directions).cpu().numpy(),
                    "noise_norm": self._sampler.noise_std() * float(noise.norm()),
                }
            )
        self._state = self._sampler.step(self._state, gradient + pull, noise)
        self._flat_state = self._sampler.step(self._flat_state, self._gamma * flat, noise)

    def _loss(self, x: Tensor) -> tuple[float, Tensor]:
        objective = self._objective
        k = int(torch.multinomial(self._batch_weights, 1, generator=self._generator))
        return objective.batch_gradient_at(x, k)
