"""Figures of a benchmark: taken in turns, kept as data beside what they were measured on.

Machines drift, so every contender is timed once a round, and its ratio is the median of each
round's own ratio to the baseline: what slows one slows both.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from widevalley.training import environment_facts

FOLDER = Path(__file__).parents[1] / "results" / "benchmarks"


@dataclass(frozen=True)
class Row:
    """One contender at one problem."""

    case: str
    """The problem: a network, a list of shapes."""
    name: str
    """The contender."""
    ms: float
    """Median milliseconds."""
    ratio: float
    """Median of the rounds' ratios to the baseline of the case."""
    interval: tuple[float, float]
    """Quartiles of the rounds' ratios."""
    also: dict[str, float] = field(default_factory=dict)
    """What else was measured, by name."""

    @property
    def key(self) -> tuple[str, str]:
        """What makes it comparable with a row of another file."""
        return self.case, self.name


@dataclass(frozen=True)
class Figures:
    """All rows of one benchmark, and where they come from."""

    benchmark: str
    date: str
    environment: dict[str, Any]
    """Commit, versions, device, threads."""
    settings: dict[str, Any]
    """How the benchmark was called."""
    rows: list[Row]

    @classmethod
    def of(
        cls, benchmark: str, rows: list[Row], settings: Mapping[str, Any], device: torch.device
    ) -> "Figures":
        """Measured just now, by this source; where the file goes is no setting."""
        date = datetime.now(UTC).isoformat(timespec="seconds")
        kept = {name: value for name, value in settings.items() if name != "to"}
        return cls(benchmark, date, environment_facts(device), kept, rows)

    @classmethod
    def read(cls, file: Path) -> "Figures":
        """What `write` wrote."""
        data = json.loads(file.read_text())
        rows = [Row(**{**row, "interval": tuple(row["interval"])}) for row in data.pop("rows")]
        return cls(rows=rows, **data)

    def write(self, file: Path) -> None:
        """Replace the file; its folder is made."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=1, default=str) + "\n")

    def __str__(self) -> str:
        e = self.environment
        commit = (e["commit"] or "no commit")[:10]
        return (
            f"{self.date[:10]}, {commit}, {e['device']}, {e['threads']} threads, torch {e['torch']}"
        )


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(
    works: Mapping[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each contender in each round, one after the other, after a round to warm up."""
    taken = [
        {name: seconds(work, device) for name, work in works.items()} for _ in range(rounds + 1)
    ]
    return {name: [each[name] for each in taken[1:]] for name in works}


def rows(
    case: str, taken: Mapping[str, Sequence[float]], also: Mapping[str, dict[str, float]]
) -> list[Row]:
    """Rows of a case from the seconds of its contenders; the first of them is the baseline."""
    baseline = next(iter(taken.values()))
    made = []
    for name, values in taken.items():
        ratios = [a / b for a, b in zip(values, baseline, strict=True)]
        ms = 1e3 * statistics.median(values)
        made.append(
            Row(case, name, ms, statistics.median(ratios), quartiles(ratios), also.get(name, {}))
        )
    return made


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third; of a single value itself twice."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
