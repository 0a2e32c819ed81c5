"""The verb that decomposes a Hessian: spectrum."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from widevalley.cli.verb import CONFIG, Verb, command
from widevalley.experiments import LossConfig, exact, finished_run, fisher, measure_density
from widevalley.plot import progress_bar
from widevalley.report import draw_density, draw_fisher, draw_spectrum, spectrum_cells
from widevalley.training import RunFolder

PROBES = 16
"""Random directions of a density by default."""
AFTER_COLUMNS = "now their eigenvalues, without a bar: a quarter of an hour for 40,000 on two cores"


@dataclass(frozen=True, kw_only=True)
class MeasureSpectrum(Verb):
    """Eigenvalues of the Hessian, their density, or the Fisher diagonal, at the end of a run."""

    name: ClassVar[str] = "spectrum"
    needs: ClassVar[str] = "a RUN FOLDER or RECIPE"

    target: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|RECIPE")]
    """A run folder, or a recipe, of which the variant `paper` is taken, and trained where it is not
    yet."""
    config: Annotated[LossConfig, *CONFIG] = field(default_factory=LossConfig)
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
    keep_graphs: Annotated[bool, tyro.conf.FlagConversionOff] = False
    """Of a density, keep what was computed of all batches from product to product: faster, for
    memory of every activation."""
    runs: Path = Path("runs")
    """Where a recipe's run is, or is trained to."""
    to: Path | None = None
    """Folder for numbers and pictures; by default the run's own."""

    def run(self) -> None:
        """Measure, then draw."""
        run = finished_run(self.target, self.runs, command=command())
        to = self.to or run.path
        to.mkdir(parents=True, exist_ok=True)
        file, pictures = METHODS[self.method](run, self, to)
        print("\n".join(f"written: {path}" for path in [file, *pictures]))


def _exact(run: RunFolder, flags: MeasureSpectrum, to: Path) -> tuple[Path, list[Path]]:
    file, blocks = to / "spectrum.npz", to / "blocks"
    with progress_bar("columns", then=AFTER_COLUMNS) as bar:
        found = exact(
            run,
            flags.config,
            blocks=blocks,
            probes=flags.probes,
            progress=bar,
            command=command(),
        )
    found.save(file)
    # Only now that the result is saved: a call killed before goes on from them.
    shutil.rmtree(blocks)
    heads, (row,) = spectrum_cells([found])
    print("\n".join(f"{head + ':':20}{cell}" for head, cell in zip(heads, row, strict=True)))
    return file, draw_spectrum(file)


def _density(run: RunFolder, flags: MeasureSpectrum, to: Path) -> tuple[Path, list[Path]]:
    file = to / "density.npz"
    with progress_bar("products") as bar:
        found = measure_density(
            run,
            flags.config,
            steps=flags.steps,
            probes=flags.probes or PROBES,
            seed=flags.seed,
            keep_graphs=flags.keep_graphs,
            progress=bar,
            command=command(),
        )
    found.save(file)
    for end, (value, bound) in (("largest", found.largest), ("smallest", found.smallest)):
        print(f"{end + ':':20}{value:.5g} ± {bound:.1g}")
    return file, draw_density(file)


def _fisher(run: RunFolder, flags: MeasureSpectrum, to: Path) -> tuple[Path, list[Path]]:
    file = to / "fisher.npz"
    fisher(run, flags.config, command=command()).save(file)
    return file, draw_fisher(file)


METHODS = {"exact": _exact, "density": _density, "fisher": _fisher}
