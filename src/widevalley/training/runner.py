"""One run from its first step, or its last checkpoint, to its end."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from widevalley.training.config import RunConfig
from widevalley.training.environment import environment
from widevalley.training.folder import Record, RunFolder
from widevalley.training.hardware import as_begun, resolve
from widevalley.training.interrupt import Interrupted, InterruptFlag
from widevalley.training.loop import Loop
from widevalley.training.progress import RunProgress
from widevalley.training.task import Task

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
    the run was begun. `command` is noted in environment.json.

    Raises:
        RunConflict: `path` holds a run of other settings.
        RunBusy: another process is at this run.
        Diverged: a loss or weight became NaN or infinite; the last good checkpoint is kept.
        Interrupted: Ctrl-C; a checkpoint has been written.
    """
    folder = RunFolder(path)
    if folder.begun:
        config = as_begun(config, folder.config)
    if not folder.finished:
        config = resolve(config, prefers_bf16=task.prefers_bf16)
    settings = {"recipe": task.name, **config.as_dict()}
    folder.check(settings)
    if not folder.finished:
        loop = Loop(task, config)  # first of all: bad settings leave nothing on disk
        with folder.held(), InterruptFlag() as interrupt:
            folder.start(settings, {**environment(loop.fabric.device), "command": command})
            _Run(loop, config, folder, progress or RunProgress()).go(interrupt)
    return folder


class _Run:
    def __init__(
        self, loop: Loop, config: RunConfig, folder: RunFolder, progress: RunProgress
    ) -> None:
        self.loop, self.config, self.folder, self.progress = loop, config, folder, progress
        state = folder.resume()
        if state:
            self.loop.load_state_dict(state)
        steps = round(config.evaluate_every * self.loop.batches / self.loop.per_step)
        self.evaluate_every = max(1, steps) * self.loop.per_step
        self.known_good = self.loop.gradients
        self.started = time.monotonic() - (state["seconds"] if state else 0.0)

    def go(self, interrupt: InterruptFlag) -> None:
        loop = self.loop
        self.progress.start(loop.gradients, loop.total)
        next_tick = time.monotonic() + TICK
        next_checkpoint = time.monotonic() + self.config.checkpoint_every
        while loop.gradients < loop.total:
            loop.step()
            if loop.gradients % self.evaluate_every == 0 and loop.gradients < loop.total:
                self.record(loop.judge())
            now = time.monotonic()
            if now >= next_checkpoint:
                self.checkpoint()
                next_checkpoint = time.monotonic() + self.config.checkpoint_every
            if now >= next_tick:
                self.progress.update(loop.gradients)
                next_tick = now + TICK
            if interrupt.raised:
                self.stop()
        self.checkpoint()
        self.record(loop.judge_all() | {"final": True})

    def record(self, judged: Record) -> None:
        """Add a record of the steps since the last one."""
        loop = self.loop
        train_loss = loop.take_loss()
        if not all(map(math.isfinite, (train_loss, *judged.values()))):
            raise self.diverged()
        record: Record = {
            "gradients": loop.gradients,
            "epoch": round(loop.epoch, 6),
            "train_loss": train_loss,
            **judged,
            "lr": loop.lr,
            "gamma": self.scope(),
            "seconds": round(time.monotonic() - self.started, 3),
        }
        self.folder.append({name: value for name, value in record.items() if value is not None})
        self.progress.record(record)
        self.known_good = loop.gradients

    def scope(self) -> float | None:
        """The scope of the walk in progress, where the optimizer has one."""
        scope = getattr(self.loop.optimizer, "scope", None)
        return float(scope()) if scope else None

    def checkpoint(self) -> None:
        """Write a checkpoint of a state known to be good."""
        if not self.loop.finite():
            raise self.diverged()
        self.known_good = self.loop.gradients
        state: dict[str, Any] = self.loop.state_dict()
        self.folder.save_checkpoint(state | {"seconds": time.monotonic() - self.started})

    def stop(self) -> None:
        """Leave a checkpoint and say how to go on."""
        self.checkpoint()
        done = f"{self.loop.gradients:,} of {self.loop.total:,} gradients"
        raise Interrupted(f"stopped at {done}; the same command goes on ({self.folder.path})")

    def diverged(self) -> Diverged:
        """Note it in the folder, and make the error that says so."""
        self.folder.note_divergence(self.loop.gradients)
        first, last = self.known_good + 1, self.loop.gradients
        settings = json.dumps(self.config.as_dict()["optimizer"])
        kept = self.folder.path / "checkpoint.pt"
        return Diverged(
            f"{self.folder.path}: the loss is no longer finite after steps {first:,} to {last:,} "
            f"(lr {self.loop.lr:.3g} by then; {settings}); a smaller lr may help; "
            + (f"the last good checkpoint is {kept}" if kept.exists() else "no checkpoint yet")
        )
