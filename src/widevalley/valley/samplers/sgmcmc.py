r"""Markov chains that sample the modified Gibbs law of a walk around an anchor.

The target of every sampler here is, with an anchor x, a scope \gamma and an inverse temperature
\beta,

    P(x') ~ exp(-\beta U(x')),    U(x') = f(x') + \gamma/2 \|x' - x\|^2.

A step of size h costs one gradient g of U; N is standard normal noise.

| sampler | step |
|---|---|
| SGLD | x' <- x' - h g + \sqrt{2 h/\beta} N |
| PSGLD | V <- a V + (1 - a) g^2, G = 1/(c + \sqrt V), x' <- x' - h G g + \sqrt{2 h G/\beta} N |
| SGHMC | v <- (1 - a) v - h g + \sqrt{2 a h/\beta} N, x' <- x' + v |
| SGNHT | as SGHMC, with a following \xi <- \xi + \|v\|^2/n - h/\beta in its first place |

The paper's walk is SGLD with h = \eta' and \epsilon = \sqrt{2/\beta}. Sources: Welling and Teh
(2011); Li et al. (2016), without their term \Gamma; Chen et al. (2014); Ding et al. (2014).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from widevalley.valley._validation import check_positive

State = dict[str, Tensor]
"""A chain between two steps: `x`, (n,), is the position, the rest is the sampler's own."""


@dataclass(frozen=True, kw_only=True)
class Sampler(ABC):
    """The rule of a chain's step: settings alone, the state goes in and out.

    Raises ValueError naming the setting, its value and what is allowed.
    """

    name: ClassVar[str]

    step_size: float
    """h."""
    beta: float = 1.0
    """Inverse temperature; the paper's thermal noise is sqrt(2 / beta)."""

    def __post_init__(self) -> None:
        check_positive(step_size=self.step_size, beta=self.beta)

    def start(self, x: Tensor) -> State:
        """The state of a chain that begins at a position."""
        return {"x": x.clone()}

    @abstractmethod
    def step(self, state: State, gradient: Tensor, noise: Tensor) -> State:
        """The state after a step, from the gradient of U at its position."""

    def noise_std(self, friction: float = 1.0) -> float:
        r"""Standard deviation \sqrt{2 a h/\beta} of a step's noise at friction a."""
        return math.sqrt(2 * friction * self.step_size / self.beta)


@dataclass(frozen=True, kw_only=True)
class SGLDSampler(Sampler):
    """Langevin dynamics, the paper's walk."""

    name: ClassVar[str] = "sgld"

    def step(self, state: State, gradient: Tensor, noise: Tensor) -> State:
        """One step."""
        return {"x": state["x"] - self.step_size * gradient + self.noise_std() * noise}


@dataclass(frozen=True, kw_only=True)
class PSGLDSampler(Sampler):
    """Langevin dynamics with RMSprop's diagonal preconditioner."""

    name: ClassVar[str] = "psgld"

    memory: float = 0.99
    """a, of the running second moment."""
    floor: float = 1e-1
    """c: what the preconditioner adds to its root; where gradients are small it bounds G."""

    def start(self, x: Tensor) -> State:
        """The state of a chain that begins at a position."""
        return {"x": x.clone(), "square": torch.zeros_like(x), "steps": torch.zeros(())}

    def step(self, state: State, gradient: Tensor, noise: Tensor) -> State:
        """One step."""
        steps = state["steps"] + 1
        square = self.memory * state["square"] + (1 - self.memory) * gradient.square()
        gain = 1 / (self.floor + (square / (1 - self.memory**steps)).sqrt())
        x = state["x"] - self.step_size * gain * gradient + self.noise_std() * gain.sqrt() * noise
        return {"x": x, "square": square, "steps": steps}


@dataclass(frozen=True, kw_only=True)
class SGHMCSampler(Sampler):
    """Hamiltonian dynamics with friction."""

    name: ClassVar[str] = "sghmc"

    friction: float = 0.1
    """a, in (0, 1]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.friction <= 1:
            raise ValueError(f"friction={self.friction}: must be in (0, 1]")

    def start(self, x: Tensor) -> State:
        """The state of a chain that begins at a position, at rest."""
        return {"x": x.clone(), "v": torch.zeros_like(x)}

    def step(self, state: State, gradient: Tensor, noise: Tensor) -> State:
        """One step."""
        v = (1 - self.friction) * state["v"] - self.step_size * gradient
        v = v + self.noise_std(self.friction) * noise
        return {"x": state["x"] + v, "v": v}


@dataclass(frozen=True, kw_only=True)
class SGNHTSampler(SGHMCSampler):
    """The same with a thermostat: friction follows the kinetic energy."""

    name: ClassVar[str] = "sgnht"

    def start(self, x: Tensor) -> State:
        """The state of a chain that begins at a position, at rest."""
        return super().start(x) | {"xi": torch.full((), self.friction, dtype=x.dtype)}

    def step(self, state: State, gradient: Tensor, noise: Tensor) -> State:
        """One step."""
        v = (1 - state["xi"]) * state["v"] - self.step_size * gradient
        v = v + self.noise_std(self.friction) * noise
        xi = state["xi"] + v.square().mean() - self.step_size / self.beta
        return {"x": state["x"] + v, "v": v, "xi": xi}


_KINDS = (SGLDSampler, PSGLDSampler, SGHMCSampler, SGNHTSampler)
SAMPLERS: dict[str, type[Sampler]] = {kind.name: kind for kind in _KINDS}
