"""Entropy-SGLD: Entropy-SGD whose anchor walks too, at the temperature of its walks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from widevalley.optim import LocalEntropy
from widevalley.training.settings import Settings


@dataclass(frozen=True, kw_only=True)
class EntropySGLDSettings(Settings):
    r"""Entropy-SGLD (Dziugaite & Roy, 2018): Langevin dynamics on the local entropy.

    With tau = 2 / noise^2 a walk samples exp(-tau (f + gamma/2 |x' - x|^2)) and anchors
    exp(log Z(x) - tau weight_decay/2 |x|^2), log Z the local entropy at that tau.
    """

    name: ClassVar[str] = "entropy-sgld"

    lr: float = 0.1
    """Rate of the anchor's step at the start; 1 would move it to the mean of the walk."""
    langevin_steps: int = 20
    """L, gradient evaluations in a walk (one anchor update each)."""
    langevin_lr: float = 0.1
    """Rate of a step of the walk."""
    gamma: float = 1.0
    """Scope: strength of the pull towards the anchor; it does not grow."""
    noise: float = 1e-4
    """Thermal noise of both: a step of the walk adds sqrt(langevin-lr) noise N(0, 1), and one of
    the anchor sqrt(lr / gamma) times as much."""
    averaging: float = 0.75
    """Weight of the newest point in the running mean of the walk, in (0, 1]."""
    weight_decay: float = 0.0
    """L2 penalty on the anchor: a Gaussian measure that the law of anchors is relative to."""

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make a LocalEntropy whose noise, in walks and of anchors, is keyed by `seed`."""
        if not self.gamma > 0:
            raise ValueError(f"gamma={self.gamma}: must be above 0")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay={self.weight_decay}: must be at least 0")
        return LocalEntropy(
            SGD(model.parameters(), lr=self.langevin_lr),
            LangevinAnchor(
                model.parameters(),
                lr=self.lr,
                anchor_noise=self.noise / math.sqrt(self.gamma),
                weight_decay=self.weight_decay / self.gamma,
                anchor_seed=seed,
            ),
            langevin_steps=self.langevin_steps,
            gamma=self.gamma,
            gamma_growth=0.0,
            noise=self.noise,
            averaging=self.averaging,
            seed=seed,
        )


class LangevinAnchor(Optimizer):
    r"""x <- x - lr (d + weight_decay x) + sqrt(lr) anchor_noise N(0, I), d the pseudo-gradient.

    Noise is a function of `anchor_seed`, the step and the parameter's number, so that a resumed run
    draws what an uninterrupted one does. It is drawn on the CPU.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        anchor_noise: float,
        weight_decay: float,
        anchor_seed: int,
    ) -> None:
        # Names of their own: LocalEntropy's settings stand in the same groups.
        defaults = {
            "lr": lr,
            "anchor_noise": anchor_noise,
            "weight_decay": weight_decay,
            "anchor_seed": anchor_seed,
            "anchor_steps": 0,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every parameter with a gradient."""
        loss = closure() if closure else None
        for group in self.param_groups:
            lr = group["lr"]
            generator = np.random.default_rng((group["anchor_seed"], group["anchor_steps"]))
            for p in group["params"]:
                noise = torch.from_numpy(generator.standard_normal(p.shape, np.float32)).to(p)
                if p.grad is not None:
                    p.mul_(1 - lr * group["weight_decay"]).add_(p.grad, alpha=-lr)
                    p.add_(noise, alpha=math.sqrt(lr) * group["anchor_noise"])
            group["anchor_steps"] += 1
        return loss
