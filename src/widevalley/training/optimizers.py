"""The optimizers a run can name: one frozen dataclass of settings each, which builds it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from widevalley.optim import (
    SGLD,
    Conventions,
    EntropyAdam,
    EntropySGD,
    LocalEntropy,
    gradient_point,
)
from widevalley.training.entropy_sgld import EntropySGLDSettings
from widevalley.training.peers import PeerSettings
from widevalley.training.settings import Settings
from widevalley.training.wrappers import MuonWithAdamW


def _smoothing(sigma: float, start: int) -> gradient_point.GradientPoint | None:
    return gradient_point.Smoothing(sigma, start=start) if sigma else None


@dataclass(frozen=True, kw_only=True)
class LangevinSettings(Settings):
    """The walk around the anchor, shared by EntropySGD and EntropyAdam."""

    langevin_steps: int = 20
    """L, gradient evaluations in a walk (one anchor update each)."""
    langevin_lr: float = 0.1
    """Rate of a step of the walk; never annealed."""
    langevin_momentum: float = 0.9
    """Momentum inside the walk, in [0, 1)."""
    langevin_nesterov: bool = True
    """Nesterov's momentum in the walk instead of heavy-ball."""
    reset_momentum: bool = True
    """Empty the walk's momentum after each anchor update."""
    noise_free_mean: bool = False
    """Average the walk less what its noise alone would have made of it."""
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
    readout: float | None = None
    """Decay of an average of anchors that survives the walks and is evaluated, in [0, 1)."""
    smoothing: float = 0.0
    """Spread of the noise around the walker that the gradient is taken at, in root mean squares of
    a row; 0 takes it at the walker."""
    smoothing_start: int = 0
    """Gradients at the beginning of a run that are taken at the walker all the same."""

    def arguments(self) -> dict[str, Any]:
        """As the optimizers take them, conventions in an object of their own."""
        plain = asdict(self)
        names = ("langevin_nesterov", "reset_momentum", "noise_free_mean")
        conventions = Conventions(**{name: plain.pop(name) for name in names})
        plain["gradient_point"] = _smoothing(plain.pop("smoothing"), plain.pop("smoothing_start"))
        return {**plain, "conventions": conventions}

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

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make an EntropySGD whose noise is keyed by `seed`."""
        return EntropySGD(model.parameters(), **self.arguments(), seed=seed)


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

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make an EntropyAdam whose noise is keyed by `seed`."""
        return EntropyAdam(model.parameters(), **self.arguments(), seed=seed)


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


@dataclass(frozen=True, kw_only=True)
class LocalEntropySettings(Settings):
    """The local entropy's gradient by walks of another optimizer, and SGD on it for the anchor.

    The defaults are Lookahead's: no pull, no noise, the walk's last point, its moments go on.
    """

    lr: float = 1.0
    """Rate of the anchor's step at the start; 1 without momentum moves it to where the walk is."""
    momentum: float = 0.0
    """Nesterov's momentum of the anchor's step, in [0, 1)."""
    langevin_steps: int = 20
    """L, gradient evaluations in a walk (one anchor update each)."""
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
    readout: float | None = None
    """Decay of an average of anchors that survives the walks and is evaluated, in [0, 1)."""
    smoothing: float = 0.0
    """Spread of the noise around the walker that the gradient is taken at, in root mean squares of
    a row; 0 takes it at the walker."""
    smoothing_start: int = 0
    """Gradients at the beginning of a run that are taken at the walker all the same."""
    rounding: int = 0
    """Bits to which weights are rounded for each gradient, as they are to be in the end; 0 leaves
    them."""
    rounding_start: int = 0
    """Gradients at the beginning of a run for which they are left all the same."""
    noise_free_mean: bool = False
    """Average the walk less what its noise alone would have made of it."""
    preconditioned: bool = False
    """Take pull and noise in the metric of the walk's optimizer, if it has a second moment."""
    reset_inner: bool = False
    """Start every walk with the state of its optimizer at zero."""

    def _gradient_point(self) -> gradient_point.GradientPoint | None:
        if self.rounding:
            return gradient_point.Rounding(self.rounding, self.rounding_start)
        return _smoothing(self.smoothing, self.smoothing_start)

    @abstractmethod
    def inner(self, model: nn.Module) -> Optimizer:
        """The walk's optimizer."""

    def build(self, model: nn.Module, seed: int) -> Optimizer:
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
            gradient_point=self._gradient_point(),
            noise_free_mean=self.noise_free_mean,
            preconditioned=self.preconditioned,
            reset_inner=self.reset_inner,
            seed=seed,
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
