"""One run from its first step, or its last checkpoint, to its end."""

from __future__ import annotations

import json
import math
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from widevalley.training.config import RunConfig
from widevalley.training.environment import environment_facts
from widevalley.training.folder import Record, RunFolder
from widevalley.training.hardware import as_begun, resolve
from widevalley.training.interrupt import Interrupted, InterruptFlag
from widevalley.training.loop import Loop
from widevalley.training.memory import peak_bytes, reset_peak, tensor_bytes
from widevalley.training.progress import RunProgress
from widevalley.training.task import Task
from widevalley.training.workers import Workers

TICK = 0.1
"""Seconds between looks at the clock for progress and checkpoints."""


class Diverged(RuntimeError):
    """A loss or weight is NaN or infinite; the message names the steps and the settings."""


def run(
    task: Task,
    config: RunConfig,
    path: Path,
    *,
    progress: RunProgress | None = None,
    command: str = "",
) -> RunFolder:
    """Train to the end and return the run's folder; a finished run is left as it is.

    A run that was killed goes on from its last checkpoint and ends with the same weights and
    metrics (but for the seconds) as one that was not. What the settings leave to the machine is as
    the run was begun with. `command` is written to environment.json.

    Raises:
        RunConflict: `path` has a run of other settings.
        RunBusy: another process is at this run.
        Diverged: a loss or weight became NaN or infinite; the last good checkpoint stays.
        Interrupted: Ctrl-C; a checkpoint has been written.
    """
    workers = Workers.join(config.workers)
    config, settings, finished = workers.first(lambda: _prepared(task, config, RunFolder(path)))
    folder = RunFolder(path)
    if not finished:
        loop = Loop(task, config, workers)  # before the folder: bad settings leave nothing on disk
        mine = workers.folder(folder)
        with ExitStack() as held, InterruptFlag() as interrupt:
            workers.first(lambda: held.enter_context(folder.locked()))
            if workers.first(lambda: folder.finished):  # by another process meanwhile
                return folder
            facts = {**environment_facts(loop.fabric.device), "command": command}
            workers.first(lambda: folder.start(settings, facts))
            _Run(loop, config, mine, progress or RunProgress()).train(interrupt)
        if interrupt.raised:  # amid the last evaluation; what comes after this run must not begin
            raise Interrupted(f"stopped with this run at its end ({path})")
    return folder


def _prepared(
    task: Task, config: RunConfig, folder: RunFolder
) -> tuple[RunConfig, dict[str, Any], bool]:
    """The settings of a run as it goes on or begins, as its folder has them, whether it is done."""
    finished = folder.finished
    if folder.begun:
        config = as_begun(config, folder.config)
    # A finished run is compared as it was begun, also on a machine that has no such device.
    if not finished:
        config = resolve(config, prefers_bf16=task.prefers_bf16)
    settings = {"recipe": task.name, **config.as_dict()}
    folder.check(settings)
    return config, settings, finished


def restore(folder: RunFolder, task: Task) -> Loop:
    """The run of a folder as its last checkpoint left it, on the device there is here.

    Raises FileNotFoundError where the folder has no checkpoint.
    """
    config = replace(RunConfig.from_dict(folder.config), device="auto", workers=1)
    loop = Loop(task, resolve(config, prefers_bf16=task.prefers_bf16))
    _load(loop, folder, folder.checkpoint())
    return loop


def _load(loop: Loop, folder: RunFolder, state: dict[str, Any]) -> None:
    """Raises ValueError naming the folder, where its settings are not those of its checkpoint."""
    try:
        loop.load_state_dict(state)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{folder.path}: its checkpoint is of other settings: {error}") from error


class _Run:
    def __init__(
        self, loop: Loop, config: RunConfig, folder: RunFolder, progress: RunProgress
    ) -> None:
        self.loop, self.config, self.folder, self.progress = loop, config, folder, progress
        self.workers = loop.workers
        state = self.workers.own(folder.resume())
        if state:
            _load(self.loop, folder, state)
        batches = min(config.evaluate_every * self.loop.batches, self.loop.total)
        self.evaluate_every = max(1, round(batches / self.loop.per_step)) * self.loop.per_step
        self.last_finite = self.loop.gradients
        """Gradients after which loss and weights were last seen to be finite."""
        self.started = time.monotonic() - (state["seconds"] if state else 0.0)

    def train(self, interrupt: InterruptFlag) -> None:
        loop = self.loop
        reset_peak(loop.fabric.device)
        self.progress.start(loop.gradients, loop.total)
        # By the clock, as networks differ in what a step costs.
        next_tick = time.monotonic() + TICK
        next_checkpoint = time.monotonic() + self.config.checkpoint_every
        while loop.gradients < loop.total:
            try:
                loop.step()
            except FloatingPointError as error:  # a walk has, and so has a loss
                raise self.diverged() from error
            if loop.gradients % self.evaluate_every == 0 and loop.gradients < loop.total:
                self.record(self.workers.first(loop.evaluate))
            now = time.monotonic()
            if now >= next_tick:
                self.progress.update(loop.gradients)
                next_tick = now + TICK
            if self.workers.count > 1 and not loop.between_walks:
                continue
            stop = interrupt.raised or self.workers.orphaned
            save, stop = self.workers.any(now >= next_checkpoint, stop)
            if save or stop:
                self.checkpoint()
                next_checkpoint = time.monotonic() + self.config.checkpoint_every
            if stop:
                done = f"{loop.gradients:,} of {loop.total:,} gradients"
                raise Interrupted(
                    f"stopped at {done}; the same command goes on ({self.folder.path})"
                )
        # In this order: a run killed between the two evaluates again, and one whose last record
        # says it is finished has its last checkpoint.
        self.checkpoint()
        state_bytes = tensor_bytes(loop.optimizer.state_dict())
        metrics = self.workers.first(lambda: loop.evaluate(final=True))
        self.record(metrics | {"state_bytes": state_bytes, "final": True})
        # The others go on when it is written, for what comes next reads it.
        self.workers.first(lambda: self.folder.note_memory(peak_bytes(loop.fabric.device)))

    def record(self, metrics: Record) -> None:
        """Add a record of the steps since the last one."""
        loop = self.loop
        train_loss = self.workers.mean(loop.pop_mean_loss())
        if not all(map(math.isfinite, (train_loss, *metrics.values()))):
            raise self.diverged()
        scope = getattr(loop.optimizer, "scope", None)
        record: Record = {
            "gradients": loop.gradients,
            "epoch": round(loop.epoch, 6),
            "train_loss": train_loss,
            **metrics,
            "lr": loop.lr,
            "gamma": float(scope()) if scope else None,
            "seconds": round(time.monotonic() - self.started, 3),
        }
        self.folder.append({name: value for name, value in record.items() if value is not None})
        self.progress.record(record)
        self.last_finite = loop.gradients

    def checkpoint(self) -> None:
        """Write a checkpoint, of a state that is finite: the last good one is never replaced."""
        if any(self.workers.any(not self.loop.finite())):
            raise self.diverged()
        self.last_finite = self.loop.gradients
        state: dict[str, Any] = self.loop.state_dict()
        state["seconds"] = time.monotonic() - self.started
        if self.workers.count > 1:
            state = self.workers.gathered(state, self.loop.own_part(state))
        self.folder.save_checkpoint(state)

    def diverged(self) -> Diverged:
        """Record it in the folder, and make the error that says so."""
        self.folder.record_divergence(self.loop.gradients)
        first, last = self.last_finite + 1, self.loop.gradients
        settings = json.dumps(self.config.as_dict()["optimizer"])
        checkpoint = self.folder.path / "checkpoint.pt"
        good = f"the last good checkpoint is {checkpoint}"
        return Diverged(
            f"{self.folder.path}: the loss is no longer finite after steps {first:,} to {last:,} "
            f"(lr {self.loop.lr:.3g} by then; {settings}); a smaller lr may help; "
            + (good if checkpoint.exists() else "no checkpoint yet")
        )
