"""How flat the loss is at the ends of runs: every measure of every run, in one file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from widevalley.experiments.flatness_measures import FlatnessConfig, measure_all
from widevalley.experiments.flatness_record import Flatness, load_flatness, save_flatness
from widevalley.experiments.run_end import End, facts_of, loss_of, recipe_of, run_name


def measure_flatness(
    ends: Sequence[End],
    config: FlatnessConfig,
    to: Path,
    *,
    progress: Callable[[str], None] | None = None,
    command: str = "",
) -> Path:
    """Measure runs into `to`/flatness.json, leaving out those that stand there already.

    Processes that measure different runs may do so into one file at the same time.

    The raw traces of the walks go to `to`/traces/RUN. `progress` is called as each thing begins.

    Raises:
        ValueError: two runs of one name and seed, runs of different recipes, or measures there of
            other settings.
    """
    names = [run_name(end) for end in ends]
    if len(set(names)) < len(names):
        raise ValueError(f"runs: two have one name and seed, {', '.join(sorted(names))}")
    recipes = {recipe_of(end) for end in ends}
    if len(recipes) > 1:
        raise ValueError(f"runs: of different recipes, {', '.join(sorted(recipes))}")
    # By way of JSON, which has lists for tuples, so that they compare equal to those of the file.
    file, settings = to / "flatness.json", json.loads(json.dumps(asdict(config)))
    for each in _found(file):
        if each.facts["settings"] != settings or {each.facts["recipe"]} != recipes:
            raise ValueError(f"{file}: holds measures of other settings or of another recipe")
    to.mkdir(parents=True, exist_ok=True)
    for name, end in zip(names, ends, strict=True):
        if name in {each.run for each in _found(file)}:
            continue

        def report(what: str, name: str = name) -> None:
            if progress:
                progress(f"{name}: {what}")

        began, objective = time.monotonic(), loss_of(end, config)
        measures = measure_all(objective, config, to / "traces" / name.replace("/", "-"), report)
        facts = facts_of(end, config, objective, began, command) | {"settings": settings}
        # Read again: another process may have added its runs in the minutes since.
        others = [each for each in _found(file) if each.run != name]
        save_flatness([*others, Flatness(name, measures, facts)], file)
    return file


def _found(file: Path) -> list[Flatness]:
    return load_flatness(file) if file.exists() else []
