"""What the settings of every optimizer have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer

from widevalley.optim import gradient_point


class Settings(ABC):
    """Settings of an optimizer: how it is built, and how its rates follow a run's schedules."""

    name: ClassVar[str]
    """Names it on the command line and in the folder of a run."""
    gradients_per_step: ClassVar[int] = 1
    """Gradient evaluations in a step. Where it is two, `step` takes a closure for the second."""
    walks: ClassVar[bool] = False
    """Whether it walks around an anchor, and `build` takes a process group."""

    lr: float
    """Rate at the start."""

    @abstractmethod
    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make the optimizer of all weights of `model`, its noise, if any, keyed by `seed`."""

    def set_rates(self, optimizer: Optimizer, factor: float, walk_factor: float) -> None:
        """Set the rates of the next step: those at the start times what the schedules say."""
        for group in optimizer.param_groups:
            group["lr"] = self.lr * factor


@dataclass(frozen=True, kw_only=True)
class WalkSettings(Settings):
    """What every walk around an anchor has."""

    walks: ClassVar[bool] = True

    langevin_steps: int = 20
    """L, gradient evaluations in a walk (one anchor update each)."""
    noise_free_mean: bool = False
    """Average the walk less what its noise alone would have made of it."""
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

    @abstractmethod
    def build(
        self, model: nn.Module, seed: int, process_group: dist.ProcessGroup | None = None
    ) -> Optimizer:
        """Make the optimizer, its walks averaged over the processes of a group, if given."""

    def gradient_point(self) -> gradient_point.GradientPoint | None:
        """Where the gradient is taken; None at the walker."""
        if self.rounding and self.smoothing:
            raise ValueError(f"smoothing={self.smoothing}: must be 0 where weights are rounded")
        if self.rounding:
            return gradient_point.Rounding(self.rounding, start=self.rounding_start)
        if self.smoothing:
            return gradient_point.Smoothing(self.smoothing, start=self.smoothing_start)
        return None
