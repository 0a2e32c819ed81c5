"""How to run: settings, the loop, checkpoints, and the folder of a run."""

from widevalley.training.config import RunConfig
from widevalley.training.folder import Record, RunBusy, RunConflict, RunFolder
from widevalley.training.interrupt import Interrupted
from widevalley.training.optimizers import (
    AdamSettings,
    EntropyAdamSettings,
    EntropySGDSettings,
    OptimizerSettings,
    SGDSettings,
    SGLDSettings,
)
from widevalley.training.progress import Bars, RunProgress
from widevalley.training.runner import Diverged, run
from widevalley.training.task import Task

__all__ = [
    "AdamSettings",
    "Bars",
    "Diverged",
    "EntropyAdamSettings",
    "EntropySGDSettings",
    "Interrupted",
    "OptimizerSettings",
    "Record",
    "RunBusy",
    "RunConfig",
    "RunConflict",
    "RunFolder",
    "RunProgress",
    "SGDSettings",
    "SGLDSettings",
    "Task",
    "run",
]
