"""The optimizers a run can name: one frozen dataclass of settings each, which builds it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer

from widevalley.optim import SGLD, Conventions, EntropyAdam, EntropySGD
from widevalley.training.entropy_sgld import EntropySGLDSettings
from widevalley.training.local_entropies import (
    HardenedAdamWSettings,
    LocalEntropyAdamWAverageSettings,
    LocalEntropyAdamWSettings,
    LocalEntropyMuonAverageSettings,
    LocalEntropyMuonSettings,
    RoundedAdamWSettings,
    SmoothedAdamWSettings,
)
from widevalley.training.peers import PeerSettings
from widevalley.training.settings import Settings, WalkSettings


@dataclass(frozen=True, kw_only=True)
class LangevinSettings(WalkSettings):
    """The walk around the anchor, shared by EntropySGD and EntropyAdam."""

    langevin_lr: float = 0.1
    """Rate of a step of the walk at the start; `walk-schedule` lets it fall."""
    langevin_momentum: float = 0.9
    """Momentum inside the walk, in [0, 1)."""
    langevin_nesterov: bool = True
    """Nesterov's momentum in the walk instead of heavy-ball."""
    reset_momentum: bool = True
    """Empty the walk's momentum after each anchor update."""
    gamma: float = 1e-4
    """Scope at the start: strength of the pull towards the anchor."""
    gamma_growth: float = 1e-3
    """Growth of the scope per anchor update: gamma (1 + growth)^t."""
    noise: float = 1e-4
    """Thermal noise: a step of the walk adds sqrt(langevin-lr) noise N(0, 1)."""
    noise_law: Literal["gaussian", "two-point"] = "gaussian"
    """N(0, 1), or the cheaper ±1 of the same mean and variance."""
    averaging: float = 0.75
    """Weight of the newest point in the running mean of the walk, in (0, 1]."""

    def arguments(self) -> dict[str, Any]:
        """As the optimizers take them, conventions in an object of their own."""
        plain = asdict(self)
        names = ("langevin_nesterov", "reset_momentum", "noise_free_mean")
        conventions = Conventions(**{name: plain.pop(name) for name in names})
        for name in ("smoothing", "smoothing_start", "rounding", "rounding_start"):
            del plain[name]
        return {**plain, "gradient_point": self.gradient_point(), "conventions": conventions}

    def set_rates(self, optimizer: Optimizer, factor: float, walk_factor: float) -> None:
        """Set the anchor's rate by the schedule, and the walk's by the walk's schedule."""
        super().set_rates(optimizer, factor, walk_factor)
        for group in optimizer.param_groups:
            group["langevin_lr"] = self.langevin_lr * walk_factor


@dataclass(frozen=True, kw_only=True)
class EntropySGDSettings(LangevinSettings):
    """Entropy-SGD: SGD on the local entropy."""

    name: ClassVar[str] = "entropy-sgd"

    lr: float = 1.0
    """Rate of the anchor's step at the start; 1 moves it to the mean of the walk."""
    momentum: float = 0.0
    """Momentum of the anchor's step, in [0, 1)."""
    nesterov: bool = True
    """Nesterov's momentum in the anchor's step, where it has momentum."""
    weight_decay: float = 0.0
    """L2 penalty, part of the loss the walk sees."""

    def build(
        self, model: nn.Module, seed: int, process_group: dist.ProcessGroup | None = None
    ) -> Optimizer:
        """Make an EntropySGD whose noise is keyed by `seed`."""
        own = self.arguments() | {"process_group": process_group}
        return EntropySGD(model.parameters(), **own, seed=seed)


@dataclass(frozen=True, kw_only=True)
class EntropyAdamSettings(LangevinSettings):
    """Entropy-Adam: Adam on the local entropy."""

    name: ClassVar[str] = "entropy-adam"

    lr: float = 1e-3
    """Rate of the anchor's step at the start."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Memory of the first and second moment, each in [0, 1)."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 0.0
    """L2 penalty, part of the loss the walk sees."""
    langevin_betas: tuple[float, float] | None = None
    """Where given, the walk is Adam's, with this memory of the two moments."""

    def build(
        self, model: nn.Module, seed: int, process_group: dist.ProcessGroup | None = None
    ) -> Optimizer:
        """Make an EntropyAdam whose noise is keyed by `seed`."""
        own = self.arguments() | {"process_group": process_group}
        return EntropyAdam(model.parameters(), **own, seed=seed)


@dataclass(frozen=True, kw_only=True)
class SGDSettings(Settings):
    """SGD, torch's."""

    name: ClassVar[str] = "sgd"

    lr: float = 0.1
    """Rate at the start."""
    momentum: float = 0.9
    """Momentum, in [0, 1)."""
    nesterov: bool = True
    """Nesterov's momentum instead of heavy-ball, where there is momentum."""
    weight_decay: float = 0.0
    """L2 penalty."""

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make torch's SGD; it has no noise, so `seed` is not used."""
        return torch.optim.SGD(
            model.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            # torch refuses Nesterov's momentum where there is no momentum.
            nesterov=self.nesterov and self.momentum > 0,
            weight_decay=self.weight_decay,
            fused=True,
        )


@dataclass(frozen=True, kw_only=True)
class AdamSettings(Settings):
    """Adam, torch's."""

    name: ClassVar[str] = "adam"

    lr: float = 1e-3
    """Rate at the start."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Memory of the first and second moment, each in [0, 1)."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 0.0
    """L2 penalty, added to the gradient."""

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make torch's Adam; it has no noise, so `seed` is not used."""
        return torch.optim.Adam(model.parameters(), **asdict(self), fused=True)


@dataclass(frozen=True, kw_only=True)
class SGLDSettings(Settings):
    """Stochastic gradient Langevin dynamics."""

    name: ClassVar[str] = "sgld"

    lr: float = 0.1
    """Rate at the start."""
    noise: float = 1e-4
    """Thermal noise: a step adds sqrt(lr) noise N(0, 1)."""
    noise_law: Literal["gaussian", "two-point"] = "gaussian"
    """N(0, 1), or the cheaper ±1 of the same mean and variance."""
    weight_decay: float = 0.0
    """L2 penalty."""

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make an SGLD whose noise is keyed by `seed`."""
        return SGLD(model.parameters(), **asdict(self), seed=seed)


OptimizerSettings = (
    EntropySGDSettings
    | EntropyAdamSettings
    | SGDSettings
    | AdamSettings
    | SGLDSettings
    | EntropySGLDSettings
    | LocalEntropyAdamWSettings
    | SmoothedAdamWSettings
    | HardenedAdamWSettings
    | RoundedAdamWSettings
    | LocalEntropyMuonSettings
    | LocalEntropyAdamWAverageSettings
    | LocalEntropyMuonAverageSettings
    | PeerSettings
)
"""Each has a name, an lr (the rate at the start) and build(model, seed)."""
