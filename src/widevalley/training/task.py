"""What is trained, as training sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from widevalley.data import Corpus, Dataset
from widevalley.training.classification import Classification
from widevalley.training.config import RunConfig
from widevalley.training.feed import Feed


@dataclass(frozen=True)
class Task:
    """A problem: its data, and the network that is to solve it."""

    name: str
    """Names the folder of its runs."""
    load: Callable[[], Dataset | Corpus]
    """The data, in memory."""
    build: Callable[[RunConfig], nn.Module]
    """A freshly initialised network, from torch's global generator."""
    feed: type[Feed] = Classification
    """How the data are fed and evaluated: `Classification`, `Words`, `Characters`,
    `CharacterWindows`."""
    prefers_bf16: bool = False
    """Whether bfloat16 autocast is the faster precision where the hardware has it."""
