"""Everything that decides a run's outcome, besides its recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from widevalley.training.optimizers import OptimizerSettings

Schedule = Literal["constant", "cosine", "linear", "inverse-power"]
Precision = Literal["auto", "32-true", "bf16-mixed"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Settings of one run; the shown defaults are those tuned for its recipe and optimizer.

    Raises ValueError naming the field, its value and what is allowed.
    """

    optimizer: OptimizerSettings
    """The optimizer and its settings."""
    epochs: float = 20.0
    """Effective epochs: gradient evaluations / full batches in the training set."""
    batch_size: int = 128
    """Samples in a gradient evaluation."""
    schedule: Schedule = "cosine"
    """Fall of the optimizer's lr over the run; inverse-power is lr / (1 + gradients)^power."""
    schedule_power: float = 0.25
    """Power of the inverse-power schedules; no other reads it."""
    walk_schedule: Schedule = "constant"
    """Fall of langevin-lr, the rate of a walk, over the run; no optimizer without one reads it."""
    dropout: float = 0.0
    """Share of hidden units dropped while training, in [0, 1)."""
    input_dropout: float = 0.0
    """Share of inputs dropped while training, in [0, 1)."""
    seed: int = 0
    """Keys initial weights, order of samples, dropout and thermal noise."""
    holdout: int = 0
    """Training samples set apart to judge by instead of the test set; 0 uses the test set."""
    evaluate_every: float = 1.0
    """Epochs between evaluations."""
    checkpoint_every: float = 30.0
    """Seconds between checkpoints; the one field that may change when a run goes on."""
    device: Device = "auto"
    """Where to compute; auto takes cuda where there is one."""
    precision: Precision = "auto"
    """float32 throughout, or bfloat16 autocast; auto takes what is faster for the recipe here."""
    threads: int = 0
    """Threads on the processor; 0 leaves it to torch."""

    def __post_init__(self) -> None:
        _require("epochs", self.epochs, self.epochs > 0, "above 0")
        _require("batch_size", self.batch_size, self.batch_size >= 1, "at least 1")
        _require("schedule_power", self.schedule_power, self.schedule_power >= 0, "at least 0")
        _require("dropout", self.dropout, 0 <= self.dropout < 1, "in [0, 1)")
        _require("input_dropout", self.input_dropout, 0 <= self.input_dropout < 1, "in [0, 1)")
        _require("seed", self.seed, 0 <= self.seed < 2**32, "from 0 to 2^32 - 1")
        _require("holdout", self.holdout, self.holdout >= 0, "at least 0")
        _require("evaluate_every", self.evaluate_every, self.evaluate_every > 0, "above 0")
        _require(
            "checkpoint_every", self.checkpoint_every, self.checkpoint_every >= 0, "at least 0"
        )
        _require("threads", self.threads, self.threads >= 0, "at least 0")

    def as_dict(self) -> dict[str, Any]:
        """Plain nested values for JSON, the optimizer's name among its settings."""
        plain = asdict(self)
        plain["optimizer"] = {"name": self.optimizer.name, **plain["optimizer"]}
        return plain


def _require(name: str, value: float, fits: bool, allowed: str) -> None:
    if not fits:
        raise ValueError(f"{name}={value}: must be {allowed}")
