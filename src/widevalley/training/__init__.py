"""How to run: settings, the loop, checkpoints, and the folder of a run."""

from widevalley.training.classification import Classification
from widevalley.training.config import RateSchedule, RunConfig
from widevalley.training.context import CharacterWindows
from widevalley.training.entropy_sgld import EntropySGLDSettings
from widevalley.training.environment import environment_facts
from widevalley.training.feed import Feed
from widevalley.training.folder import Record, RunBusy, RunConflict, RunFolder, differing
from widevalley.training.interrupt import Interrupted
from widevalley.training.local_entropies import (
    HardenedAdamWSettings,
    LocalEntropyAdamWAverageSettings,
    LocalEntropyAdamWSettings,
    LocalEntropyMuonAverageSettings,
    LocalEntropyMuonSettings,
    RoundedAdamWSettings,
    SmoothedAdamWSettings,
)
from widevalley.training.loop import Loop
from widevalley.training.memory import peak_bytes
from widevalley.training.metrics import Metric, metric_of, result_of, split_of
from widevalley.training.optimizers import (
    AdamSettings,
    EntropyAdamSettings,
    EntropySGDSettings,
    OptimizerSettings,
    SGDSettings,
    SGLDSettings,
)
from widevalley.training.peers import (
    AdamWAverageSettings,
    AdamWSettings,
    LookaheadSettings,
    MuonAverageSettings,
    MuonSettings,
    SAMAdamWSettings,
    SAMSGDSettings,
    ScheduleFreeAdamWSettings,
    ScheduleFreeSGDSettings,
    SGDAverageSettings,
)
from widevalley.training.progress import Bars, RunProgress, summary
from widevalley.training.ranges import Range, check_ranges
from widevalley.training.runner import Diverged, restore, run
from widevalley.training.sequences import Characters, Words
from widevalley.training.task import Task
from widevalley.training.workers import (
    RUN_ID,
    FirstFailed,
    WorkerFailed,
    launched_here,
    started,
)

__all__ = [
    "RUN_ID",
    "AdamSettings",
    "AdamWAverageSettings",
    "AdamWSettings",
    "Bars",
    "CharacterWindows",
    "Characters",
    "Classification",
    "Diverged",
    "EntropyAdamSettings",
    "EntropySGDSettings",
    "EntropySGLDSettings",
    "Feed",
    "FirstFailed",
    "HardenedAdamWSettings",
    "Interrupted",
    "LocalEntropyAdamWAverageSettings",
    "LocalEntropyAdamWSettings",
    "LocalEntropyMuonAverageSettings",
    "LocalEntropyMuonSettings",
    "LookaheadSettings",
    "Loop",
    "Metric",
    "MuonAverageSettings",
    "MuonSettings",
    "OptimizerSettings",
    "Range",
    "RateSchedule",
    "Record",
    "RoundedAdamWSettings",
    "RunBusy",
    "RunConfig",
    "RunConflict",
    "RunFolder",
    "RunProgress",
    "SAMAdamWSettings",
    "SAMSGDSettings",
    "SGDAverageSettings",
    "SGDSettings",
    "SGLDSettings",
    "ScheduleFreeAdamWSettings",
    "ScheduleFreeSGDSettings",
    "SmoothedAdamWSettings",
    "Task",
    "Words",
    "WorkerFailed",
    "check_ranges",
    "differing",
    "environment_facts",
    "launched_here",
    "metric_of",
    "peak_bytes",
    "restore",
    "result_of",
    "run",
    "split_of",
    "started",
    "summary",
]
