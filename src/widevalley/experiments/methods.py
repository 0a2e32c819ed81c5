"""The methods of a tournament: how a run is set up for each, and what of it is tuned where.

A new method is one row of `METHODS`, with the settings that build it (training/optimizers.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from widevalley.training import (
    AdamWAverageSettings,
    AdamWSettings,
    EntropyAdamSettings,
    EntropySGDSettings,
    HardenedAdamWSettings,
    LocalEntropyAdamWAverageSettings,
    LocalEntropyAdamWSettings,
    LocalEntropyMuonAverageSettings,
    LocalEntropyMuonSettings,
    LookaheadSettings,
    MuonAverageSettings,
    MuonSettings,
    OptimizerSettings,
    RoundedAdamWSettings,
    SAMAdamWSettings,
    SAMSGDSettings,
    ScheduleFreeAdamWSettings,
    ScheduleFreeSGDSettings,
    SGDAverageSettings,
    SGDSettings,
    SmoothedAdamWSettings,
)

Scale = Literal["log", "linear", "log of 1 - x", "one of"]


def as_flag(field: str) -> str:
    """A dotted field as it stands on the command line, short."""
    return field.removeprefix("optimizer.").replace("_", "-")


@dataclass(frozen=True)
class Parameter:
    """A setting that is tuned: its dotted field, and where it is looked for."""

    field: str
    scale: Scale
    values: tuple[float, ...]
    """Lowest and highest value, ends included; of the scale "one of", all that are allowed."""

    def __str__(self) -> str:
        name = as_flag(self.field)
        if self.scale == "one of":
            return f"{name} {', '.join(f'{value:g}' for value in self.values)}"
        low, high = self.values
        return f"{name} {low:g} to {high:g} ({self.scale})"


@dataclass(frozen=True)
class Method:
    """A row of a tournament."""

    settings: OptimizerSettings
    """What is not tuned."""
    space: tuple[Parameter, ...]
    anneals: Literal["schedule", "walk_schedule", ""] = "schedule"
    """Which rate follows the task's schedule, the others staying constant; none where empty."""
    smooths: float = 1.0
    """Share of a run, its last part, in which gradients are taken beside the weights."""

    @property
    def name(self) -> str:
        """Names it on the command line."""
        return self.settings.name


def _log(name: str, low: float, high: float) -> Parameter:
    return Parameter(f"optimizer.{name}", "log", (low, high))


def _linear(name: str, low: float, high: float) -> Parameter:
    return Parameter(f"optimizer.{name}", "linear", (low, high))


def _one_of(name: str, *values: float) -> Parameter:
    return Parameter(f"optimizer.{name}", "one of", values)


_SGD = (_log("lr", 1e-3, 1.0), _log("weight_decay", 1e-6, 1e-2))
_ADAMW = (_log("lr", 1e-4, 3e-2), _log("weight_decay", 1e-3, 1.0))
_AVERAGE = (Parameter("optimizer.decay", "log of 1 - x", (0.9, 0.999)),)
_RHO = (_log("rho", 0.01, 0.5),)
_WALK = (_one_of("langevin_steps", 5, 10, 20),)
_INNER = (_log("langevin_lr", 1e-4, 3e-2), _log("weight_decay", 1e-3, 1.0))
_READOUT = (Parameter("optimizer.readout", "log of 1 - x", (0.5, 0.99)),)
_OUTER = (_linear("lr", 0.4, 1.0), _linear("momentum", 0.0, 0.6))

METHODS: dict[str, Method] = {
    row.name: row
    for row in (
        Method(SGDSettings(), _SGD),
        Method(SGDAverageSettings(), (*_SGD, *_AVERAGE)),
        Method(
            ScheduleFreeSGDSettings(warmup_steps=50),
            (_log("lr", 1e-2, 10.0), _log("weight_decay", 1e-6, 1e-2)),
            anneals="",
        ),
        Method(SAMSGDSettings(), (*_SGD, *_RHO)),
        Method(
            EntropySGDSettings(),
            (
                _log("langevin_lr", 1e-3, 1.0),
                _log("weight_decay", 1e-6, 1e-2),
                _log("gamma", 1e-4, 1.0),
                *_WALK,
            ),
        ),
        Method(AdamWSettings(), _ADAMW),
        Method(AdamWAverageSettings(), (*_ADAMW, *_AVERAGE)),
        Method(ScheduleFreeAdamWSettings(warmup_steps=50), _ADAMW, anneals=""),
        Method(SAMAdamWSettings(), (*_ADAMW, *_RHO)),
        Method(LookaheadSettings(), (*_ADAMW, _one_of("k", 5, 10, 20), _linear("alpha", 0.3, 1.0))),
        Method(
            EntropyAdamSettings(),
            (
                _log("lr", 1e-4, 3e-2),
                _log("langevin_lr", 1e-3, 1.0),
                _log("weight_decay", 1e-6, 1e-2),
                *_WALK,
            ),
        ),
        Method(LocalEntropyAdamWSettings(), (*_INNER, *_WALK, *_OUTER), anneals="walk_schedule"),
        Method(
            SmoothedAdamWSettings(),
            (*_INNER, _log("smoothing", 0.01, 0.5), *_READOUT),
            anneals="walk_schedule",
        ),
        Method(
            HardenedAdamWSettings(),
            (*_INNER, _log("smoothing", 0.01, 0.5), *_READOUT),
            anneals="walk_schedule",
            smooths=0.2,
        ),
        Method(RoundedAdamWSettings(), (*_INNER, *_READOUT), anneals="walk_schedule", smooths=0.2),
        Method(MuonSettings(), _ADAMW),
        Method(MuonAverageSettings(), (*_ADAMW, *_AVERAGE)),
        Method(LocalEntropyMuonSettings(), (*_INNER, *_WALK, *_OUTER), anneals="walk_schedule"),
        Method(
            LocalEntropyAdamWAverageSettings(),
            (*_INNER, _linear("momentum", 0.0, 0.6), *_READOUT),
            anneals="walk_schedule",
        ),
        Method(
            LocalEntropyMuonAverageSettings(),
            (*_INNER, _linear("momentum", 0.0, 0.6), *_READOUT),
            anneals="walk_schedule",
        ),
    )
}
"""By name. What a range leaves out was thought useless before the first run; see `Parameter`."""
