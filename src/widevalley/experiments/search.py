"""Tuning: trials over a written search space, drawn by Optuna, each cached as a run folder.

The study lives in a journal file, which several processes and machines may share. A trial whose
process was killed is taken over by the next that looks, and goes on from its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from widevalley.experiments.methods import Method, Parameter
from widevalley.training import RunBusy

if TYPE_CHECKING:
    import optuna

STARTUP = 8
"""Trials drawn at random before the sampler models what came of them."""
DIGITS = 3
"""Significant digits of a value tried, so that a trial's folder has a readable name."""

Point = dict[str, Any]
"""Values by dotted field name."""


class Study:
    """The trials of one method."""

    def __init__(self, method: Method, root: Path) -> None:
        import optuna  # takes a second to import
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._method = method
        root.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(root / ".ask.lock")
        backend = JournalFileBackend(str(root / "study.journal"))
        with self._lock:
            self._study = optuna.create_study(
                storage=optuna.storages.JournalStorage(backend),
                study_name=method.name,
                load_if_exists=True,
            )

    def run(self, trials: int, evaluate: Callable[[Point], float]) -> None:
        """Make trials until there are as many, another process's among them.

        `evaluate` returns what is to be small, infinite where a run diverged, or raises RunBusy
        where another process is at that run: then it is left to it.
        """
        for begun in self._running():
            self._try(begun, evaluate)
        while new := self._ask(trials):
            self._try(new, evaluate)

    def _ask(self, trials: int) -> optuna.trial.FrozenTrial | None:
        """A new trial, unless there are enough; its number decides what the sampler draws."""
        import optuna

        with self._lock:
            number = len(self._study.trials)
            if number >= trials:
                return None
            self._study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=number)
            trial = self._study.ask({one.field: _distribution(one) for one in self._method.space})
            return self._study.trials[trial.number]

    def _try(self, trial: optuna.trial.FrozenTrial, evaluate: Callable[[Point], float]) -> None:
        try:
            value = evaluate(point_of(self._method, trial.params))
        except RunBusy:
            return
        self._study.tell(trial.number, value, skip_if_finished=True)

    def _running(self) -> list[optuna.trial.FrozenTrial]:
        import optuna

        return self._study.get_trials(states=(optuna.trial.TrialState.RUNNING,))

    @property
    def complete(self) -> bool:
        """Whether no trial is under way."""
        return not self._running()

    @property
    def best(self) -> Point:
        """The point of the best trial; the first of equals."""
        return point_of(self._method, self._study.best_trial.params)


def _distribution(one: Parameter) -> optuna.distributions.BaseDistribution:
    import optuna

    if one.scale == "one of":
        return optuna.distributions.CategoricalDistribution(one.values)
    low, high = one.values
    if one.scale == "log of 1 - x":
        low, high = 1 - high, 1 - low
    return optuna.distributions.FloatDistribution(low, high, log=one.scale != "linear")


def point_of(method: Method, drawn: Mapping[str, Any]) -> Point:
    """What the sampler drew, as values of the method's settings, to `DIGITS` digits."""
    return {one.field: _value(one, drawn[one.field]) for one in method.space}


def _value(one: Parameter, drawn: float) -> float:
    if one.scale == "one of":
        return drawn
    rounded = float(f"{drawn:.{DIGITS}g}")
    return round(1 - rounded, 12) if one.scale == "log of 1 - x" else rounded
