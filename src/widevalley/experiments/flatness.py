"""How flat the loss is at the ends of runs: every measure, with its error, in one file."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from widevalley._files import atomic_write
from widevalley.experiments.endpoint import LossConfig, Precision, facts_of, loss_of, run_name
from widevalley.training import RunFolder
from widevalley.valley import Estimate, Hessian, Objective, extreme_eigenvalues, trace
from widevalley.valley.entropy import entropy_differences, entropy_gradient_norm, laplace
from widevalley.valley.landscape import local_energy, sharpness
from widevalley.valley.samplers import Chains, SGLDSampler, mean_and_error, sample

Measures = dict[str, Estimate]
"""By name; where a measure has no random part its error is 0."""
STABLE = 0.5
"""A walk's step times the largest curvature it meets."""


@dataclass(frozen=True, kw_only=True)
class FlatnessConfig(LossConfig):
    """What is measured, where and how well."""

    chunk: int = 1000
    """Samples in a batch. The walks take one a step: fewer than `samples` add mini-batch noise."""
    dtype: Precision = "float32"
    """Of all arithmetic."""
    radii: tuple[float, ...] = (0.005, 0.01, 0.02)
    """Standard deviations of weight noise."""
    relative_radii: tuple[float, ...] = (0.1, 0.2, 0.4)
    """The same as shares of each weight's magnitude."""
    ascents: tuple[float, ...] = (0.05, 0.5)
    """Radii of sharpness."""
    energies: int = 20
    """Draws of weight noise."""
    products: int = 30
    """Hessian products for the trace."""
    steps: int = 30
    """Lanczos steps: for the extreme eigenvalues up to ten times as many."""
    probes: int = 6
    """Lanczos directions of Laplace's method."""
    gammas: tuple[float, ...] = (1.0, 3.0, 10.0)
    """Scopes of the local entropy, ascending."""
    beta: float = 60_000.0
    """Inverse temperature of the local entropy."""
    walk: int = 200
    """Kept steps of a walk; half as many go before them."""
    chains: int = 2
    """Walks at each scope; 0 leaves them out."""
    seed: int = 0
    """Keys everything random."""


@dataclass(frozen=True)
class Flatness:
    """The measures at the end of one run."""

    run: str
    """Its name and seed: `entropy-sgd/seed-0`."""
    measures: Measures
    facts: dict[str, Any] = field(default_factory=dict)
    """What they are of and how they were made, in plain values."""

    @property
    def name(self) -> str:
        """The run's name, without its seed."""
        return self.run.rpartition("/")[0]


def measure_flatness(
    folders: Sequence[RunFolder],
    config: FlatnessConfig,
    to: Path,
    *,
    progress: Callable[[str], None] | None = None,
    command: str = "",
) -> Path:
    """Measure runs into `to`/flatness.json, leaving out those that stand there already.

    Processes that measure different runs may do so into one file at the same time.

    The raw traces of the walks go to `to`/traces/RUN. `progress` is told each thing that is begun.

    Raises:
        ValueError: two runs of one name and seed, runs of different recipes, or measures there of
            other settings.
    """
    names = [run_name(folder) for folder in folders]
    if len(set(names)) < len(names):
        raise ValueError(f"runs: two have one name and seed, {', '.join(sorted(names))}")
    recipes = {folder.config["recipe"] for folder in folders}
    if len(recipes) > 1:
        raise ValueError(f"runs: of different recipes, {', '.join(sorted(recipes))}")
    file, settings = to / "flatness.json", json.loads(json.dumps(asdict(config)))
    for each in _found(file):
        if each.facts["settings"] != settings or {each.facts["recipe"]} != recipes:
            raise ValueError(f"{file}: holds measures of other settings or of another recipe")
    to.mkdir(parents=True, exist_ok=True)
    for name, folder in zip(names, folders, strict=True):
        if name in {each.run for each in _found(file)}:
            continue
        began, objective = time.monotonic(), loss_of(folder, config)
        traces = to / "traces" / name.replace("/", "-")
        measures = _measures(objective, config, traces, partial(_tell, progress, name))
        facts = facts_of(folder, config, objective, began, command) | {"settings": settings}
        others = [each for each in _found(file) if each.run != name]
        _save([*others, Flatness(name, measures, facts)], file)
    return file


def _found(file: Path) -> list[Flatness]:
    return load_flatness(file) if file.exists() else []


def _tell(progress: Callable[[str], None] | None, name: str, what: str) -> None:
    if progress:
        progress(f"{name}: {what}")


def load_flatness(file: Path) -> list[Flatness]:
    """What `measure_flatness` wrote. Raises ValueError naming the file where it is not that."""
    try:
        return [
            Flatness(
                each["run"],
                {
                    k: Estimate(v, math.nan if e is None else e)
                    for k, (v, e) in each["measures"].items()
                },
                each["facts"],
            )
            for each in json.loads(file.read_text())
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not a file of flatness measures ({error!r})") from error


def _save(found: Sequence[Flatness], file: Path) -> None:
    plain = [
        {
            "run": each.run,
            "measures": {
                k: [v.value, None if math.isnan(v.error) else v.error]
                for k, v in each.measures.items()
            },
            "facts": each.facts,
        }
        for each in found
    ]
    with atomic_write(file) as out:
        out.write(json.dumps(plain, indent=1).encode())


def _measures(
    objective: Objective, config: FlatnessConfig, traces: Path, tell: Callable[[str], None]
) -> Measures:
    tell("noise and ascent")
    measures = {"loss": Estimate(objective.value(), 0.0)}
    energy = partial(local_energy, objective, samples=config.energies, seed=config.seed)
    for radius in config.radii:
        measures[f"local energy {radius:g}"] = energy(radius)
    for radius in config.relative_radii:
        measures[f"relative local energy {radius:g}"] = energy(radius, relative=True)
    for radius in config.ascents:
        measures[f"sharpness {radius:g}"] = Estimate(sharpness(objective, radius), 0.0)
    tell("trace and extreme eigenvalues")
    hessian = Hessian(objective)
    measures["trace"] = trace(hessian, products=config.products, seed=config.seed)
    ends = extreme_eigenvalues(hessian, steps=10 * config.steps, tolerance=1e-2, seed=config.seed)
    measures["largest eigenvalue"] = Estimate(ends.largest[0], ends.largest_bounds[0])
    measures["smallest eigenvalue"] = Estimate(ends.smallest[0], ends.smallest_bounds[0])
    tell("local entropy by Laplace's method")
    least = ends.smallest[0] - ends.smallest_bounds[0]
    if min(config.gammas) <= -least:
        tell(f"no expansion at scopes up to {-least:.3g}, the most negative curvature")
    measures |= _by_laplace(hessian, config, least)
    if config.chains:
        measures |= _by_walks(objective, config, ends.largest[0], traces, tell)
    return measures


def _by_laplace(hessian: Hessian, config: FlatnessConfig, least: float) -> Measures:
    """The rises at the scopes above minus the least eigenvalue, below which there are none."""
    gammas = [gamma for gamma in config.gammas if gamma > -least]
    if not gammas:
        return {}
    draws = {"steps": config.steps, "probes": config.probes, "seed": config.seed}
    found = laplace(hessian, gammas, beta=config.beta, **draws)
    rises = found.excess
    measures = {
        f"entropy walls {g:g}": wall for g, wall in zip(gammas, found.logdet_term, strict=True)
    }
    measures |= {f"entropy rise {g:g}": rise for g, rise in zip(gammas, rises, strict=True)}
    if len(gammas) < len(config.gammas):
        return measures
    both = Estimate(rises[0].value - rises[-1].value, math.hypot(rises[0].error, rises[-1].error))
    return measures | {_between(config, "Laplace"): both}


def _by_walks(
    objective: Objective,
    config: FlatnessConfig,
    steepest: float,
    files: Path,
    tell: Callable[[str], None],
) -> Measures:
    losses: Measures = {}
    slopes: Measures = {}
    traces: list[Chains] = []
    files.mkdir(parents=True, exist_ok=True)
    for gamma in config.gammas:
        tell(f"walks of scope {gamma:g}")
        walk = sample(
            objective,
            SGLDSampler(step_size=STABLE / (steepest + gamma), beta=config.beta),
            gamma,
            steps=config.walk,
            burn_in=config.walk // 2,
            chains=config.chains,
            seed=config.seed,
        )
        walk.save(files / f"gamma-{gamma:g}.npz")
        mean, error = mean_and_error(walk.loss, f"loss of the walks of scope {gamma:g}")
        losses[f"rise of the loss in the walk {gamma:g}"] = Estimate(
            mean - objective.value(), error
        )
        slopes[f"entropy gradient {gamma:g}"] = Estimate(entropy_gradient_norm(walk), math.nan)
        traces.append(walk)
    last = entropy_differences(traces, subtract_flat=True)[-1]
    rise = {_between(config, "walks"): Estimate(-last.value, last.error)}
    return rise | losses | slopes


def _between(config: FlatnessConfig, route: str) -> str:
    return f"entropy rise {config.gammas[0]:g} to {config.gammas[-1]:g} by {route}"
