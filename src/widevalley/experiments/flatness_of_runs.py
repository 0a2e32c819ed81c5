"""How flat the loss is at the ends of runs: every measure of every run, in one file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from widevalley.experiments.flatness_measures import FlatnessConfig, measure_all
from widevalley.experiments.flatness_record import Flatness, load_flatness, save_flatness
from widevalley.experiments.measured_runs import (
    Progress,
    by_name,
    measure_missing,
    plain_settings,
)
from widevalley.experiments.run_end import End, facts_of, loss_of, recipe_of, run_name


def measure_flatness(
    ends: Sequence[End],
    config: FlatnessConfig,
    to: Path,
    *,
    progress: Progress | None = None,
    command: str = "",
) -> Path:
    """Measure runs into `to`/flatness.json, leaving out those that stand there already.

    The raw traces of the walks go to `to`/traces/RUN. `progress` is called as each thing begins.

    Raises:
        ValueError: two runs of one name and seed, runs of different recipes, or measures there of
            other settings.
    """
    named = by_name([run_name(end) for end in ends], ends)
    recipes = {recipe_of(end) for end in ends}
    if len(recipes) > 1:
        raise ValueError(f"runs: of different recipes, {', '.join(sorted(recipes))}")
    (recipe,) = recipes
    facts = {"recipe": recipe, "settings": plain_settings(config)}

    def measure(name: str) -> Flatness:
        def report(what: str) -> None:
            if progress:
                progress(f"{name}: {what}")

        began, objective = time.monotonic(), loss_of(named[name], config)
        traces = to / "traces" / name.replace("/", "-")
        measures = measure_all(objective, config, traces, report)
        return Flatness(
            name, measures, facts_of(named[name], config, objective, began, command) | facts
        )

    to.mkdir(parents=True, exist_ok=True)
    return measure_missing(
        list(named),
        measure,
        to / "flatness.json",
        facts,
        load_flatness,
        write=save_flatness,
        progress=progress,
    )
