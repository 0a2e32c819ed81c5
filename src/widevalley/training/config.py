"""Everything that decides a run's outcome, besides its recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from widevalley.training.optimizers import OptimizerSettings
from widevalley.training.ranges import Range, check_ranges

RateSchedule = Literal["constant", "cosine", "linear", "inverse-power", "step"]
Precision = Literal["auto", "32-true", "bf16-mixed"]
Device = Literal["auto", "cpu", "cuda"]
Sync = Literal["walk", "step"]

NO_LONGER = {"momentum_on_all": False, "scale_by_gamma": False, "convention": "paper"}
"""Settings of an optimizer that older runs name, each at the value that is now the only one."""


RANGES: tuple[Range, ...] = (
    ("above 0", ("epochs", "evaluate_every"), lambda v: v > 0),
    ("at least 1", ("batch_size", "window", "workers"), lambda v: v >= 1),
    (
        "at least 0",
        (
            *("schedule_power", "schedule_from", "schedule_every", "clip"),
            *("holdout", "checkpoint_every", "threads"),
        ),
        lambda v: v >= 0,
    ),
    ("in (0, 1]", ("schedule_factor",), lambda v: 0 < v <= 1),
    ("in [0, 1)", ("dropout", "input_dropout"), lambda v: 0 <= v < 1),
    ("from 0 to 2^32 - 1", ("seed",), lambda v: 0 <= v < 2**32),
)
"""What is allowed, in words and as a test, of each setting that has a range."""


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
    """Samples in a gradient evaluation; of a text, the columns it is read in side by side."""
    schedule: RateSchedule = "cosine"
    """Fall of the optimizer's lr over the run; inverse-power is lr / (1 + gradients)^power, and
    step drops at times of its own."""
    schedule_power: float = 0.25
    """Power of the inverse-power schedule; no other reads it."""
    schedule_factor: float = 0.1
    """What the step schedule multiplies lr by at each of its drops, in (0, 1]."""
    schedule_from: float = 0.0
    """Epochs before the first drop of the step schedule."""
    schedule_every: float = 0.0
    """Epochs from one drop of the step schedule to the next; 0 leaves it at the first."""
    walk_schedule: RateSchedule = "constant"
    """Fall of langevin-lr, the rate of a walk, over the run; no optimizer without one reads it."""
    clip: float = 0.0
    """Largest norm of a gradient, over all weights; larger ones are scaled down; 0 is no limit."""
    window: int = 35
    """Tokens a recurrent network is unrolled over in a gradient; no other network reads it."""
    dropout: float = 0.0
    """Share of hidden units dropped while training, in [0, 1)."""
    input_dropout: float = 0.0
    """Share of inputs dropped while training, in [0, 1)."""
    seed: int = 0
    """Keys initial weights, order of samples, dropout and thermal noise."""
    holdout: int = 0
    """Training samples set apart to evaluate on instead of the test set; 0 uses the test set. A
    text has validation tokens of its own, and 0 alone is allowed."""
    evaluate_every: float = 1.0
    """Epochs between evaluations; may change when a run goes on."""
    checkpoint_every: float = 30.0
    """Seconds between checkpoints; may change when a run goes on."""
    device: Device = "auto"
    """Where to compute; auto takes cuda where there is one."""
    precision: Precision = "auto"
    """float32 throughout, or bfloat16 autocast; auto takes what is faster for the recipe here."""
    threads: int = 0
    """Threads on the processor; 0 leaves it to torch."""
    workers: int = 1
    """Processes that train the run together, each on its share of every batch; may change when a
    run goes on."""
    sync: Sync = "walk"
    """What workers average: walk, the means of their walks, each at its end; step, every
    gradient, as data-parallel training does."""

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)
        if self.batch_size % self.workers:
            raise ValueError(
                f"batch_size={self.batch_size}: must be a multiple of workers, {self.workers}, "
                "which share it"
            )
        if self.workers > 1 and self.sync == "walk" and not self.optimizer.walks:
            raise ValueError(
                f"sync=walk: must be step for {self.optimizer.name}, which does not walk"
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain nested values for JSON, the optimizer's name among its settings."""
        plain = asdict(self)
        plain["optimizer"] = {"name": self.optimizer.name, **plain["optimizer"]}
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> RunConfig:
        """What `as_dict` gave, other keys left aside; lists become tuples, as JSON has none.

        Raises ValueError for an unknown optimizer.
        """
        # The folder of a run has the recipe's name beside the settings.
        own = {field.name for field in fields(cls)}
        chosen = dict(plain.get("optimizer", {}))
        name = chosen.pop("name", None)
        kinds = {kind.name: kind for kind in get_args(OptimizerSettings)}
        if name not in kinds:
            raise ValueError(f"optimizer {name!r}: must be one of {', '.join(kinds)}")
        for setting, value in NO_LONGER.items():
            if chosen.pop(setting, value) != value:
                raise ValueError(
                    f"optimizer setting {setting} must be {value!r}, the only one left"
                )
        lists = {k: tuple(v) for k, v in chosen.items() if isinstance(v, list)}
        try:
            optimizer = kinds[name](**chosen | lists)
            return cls(**{k: v for k, v in plain.items() if k in own} | {"optimizer": optimizer})
        except TypeError as error:  # a field there is not, or text for a number
            raise ValueError(f"settings of a run of {name}: {error}") from error
