"""The runs around LocalEntropy: what walks, and where its gradient is taken."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer

from widevalley.optim import LocalEntropy
from widevalley.training.settings import WalkSettings
from widevalley.training.wrappers import MuonWithAdamW


@dataclass(frozen=True, kw_only=True)
class LocalEntropySettings(WalkSettings):
    """The local entropy's gradient by walks of another optimizer, and SGD on it for the anchor.

    The defaults are Lookahead's: no pull, no noise, the walk's last point, its moments go on.
    """

    lr: float = 1.0
    """Rate of the anchor's step at the start; 1 without momentum moves it to where the walk is."""
    momentum: float = 0.0
    """Nesterov's momentum of the anchor's step, in [0, 1)."""
    langevin_lr: float = 1e-3
    """Rate of the walk's optimizer at the start; it falls by the walk's schedule."""
    weight_decay: float = 0.01
    """Weight decay of the walk's optimizer."""
    gamma: float = 0.0
    """Scope at the start: strength of the pull towards the anchor."""
    gamma_growth: float = 0.0
    """Growth of the scope per anchor update: gamma (1 + growth)^t."""
    noise: float = 0.0
    """Thermal noise: a step of the walk adds sqrt(langevin-lr) noise N(0, 1)."""
    averaging: float = 1.0
    """Weight of the newest point in the running mean of the walk, in (0, 1]."""
    preconditioned: bool = False
    """Take pull and noise in the metric of the walk's optimizer, if it has a second moment."""
    reset_inner: bool = False
    """Start every walk with the state of its optimizer at zero."""

    @abstractmethod
    def inner(self, model: nn.Module) -> Optimizer:
        """The walk's optimizer."""

    def build(
        self, model: nn.Module, seed: int, process_group: dist.ProcessGroup | None = None
    ) -> Optimizer:
        """Make a LocalEntropy whose noise is keyed by `seed`."""
        return LocalEntropy(
            self.inner(model),
            outer_lr=self.lr,
            outer_momentum=self.momentum,
            langevin_steps=self.langevin_steps,
            gamma=self.gamma,
            gamma_growth=self.gamma_growth,
            noise=self.noise,
            averaging=self.averaging,
            readout=self.readout,
            gradient_point=self.gradient_point(),
            noise_free_mean=self.noise_free_mean,
            preconditioned=self.preconditioned,
            reset_inner=self.reset_inner,
            seed=seed,
            process_group=process_group,
        )

    def set_rates(self, optimizer: Optimizer, factor: float, walk_factor: float) -> None:
        """Set the anchor's rate by the schedule, and the walk's by the walk's schedule."""
        for group in optimizer.param_groups:
            group["lr"] = self.langevin_lr * walk_factor
            group["outer_lr"] = self.lr * factor


@dataclass(frozen=True, kw_only=True)
class LocalEntropyAdamWSettings(LocalEntropySettings):
    """LocalEntropy with walks of AdamW."""

    name: ClassVar[str] = "local-entropy-adamw"

    betas: tuple[float, float] = (0.9, 0.999)
    """Memory of AdamW's two moments, each in [0, 1)."""

    def inner(self, model: nn.Module) -> Optimizer:
        """torch's AdamW."""
        return torch.optim.AdamW(
            model.parameters(),
            lr=self.langevin_lr,
            betas=self.betas,
            weight_decay=self.weight_decay,
            fused=True,
        )


@dataclass(frozen=True, kw_only=True)
class SmoothedAdamWSettings(LocalEntropyAdamWSettings):
    """AdamW whose gradient is taken beside the weights, in walks with a read-out."""

    name: ClassVar[str] = "smoothed-adamw"

    langevin_steps: int = 10
    """L, gradient evaluations in a walk (one anchor update each)."""
    readout: float | None = 0.9
    """Decay of an average of anchors that survives the walks and is evaluated, in [0, 1)."""
    smoothing: float = 0.1
    """Spread of the noise around the walker that the gradient is taken at, in root mean squares of
    a row; 0 takes it at the walker."""


@dataclass(frozen=True, kw_only=True)
class HardenedAdamWSettings(SmoothedAdamWSettings):
    """AdamW whose gradient is taken beside the weights for the last part of a run."""

    name: ClassVar[str] = "hardened-adamw"


@dataclass(frozen=True, kw_only=True)
class RoundedAdamWSettings(LocalEntropyAdamWSettings):
    """AdamW whose gradient is taken at rounded weights for the last part of a run."""

    name: ClassVar[str] = "rounded-adamw"

    langevin_steps: int = 10
    """L, gradient evaluations in a walk (one anchor update each)."""
    readout: float | None = 0.9
    """Decay of an average of anchors that survives the walks and is evaluated, in [0, 1)."""
    rounding: int = 4
    """Bits to which weights are rounded for each gradient, as they are to be in the end; 0 leaves
    them."""


@dataclass(frozen=True, kw_only=True)
class LocalEntropyMuonSettings(LocalEntropySettings):
    """LocalEntropy with walks of Muon, and of AdamW for what Muon is not for."""

    name: ClassVar[str] = "local-entropy-muon"

    langevin_momentum: float = 0.95
    """Muon's momentum, in [0, 1)."""

    def inner(self, model: nn.Module) -> Optimizer:
        """torch's Muon and AdamW."""
        return MuonWithAdamW(
            model,
            lr=self.langevin_lr,
            momentum=self.langevin_momentum,
            weight_decay=self.weight_decay,
        )


@dataclass(frozen=True, kw_only=True)
class LocalEntropyAdamWAverageSettings(LocalEntropyAdamWSettings):
    """LocalEntropy with short walks of AdamW, and a moving average of its anchors."""

    name: ClassVar[str] = "local-entropy-adamw-ema"

    langevin_steps: int = 5
    """L, gradient evaluations in a walk (one anchor update each)."""
    readout: float | None = 0.9
    """Decay of an average of anchors that survives the walks and is evaluated, in [0, 1)."""


@dataclass(frozen=True, kw_only=True)
class LocalEntropyMuonAverageSettings(LocalEntropyMuonSettings):
    """LocalEntropy with short walks of Muon, and a moving average of its anchors."""

    name: ClassVar[str] = "local-entropy-muon-ema"

    langevin_steps: int = 5
    """L, gradient evaluations in a walk (one anchor update each)."""
    readout: float | None = 0.9
    """Decay of an average of anchors that survives the walks and is evaluated, in [0, 1)."""
