"""Peers of the family that a run can name: torch's own, Schedule-Free, SAM and Lookahead.

The last three come from packages of the extra `peers`; where one is missing, ModuleNotFoundError
says so when an optimizer is built.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from widevalley.training.settings import Settings
from widevalley.training.wrappers import MovingAverage, MuonWithAdamW


def _peer(package: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{what} needs {package}: pip install 'widevalley[peers]'", name=package
        ) from error


@dataclass(frozen=True, kw_only=True)
class AdamWSettings(Settings):
    """AdamW, torch's."""

    name: ClassVar[str] = "adamw"

    lr: float = 1e-3
    """Rate at the start."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Memory of the first and second moment, each in [0, 1)."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 0.01
    """Decay of the weights: a step takes lr weight-decay of them away."""

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make torch's AdamW; it has no noise, so `seed` is not used."""
        return torch.optim.AdamW(
            model.parameters(),
            lr=self.lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )


@dataclass(frozen=True, kw_only=True)
class MuonSettings(Settings):
    """Muon for hidden matrices, AdamW for all other weights, at one rate; torch's."""

    name: ClassVar[str] = "muon"

    lr: float = 1e-3
    """Rate at the start; Muon's steps are scaled to the size of AdamW's."""
    momentum: float = 0.95
    """Muon's momentum, in [0, 1)."""
    weight_decay: float = 0.01
    """Decay of the weights: a step takes lr weight-decay of them away."""

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make both; neither has noise, so `seed` is not used."""
        return MuonWithAdamW(
            model, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )


@dataclass(frozen=True, kw_only=True)
class _Averaged:
    """What a moving average adds to an optimizer's settings."""

    decay: float = 0.99
    """Weight of what was in the moving average of the weights, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class SGDAverageSettings(_Averaged, Settings):
    """SGD, evaluated at the exponential moving average of its weights; torch's."""

    name: ClassVar[str] = "sgd-ema"

    lr: float = 0.1
    """Rate at the start."""
    momentum: float = 0.9
    """Nesterov's momentum, in (0, 1)."""
    weight_decay: float = 0.0
    """L2 penalty."""

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make torch's SGD with its average; `seed` is not used."""
        inner = torch.optim.SGD(
            model.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            nesterov=True,
            weight_decay=self.weight_decay,
            fused=True,
        )
        return MovingAverage(inner, self.decay)


@dataclass(frozen=True, kw_only=True)
class AdamWAverageSettings(_Averaged, AdamWSettings):
    """AdamW, evaluated at the exponential moving average of its weights; torch's."""

    name: ClassVar[str] = "adamw-ema"

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make torch's AdamW with its average; `seed` is not used."""
        return MovingAverage(super().build(model, seed), self.decay)


@dataclass(frozen=True, kw_only=True)
class MuonAverageSettings(_Averaged, MuonSettings):
    """Muon with AdamW, evaluated at the exponential moving average of its weights; torch's."""

    name: ClassVar[str] = "muon-ema"

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make both with their average; `seed` is not used."""
        return MovingAverage(super().build(model, seed), self.decay)


@dataclass(frozen=True, kw_only=True)
class ScheduleFreeSGDSettings(Settings):
    """Schedule-Free SGD (Defazio et al., 2024), evaluated at its average; for a constant lr."""

    name: ClassVar[str] = "schedule-free-sgd"

    lr: float = 1.0
    """Rate."""
    momentum: float = 0.9
    """Share of the average in the point where the gradient is taken, in (0, 1)."""
    weight_decay: float = 0.0
    """L2 penalty."""
    warmup_steps: int = 0
    """Steps over which the rate grows from 0."""

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make schedulefree's SGDScheduleFree; `seed` is not used."""
        return _training(
            _peer("schedulefree", self.name).SGDScheduleFree(
                model.parameters(),
                lr=self.lr,
                momentum=self.momentum,
                weight_decay=self.weight_decay,
                warmup_steps=self.warmup_steps,
            )
        )


@dataclass(frozen=True, kw_only=True)
class ScheduleFreeAdamWSettings(Settings):
    """Schedule-Free AdamW (Defazio et al., 2024), evaluated at its average; for a constant lr."""

    name: ClassVar[str] = "schedule-free-adamw"

    lr: float = 2.5e-3
    """Rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Share of the average in the point where the gradient is taken; memory of the squares."""
    weight_decay: float = 0.0
    """Decay of the weights."""
    warmup_steps: int = 0
    """Steps over which the rate grows from 0."""

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make schedulefree's AdamWScheduleFree; `seed` is not used."""
        return _training(
            _peer("schedulefree", self.name).AdamWScheduleFree(
                model.parameters(),
                lr=self.lr,
                betas=self.betas,
                weight_decay=self.weight_decay,
                warmup_steps=self.warmup_steps,
            )
        )


def _training(optimizer: Any) -> Optimizer:
    """Switch a Schedule-Free optimizer to training, which it refuses to step without."""
    optimizer.train()
    made: Optimizer = optimizer
    return made


@dataclass(frozen=True, kw_only=True)
class SAMSGDSettings(Settings):
    """Sharpness-aware minimisation (Foret et al., 2021) with SGD: two gradients a step."""

    name: ClassVar[str] = "sam-sgd"
    gradients_per_step: ClassVar[int] = 2

    lr: float = 0.1
    """Rate at the start."""
    rho: float = 0.05
    """Length of the step uphill before the second gradient."""
    momentum: float = 0.9
    """Nesterov's momentum, in (0, 1)."""
    weight_decay: float = 0.0
    """L2 penalty."""

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make pytorch_optimizer's SAM around torch's SGD; `seed` is not used."""
        made: Optimizer = _peer("pytorch_optimizer", self.name).SAM(
            model.parameters(),
            torch.optim.SGD,
            rho=self.rho,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=True,
            weight_decay=self.weight_decay,
        )
        return made


@dataclass(frozen=True, kw_only=True)
class SAMAdamWSettings(AdamWSettings):
    """Sharpness-aware minimisation (Foret et al., 2021) with AdamW: two gradients a step."""

    name: ClassVar[str] = "sam-adamw"
    gradients_per_step: ClassVar[int] = 2

    rho: float = 0.05
    """Length of the step uphill before the second gradient."""

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make pytorch_optimizer's SAM around torch's AdamW; `seed` is not used."""
        made: Optimizer = _peer("pytorch_optimizer", self.name).SAM(
            model.parameters(),
            torch.optim.AdamW,
            rho=self.rho,
            lr=self.lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
        )
        return made


@dataclass(frozen=True, kw_only=True)
class LookaheadSettings(AdamWSettings):
    """Lookahead (Zhang et al., 2019) around AdamW, evaluated at the slow weights."""

    name: ClassVar[str] = "lookahead-adamw"

    k: int = 5
    """Steps between two moves of the slow weights."""
    alpha: float = 0.5
    """How far the slow weights go towards the fast ones, in (0, 1]."""

    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make pytorch_optimizer's Lookahead around torch's AdamW; `seed` is not used."""
        made: Optimizer = _peer("pytorch_optimizer", self.name).Lookahead(
            super().build(model, seed), k=self.k, alpha=self.alpha
        )
        return made


PeerSettings = (
    AdamWSettings
    | MuonSettings
    | SGDAverageSettings
    | AdamWAverageSettings
    | MuonAverageSettings
    | ScheduleFreeSGDSettings
    | ScheduleFreeAdamWSettings
    | SAMSGDSettings
    | SAMAdamWSettings
    | LookaheadSettings
)
