"""What the settings of every optimizer have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn
from torch.optim import Optimizer


class Settings(ABC):
    """Settings of an optimizer: how it is built, and how its rates follow a run's schedules."""

    name: ClassVar[str]
    """Names it on the command line and in the folder of a run."""
    gradients_per_step: ClassVar[int] = 1
    """Gradient evaluations in a step. Where it is two, `step` takes a closure for the second."""

    lr: float
    """Rate at the start."""

    @abstractmethod
    def build(self, model: nn.Module, seed: int) -> Optimizer:
        """Make the optimizer of all weights of `model`, its noise, if any, keyed by `seed`."""

    def set_rates(self, optimizer: Optimizer, factor: float, walk_factor: float) -> None:
        """Set the rates of the next step: those at the start times what the schedules say."""
        for group in optimizer.param_groups:
            group["lr"] = self.lr * factor
