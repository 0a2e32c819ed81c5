"""The verb that decomposes a Hessian: spectrum."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from widevalley.cli.own_model import OwnModelFlags, asks_for_own_model, incomplete
from widevalley.cli.verb import CONFIG, UsageError, Verb, command
from widevalley.experiments import (
    End,
    LossConfig,
    finished_run,
    measure_density,
    measure_exact_spectrum,
    measure_fisher,
)
from widevalley.plot import progress_bar
from widevalley.report import draw_density, draw_fisher, draw_spectrum, spectrum_cells

PROBES = 16
"""Random directions of a density by default."""


@dataclass(frozen=True, kw_only=True)
class _Spectrum(Verb):
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

    def measure(self, end: End, to: Path) -> None:
        """Measure, then draw."""
        to.mkdir(parents=True, exist_ok=True)
        file, pictures = METHODS[self.method](end, self, to)
        print("\n".join(f"written: {path}" for path in [file, *pictures]))


@dataclass(frozen=True, kw_only=True)
class MeasureSpectrum(_Spectrum):
    """Eigenvalues of the Hessian, their density, or the Fisher diagonal, at weights.

    They are those at the end of a run, or with --model PKG.MODULE:FACTORY --data PKG.MODULE:LOADER
    [--checkpoint FILE] in the place of RUN those of a model of your own.
    """

    name: ClassVar[str] = "spectrum"
    needs: ClassVar[str] = "a RUN FOLDER or RECIPE, or --model,"

    target: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|RECIPE")]
    """A run folder, or a recipe, of which the variant `paper` is taken, and trained where it is not
    yet."""
    runs: Path = Path("runs")
    """Where a recipe's run is, or is trained to."""
    to: Path | None = None
    """Folder for numbers and pictures; by default the run's own."""

    @classmethod
    def chosen(cls, arguments: Sequence[str]) -> type[Verb]:
        """A model of one's own has flags of its own."""
        return SpectrumOfModel if asks_for_own_model(arguments) else cls

    def run(self) -> None:
        """Measure the end of a run."""
        run = finished_run(self.target, self.runs, command=command())
        self.measure(run, self.to or run.path)


@dataclass(frozen=True, kw_only=True)
class SpectrumOfModel(_Spectrum):
    """Eigenvalues of the Hessian, their density, or the Fisher diagonal, of a model of your own."""

    name: ClassVar[str] = "spectrum"

    own: Annotated[OwnModelFlags, *CONFIG]
    to: Path | None = None
    """Folder for numbers and pictures; by default runs/spectrum/NAME, NAME the checkpoint's."""

    @classmethod
    def incomplete(cls) -> UsageError:
        """The error of `--model` alone."""
        return incomplete(cls.name)

    def run(self) -> None:
        """Measure the model with the weights of one checkpoint."""
        end, *others = self.own.ends()
        if others:
            raise ValueError(f"checkpoint: must be one, not {1 + len(others)}")
        if end.checkpoint is None:
            print("no --checkpoint: these are the weights that the model was made with")
        self.measure(end, self.to or Path("runs/spectrum", end.name))


def _eigenvalues(columns: int) -> str:
    """How long they take: the cube of their number, a quarter of an hour for 40,000."""
    time = timedelta(seconds=round(900 * (columns / 40_000) ** 3))
    return f"now their eigenvalues, without a bar: about {time} on two cores"


def _exact(end: End, flags: _Spectrum, to: Path) -> tuple[Path, list[Path]]:
    file, blocks = to / "spectrum.npz", to / "blocks"
    with progress_bar("columns", then=_eigenvalues) as bar:
        found = measure_exact_spectrum(
            end,
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


def _density(end: End, flags: _Spectrum, to: Path) -> tuple[Path, list[Path]]:
    file = to / "density.npz"
    with progress_bar("products") as bar:
        found = measure_density(
            end,
            flags.config,
            steps=flags.steps,
            probes=flags.probes or PROBES,
            seed=flags.seed,
            keep_graphs=flags.keep_graphs,
            progress=bar,
            command=command(),
        )
    found.save(file)
    for which, (value, bound) in (("largest", found.largest), ("smallest", found.smallest)):
        print(f"{which + ':':20}{value:.5g} ± {bound:.1g}")
    return file, draw_density(file)


def _fisher(end: End, flags: _Spectrum, to: Path) -> tuple[Path, list[Path]]:
    file = to / "fisher.npz"
    measure_fisher(end, flags.config, command=command()).save(file)
    return file, draw_fisher(file)


METHODS = {"exact": _exact, "density": _density, "fisher": _fisher}
