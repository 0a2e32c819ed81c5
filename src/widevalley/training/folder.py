"""The folder of a run: everything about it on disk, and nothing else.

config.json        recipe and settings, all resolved
environment.json   one entry a start: versions, device, commit, command; peak memory at the end
metrics.jsonl      one record a line; the last record of a finished run is marked "final"
checkpoint.pt      the state to go on from
diverged.json      only where the loss ceased to be finite: after how many gradients
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from widevalley._files import atomic_write, remove_partial
from widevalley.training import checkpoint

Record = dict[str, Any]

MAY_CHANGE = frozenset({"checkpoint_every", "evaluate_every", "workers"})
"""Settings that do not decide the outcome of a run, and how many share what is left of it."""

OLDER_DEFAULTS: dict[str, Any] = {
    "walk_schedule": "constant",
    "schedule_factor": 0.1,
    "schedule_from": 0.0,
    "schedule_every": 0.0,
    "clip": 0.0,
    "window": 35,
    "sync": "walk",
}
"""Settings that older runs do not name; what is here is what they did."""


class RunConflict(ValueError):
    """The folder has a run of other settings; the message names them, there and now."""


class RunBusy(RuntimeError):
    """Another process trains this run at the moment; the message names the folder."""


class RunFolder:
    """Reads and writes one run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def begun(self) -> bool:
        """Whether there is a run in it."""
        return (self.path / "config.json").exists()

    @property
    def config(self) -> dict[str, Any]:
        """The settings as nested plain values."""
        file = self.path / "config.json"
        config: dict[str, Any] = _parsed(file, file.read_bytes())
        if not (isinstance(config, dict) and "recipe" in config):
            raise ValueError(f"{file}: not the settings of a run")
        return config

    @property
    def environments(self) -> list[dict[str, Any]]:
        """One entry for each start of the run, oldest first."""
        file = self.path / "environment.json"
        starts: list[dict[str, Any]] = _parsed(file, file.read_bytes()) if file.exists() else []
        return starts

    @property
    def records(self) -> list[Record]:
        """The metrics; a last line that is not whole yet is left out."""
        file = self.path / "metrics.jsonl"
        # A kill amid a write leaves a line without its end.
        lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
        records = [_parsed(file, line) for line in lines if line.endswith(b"\n")]
        if not all(isinstance(record, dict) for record in records):
            raise ValueError(f"{file}: not the metrics of a run")
        return records

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        records = self.records
        return bool(records) and bool(records[-1].get("final"))

    @property
    def diverged(self) -> bool:
        """Whether the loss ceased to be finite when it last ran."""
        return (self.path / "diverged.json").exists()

    def record_divergence(self, gradients: int) -> None:
        """Write that the loss is no longer finite after this many gradients; `start` removes it."""
        _write(self.path / "diverged.json", {"gradients": gradients})

    def check(self, config: dict[str, Any]) -> None:
        """Raise RunConflict where the folder has a run of other settings than `config`."""
        if not self.begun:
            return
        if said := differing(self.config, config):
            raise RunConflict(f"{self.path} holds a run of other settings: {said}")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run against other processes inside the block.

        Raises RunBusy where another one has it. The lock is a hidden file beside the folder.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Beside the folder, which is not there yet when a first run is locked.
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), blocking=False)
        try:
            with lock:
                yield
        except Timeout:
            raise RunBusy(f"{self.path}: another process is at this run") from None

    def start(self, config: dict[str, Any], environment: dict[str, Any]) -> None:
        """Write the settings, and one more start of the run."""
        self.check(config)
        self.path.mkdir(parents=True, exist_ok=True)
        remove_partial(self.path)  # what a kill amid a checkpoint left may be gigabytes
        (self.path / "diverged.json").unlink(missing_ok=True)
        _write(self.path / "config.json", config)
        _write(self.path / "environment.json", [*self.environments, environment])

    def note_memory(self, peak_bytes: int) -> None:
        """Note the most memory that the present start of the run took."""
        *before, now = self.environments
        _write(self.path / "environment.json", [*before, now | {"peak_bytes": peak_bytes}])

    def append(self, record: Record) -> None:
        """Add a record to the metrics. Raises ValueError where a number is not finite."""
        # JSON has no NaN; Python would write one that other readers refuse.
        line = json.dumps(record, allow_nan=False) + "\n"
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(line)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write a checkpoint that belongs to the metrics as they stand."""
        metrics = self.path / "metrics.jsonl"
        length = 0
        # The metrics reach the disk first: a checkpoint must not count lines that may be lost.
        if metrics.exists():
            with metrics.open("rb+") as file:
                os.fsync(file.fileno())
                length = file.seek(0, os.SEEK_END)
        checkpoint.save({**state, "metrics_bytes": length}, self.path / "checkpoint.pt")

    def checkpoint(self) -> dict[str, Any]:
        """The last checkpoint. Raises FileNotFoundError, naming the folder, where there is none."""
        file = self.path / "checkpoint.pt"
        if not file.exists():
            raise FileNotFoundError(f"{self.path}: no checkpoint here")
        return checkpoint.load(file)

    def resume(self) -> dict[str, Any] | None:
        """The last checkpoint, the metrics cut back to what they were at it; None without one."""
        file = self.path / "checkpoint.pt"
        state = checkpoint.load(file) if file.exists() else None
        metrics, length = self.path / "metrics.jsonl", state["metrics_bytes"] if state else 0
        if metrics.exists():
            if metrics.stat().st_size < length:
                raise ValueError(f"{metrics}: cut off before what its checkpoint counts on")
            # What came after the checkpoint is computed again, and would stand there twice.
            os.truncate(metrics, length)
        return state


def _parsed(file: Path, content: bytes) -> Any:
    """What JSON says; ValueError names the file that is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON ({error})") from error


def _write(path: Path, value: Any) -> None:
    with atomic_write(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


def differing(there: dict[str, Any], now: dict[str, Any]) -> str:
    """The settings in which two configurations differ, in words; empty where in none."""
    there, now = OLDER_DEFAULTS | _flat(there), OLDER_DEFAULTS | _flat(now)
    return "; ".join(
        f"{name} {there.get(name, 'absent')} there, {now.get(name, 'absent')} now"
        for name in sorted(there.keys() | now.keys())
        if name not in MAY_CHANGE and there.get(name) != now.get(name)
    )


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names, and tuples as the lists JSON makes of them."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat
