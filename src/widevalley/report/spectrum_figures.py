"""Pictures and a table of spectra, from their files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from widevalley import plot
from widevalley.report.drawing import save
from widevalley.report.table import Cells
from widevalley.valley.hessian import Density, FisherDiagonal, Spectrum

SHARES = (1e-4, 1e-3, 1e-2)
"""Magnitudes below which shares are stated."""


def draw_spectrum(file: Path) -> list[Path]:
    """Draw a file of `Spectrum.save`, beside it as PNG and SVG; returns their paths."""
    spectrum = Spectrum.load(file)
    title = f"{_what(spectrum.facts)}: all {spectrum.size:,} eigenvalues of the Hessian"
    return save(plot.figure(spectrum, title=title), file)


def draw_density(file: Path) -> list[Path]:
    """Draw a file of `Density.save`, beside it as PNG and SVG; returns their paths."""
    density = Density.load(file)
    title = f"{_what(density.facts)}: density of {density.size:,} eigenvalues"
    return save(plot.figure(density, title=title), file)


def draw_fisher(file: Path) -> list[Path]:
    """Draw a file of `FisherDiagonal.save`, beside it as PNG and SVG; returns their paths."""
    fisher = FisherDiagonal.load(file)
    title = f"{_what(fisher.facts)}: diagonal of the empirical Fisher information"
    return save(plot.figure(fisher, title=title), file)


def spectrum_cells(spectra: Sequence[Spectrum]) -> Cells:
    """One row a spectrum: shares of small eigenvalues, and the ends."""
    heads = [
        "network",
        "eigenvalues",
        "test error or nats",
        "loss",
        *(f"|λ| < {m:g}" for m in SHARES),
    ]
    heads += ["structural zeros", "largest", "most negative", "minutes", "peak GiB"]
    return heads, [_row(each) for each in spectra]


def _row(spectrum: Spectrum) -> list[str]:
    facts = spectrum.facts
    return [
        str(facts["recipe"]),
        f"{spectrum.size:,}",
        f"{facts['judged'][1]:.3g}" if "judged" in facts else "",
        f"{facts['loss']:.3g}",
        *(f"{100 * spectrum.fraction_below(m):.2f} %" for m in SHARES),
        f"{spectrum.structural_zeros:,}",
        f"{spectrum.values[-1]:.4g}",
        f"{spectrum.values[0]:.3g}",
        f"{facts['seconds'] / 60:.1f}",
        f"{facts['peak_bytes'] / 2**30:.1f}",
    ]


def _what(facts: dict[str, object]) -> str:
    return f"{facts['recipe']}, {facts['optimizer']}" if facts else "a network"
