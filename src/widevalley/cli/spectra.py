"""The verb that decomposes a Hessian: spectrum."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from widevalley.cli.flags import command, first, parse
from widevalley.experiments import SpectrumConfig, density, exact, finished_run, fisher
from widevalley.report import draw_density, draw_fisher, draw_spectrum, spectrum_cells
from widevalley.training import RunFolder

PROBES = 16
"""Random directions of a density unless told."""
LINE_EVERY = 60.0
"""Seconds between lines where the output is no terminal."""


@dataclass(frozen=True)
class SpectrumFlags:
    """Flags of `spectrum`."""

    config: Annotated[SpectrumConfig, tyro.conf.arg(name="")]
    method: Literal["exact", "density", "fisher"] = "exact"
    """All eigenvalues of a small network; of a large one their density by stochastic Lanczos
    quadrature; or the diagonal of the empirical Fisher information."""
    probes: int = 0
    """Of a density, random directions (0: 16). Of all eigenvalues, also the estimate by this many
    random probes, for comparison."""
    steps: int = 100
    """Lanczos steps from each direction of a density."""
    seed: int = 0
    """Keys the directions."""
    runs: Path = Path("runs")
    """Where a recipe's run is, or is trained to."""
    to: Path | None = None
    """Folder for numbers and pictures; by default the run's own."""


def spectrum(arguments: list[str]) -> None:
    """Eigenvalues of the Hessian, their density, or the Fisher diagonal, at the end of a run."""
    target, flags = first(arguments, "spectrum", "a RUN FOLDER or RECIPE")
    about = "Of a RECIPE the variant `paper` is taken, and trained where it is not yet."
    default = SpectrumFlags(SpectrumConfig())
    told = parse(SpectrumFlags, default, flags, f"spectrum {target}", about)
    run = finished_run(target, told.runs, command=command())
    to = told.to or run.path
    to.mkdir(parents=True, exist_ok=True)
    file, pictures = METHODS[told.method](run, told, to)
    print("\n".join(f"written: {path}" for path in [file, *pictures]))


def _exact(run: RunFolder, told: SpectrumFlags, to: Path) -> tuple[Path, list[Path]]:
    file, blocks = to / "spectrum.npz", to / "blocks"
    with _bar("columns") as bar:
        found = exact(
            run,
            told.config,
            blocks=blocks,
            probes=told.probes,
            progress=bar,
            command=command(),
        )
    found.save(file)
    shutil.rmtree(blocks)
    heads, (row,) = spectrum_cells([found])
    print("\n".join(f"{head + ':':20}{cell}" for head, cell in zip(heads, row, strict=True)))
    return file, draw_spectrum(file)


def _density(run: RunFolder, told: SpectrumFlags, to: Path) -> tuple[Path, list[Path]]:
    file = to / "density.npz"
    with _bar("products") as bar:
        found = density(
            run,
            told.config,
            steps=told.steps,
            probes=told.probes or PROBES,
            seed=told.seed,
            progress=bar,
            command=command(),
        )
    found.save(file)
    for end in ("largest", "smallest"):
        value, bound = found.facts[end]
        print(f"{end + ':':20}{value:.5g} ± {bound:.1g}")
    return file, draw_density(file)


def _fisher(run: RunFolder, told: SpectrumFlags, to: Path) -> tuple[Path, list[Path]]:
    file = to / "fisher.npz"
    fisher(run, told.config, command=command()).save(file)
    return file, draw_fisher(file)


METHODS = {"exact": _exact, "density": _density, "fisher": _fisher}


@contextmanager
def _bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left, or a line a minute where the output is no terminal."""
    console = Console()
    columns = TextColumn(unit), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task, began, said = bar.add_task(unit), time.monotonic(), time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal said
            bar.update(task, completed=done, total=total)
            now = time.monotonic()
            if not console.is_terminal and now - said > LINE_EVERY:
                said, left = now, (now - began) * (total - done) / done
                console.print(f"{done:,} of {total:,} {unit}, {left:,.0f} s left")

        yield progress
