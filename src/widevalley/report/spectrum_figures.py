"""Pictures of spectra, drawn from their files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from widevalley.report.drawing import BLUE, GREY, RED, caption, figure, plain, save
from widevalley.report.table import Cells
from widevalley.valley.hessian import Density, FisherDiagonal, Spectrum

BINS = 100
SHARES = (1e-4, 1e-3, 1e-2)
"""Magnitudes below which shares are stated."""
NEAR_ZERO = 1e-2
"""Half-width of the inset around zero, as a share of the largest magnitude."""
LIGHTEST = 1e-9
"""Ritz values of less weight are not drawn."""
FISHER_SMALL = 1e-5


def draw_spectrum(file: Path) -> list[Path]:
    """Draw a file of `Spectrum.save`, beside it as PNG and SVG; returns their paths."""
    spectrum = Spectrum.load(file)
    title = f"{_what(spectrum.facts)}: all {spectrum.size:,} eigenvalues of the Hessian"
    made = figure(title, 11, 4.6)
    left, right = made.subplots(1, 2, width_ratios=(1.35, 1))
    _histogram(left, spectrum)
    _ranks(right, spectrum)
    shares = ", ".join(f"{100 * spectrum.fraction_below(m):.2f} % below {m:g}" for m in SHARES)
    caption(
        made,
        f"largest {spectrum.values[-1]:.4g}, most negative {spectrum.values[0]:.3g}; in magnitude "
        f"{shares}, {spectrum.structural_zeros:,} of them weights the loss does not depend on",
    )
    return save(made, file)


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
        f"{facts['judged'][1]:.3g}",
        f"{facts['loss']:.3g}",
        *(f"{100 * spectrum.fraction_below(m):.2f} %" for m in SHARES),
        f"{spectrum.structural_zeros:,}",
        f"{spectrum.values[-1]:.4g}",
        f"{spectrum.values[0]:.3g}",
        f"{facts['seconds'] / 60:.1f}",
        f"{facts['peak_bytes'] / 2**30:.1f}",
    ]


def _histogram(axes: Axes, spectrum: Spectrum) -> None:
    values = np.concatenate([spectrum.values, np.zeros(spectrum.structural_zeros)])
    axes.hist(values, bins=BINS, color=BLUE, log=True)
    plain(axes, "eigenvalue", "eigenvalues in a bin")
    reach = NEAR_ZERO * np.abs(values).max()
    # Most values are in the one bin at zero and the negative ones in no bin one can see.
    _inset(axes, (0.34, 0.58, 0.26, 0.38), "around zero", values[np.abs(values) <= reach])
    negative = values[values < -reach / BINS]
    if len(negative):
        _inset(axes, (0.71, 0.58, 0.26, 0.38), "negative", negative)


def _inset(
    axes: Axes, place: tuple[float, float, float, float], title: str, values: np.ndarray
) -> None:
    inset = axes.inset_axes(place)
    inset.hist(values, bins=BINS // 2, color=BLUE, log=True)
    inset.set_title(title, fontsize="small")
    inset.set_xlabel("eigenvalue", fontsize="x-small", labelpad=1)
    inset.set_ylabel("in a bin", fontsize="x-small", labelpad=1)
    inset.tick_params(labelsize="x-small")
    inset.locator_params(axis="x", nbins=3)


def _ranks(axes: Axes, spectrum: Spectrum) -> None:
    for sign, colour, name in ((1, BLUE, "positive"), (-1, RED, "negative")):
        chosen = np.sort(sign * spectrum.values[sign * spectrum.values > 0])[::-1]
        axes.plot(np.arange(1, len(chosen) + 1), chosen, color=colour, label=name)
    if len(spectrum.probed):
        probed = np.sort(np.abs(spectrum.probed))[::-1]
        label = f"by {len(probed):,} random probes"
        axes.plot(np.arange(1, len(probed) + 1), probed, color=GREY, linestyle="--", label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    # Rounding makes values of any size below; fourteen decades are what float64 can tell.
    largest = np.abs(spectrum.values).max()
    axes.set_ylim(largest * 1e-17, largest * 3)
    if "dtype" in spectrum.facts:
        # Eigenvalues below the rounding of the largest are noise, of either sign.
        floor = largest * np.finfo(spectrum.facts["dtype"]).eps
        axes.axhline(floor, color=GREY, linewidth=0.8)
        axes.annotate(
            f"rounding of {spectrum.facts['dtype']}",
            (0.02, floor),
            (0, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize="x-small",
        )
    axes.legend(frameon=False, loc="center left")
    plain(axes, "rank", "magnitude of the eigenvalue")


def draw_density(file: Path) -> list[Path]:
    """Draw a file of `Density.save`, beside it as PNG and SVG; returns their paths."""
    density = Density.load(file)
    low, high = float(density.values.min()), float(density.values.max())
    width = (high - low) / 200
    grid = np.linspace(low - 5 * width, high + 5 * width, 2000)
    made = figure(f"{_what(density.facts)}: density of {density.size:,} eigenvalues", 8, 5.4)
    above, below = made.subplots(2, 1, sharex=True, height_ratios=(1.4, 1))
    curve = density.smoothed(grid, width)
    above.plot(grid, curve, color=BLUE)
    each = density.smoothed_each(grid, width)
    lightest = curve.max() * 1e-8
    above.fill_between(
        grid,
        each.min(axis=0).clip(lightest),
        each.max(axis=0).clip(lightest),
        color=BLUE,
        alpha=0.25,
        linewidth=0,
    )
    above.set_yscale("log")
    above.set_ylim(lightest, curve.max() * 2)
    plain(above, "", "eigenvalues per unit, share")
    weights = (density.weights / len(density.weights)).ravel()
    shown = weights > LIGHTEST
    below.vlines(density.values.ravel()[shown], LIGHTEST, weights[shown], color=RED, linewidth=0.7)
    below.set_yscale("log")
    below.set_ylim(LIGHTEST, 1)
    plain(below, "eigenvalue", "weight of a Ritz value")
    probes, steps = density.values.shape
    text = (
        f"{probes} probes of {steps} Lanczos steps, the band from the least to the greatest of "
        f"them; the curve's Gaussians are {width:.2g} wide"
    )
    caption(made, text)
    return save(made, file)


def draw_fisher(file: Path) -> list[Path]:
    """Draw a file of `FisherDiagonal.save`, beside it as PNG and SVG; returns their paths."""
    fisher = FisherDiagonal.load(file)
    made = figure(f"{_what(fisher.facts)}: diagonal of the empirical Fisher information", 9, 4.2)
    panels = made.subplots(1, 2)
    titles = ("single samples, E[g²] - E[g]²", "Adam's moments of mini-batches, v - m²")
    for axes, values, name in zip(panels, (fisher.exact, fisher.of_adam), titles, strict=True):
        axes.hist(values, bins=BINS, color=BLUE, log=True)
        small = 100 * float((np.abs(values) < FISHER_SMALL).mean())
        axes.set_title(f"{name}\n{small:.1f} % below {FISHER_SMALL:g}", fontsize="small")
        plain(axes, "entry", "entries in a bin")
    return save(made, file)


def _what(facts: dict[str, object]) -> str:
    return f"{facts['recipe']}, {facts['optimizer']}" if facts else "a network"
