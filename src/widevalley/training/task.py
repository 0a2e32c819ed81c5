"""What is trained, as training sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from widevalley.data import Dataset
from widevalley.training.config import RunConfig


@dataclass(frozen=True)
class Task:
    """A classification problem: its data, and the network that is to solve it."""

    name: str
    """Names the folder of its runs."""
    load: Callable[[], Dataset]
    """The data, in memory."""
    build: Callable[[RunConfig], nn.Module]
    """A freshly initialised network, from torch's global generator."""
    prefers_bf16: bool = False
    """Whether bfloat16 autocast is the faster precision where the hardware has it."""
