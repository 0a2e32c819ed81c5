"""Eigenvalues, densities and diagonals of curvature."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from widevalley.plot.style import BLUE, GREY, RED, axes_or_new, label, plain_ticks
from widevalley.valley.hessian import Density, Spectrum

BINS = 100
NEAR_ZERO = 1e-2
"""Half-width of the inset around zero, as a share of the largest magnitude."""
NEGATIVE = 1e-6
"""Of the largest magnitude, from which on a negative eigenvalue is no rounding of zero."""
LIGHTEST = 1e-9
"""Ritz values of less weight are not drawn."""
DECADES = 17
"""Of a spectrum by rank: rounding makes values of any size below."""
POINTS = 2000
"""Of a density's curve."""


def spectrum(found: Spectrum, ax: Axes | None = None, *, insets: bool = True) -> Axes:
    """Histogram of all eigenvalues, structural zeros among them, on a logarithmic scale.

    With `insets` it is drawn again around zero, where nearly all are, and where they are negative.
    """
    ax = axes_or_new(ax)
    values = np.concatenate([found.values, np.zeros(found.structural_zeros)])
    _histogram(ax, values, BINS)
    label(ax, "eigenvalue", "eigenvalues in a bin")
    if not insets:
        return ax
    largest = np.abs(values).max()
    near = values[np.abs(values) <= NEAR_ZERO * largest]
    _inset(ax, (0.36, 0.56, 0.25, 0.36), "around zero", near)
    negative = values[values < -NEGATIVE * largest]
    if len(negative):
        _inset(ax, (0.73, 0.56, 0.25, 0.36), "negative", negative)
    return ax


def _histogram(ax: Axes, values: np.ndarray, bins: int) -> None:
    counts, edges = np.histogram(values, bins)
    ax.stairs(counts, edges, fill=True, color=BLUE)
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.6)


def _inset(
    ax: Axes, place: tuple[float, float, float, float], title: str, values: np.ndarray
) -> None:
    inset = ax.inset_axes(place)
    _histogram(inset, values, BINS // 2)
    inset.set_title(title, fontsize="medium")
    inset.set_xlabel("eigenvalue", fontsize="small", labelpad=1)
    inset.set_ylabel("in a bin", fontsize="small", labelpad=1)
    inset.tick_params(labelsize="small")
    inset.locator_params(axis="x", nbins=3)


def spectrum_by_rank(found: Spectrum, ax: Axes | None = None) -> Axes:
    """Magnitudes of positive and of negative eigenvalues, each in order, both scales logarithmic.

    The estimate by random probes is drawn where `found` has one, and where its facts hold the dtype
    the floor below which eigenvalues are rounding alone, of either sign: its epsilon times the
    largest magnitude.
    """
    ax = axes_or_new(ax)
    for sign, colour, dash, name in ((1, BLUE, "-", "positive"), (-1, RED, "-.", "negative")):
        chosen = np.sort(sign * found.values[sign * found.values > 0])[::-1]
        ax.plot(np.arange(1, len(chosen) + 1), chosen, dash, color=colour, label=name)
    if len(found.probed):
        probed = np.sort(np.abs(found.probed))[::-1]
        name = f"by {len(probed):,} random probes"
        ax.plot(np.arange(1, len(probed) + 1), probed, "--", color=GREY, label=name)
    ax.set_xscale("log")
    plain_ticks(ax.xaxis)
    ax.set_yscale("log")
    largest = np.abs(found.values).max(initial=0.0) or 1.0
    ax.set_ylim(largest * 10.0**-DECADES, largest * 3)
    if "dtype" in found.facts:
        kind = found.facts["dtype"]
        floor = largest * np.finfo(kind).eps
        ax.axhspan(ax.get_ylim()[0], floor, color="0.9", zorder=0)
        at, just_below = (0.03, floor), (0, -3)
        ax.annotate(
            f"rounding of {kind}",
            at,
            just_below,
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize="small",
            va="top",
        )
    ax.legend(frameon=False, loc="center left")
    return label(ax, "rank", "magnitude of the eigenvalue")


def density(found: Density, ax: Axes | None = None, *, width: float | None = None) -> Axes:
    """The spectral density, and a band from the least to the greatest of its probes.

    `width` is the standard width of the Gaussians that Ritz values are blurred to, by default a
    two-hundredth of the range.
    """
    ax = axes_or_new(ax)
    low, high = float(found.values.min()), float(found.values.max())
    width = width or (high - low) / 200 or 1.0
    grid = np.linspace(low - 5 * width, high + 5 * width, POINTS)
    each, curve = found.smoothed_each(grid, width), found.smoothed(grid, width)
    lightest = curve.max() * 1e-8
    ax.plot(grid, curve, color=BLUE, label=f"mean of {len(each)} probes")
    if len(each) > 1:
        ends = each.min(axis=0).clip(lightest), each.max(axis=0).clip(lightest)
        ax.fill_between(
            grid, *ends, color=BLUE, alpha=0.25, linewidth=0, label="least to greatest of them"
        )
    ax.legend(frameon=False, loc="upper right")
    ax.set_yscale("log")
    ax.set_ylim(lightest, curve.max() * 3)
    return label(ax, "eigenvalue", "share of eigenvalues per unit")


def ritz_weights(found: Density, ax: Axes | None = None) -> Axes:
    """The Ritz values a density is made of, each as high as its weight in the mean of probes."""
    ax = axes_or_new(ax)
    weights = (found.weights / len(found.weights)).ravel()
    shown = weights > LIGHTEST
    ax.vlines(found.values.ravel()[shown], LIGHTEST, weights[shown], color=RED, linewidth=0.7)
    ax.set_yscale("log")
    ax.set_ylim(LIGHTEST, 1)
    return label(ax, "eigenvalue", "weight of a Ritz value")


def diagonal(values: np.ndarray, ax: Axes | None = None, *, name: str = "entry") -> Axes:
    """Histogram of the entries of a diagonal, (n,), such as that of the Fisher information."""
    ax = axes_or_new(ax)
    _histogram(ax, values, BINS)
    return label(ax, name, "entries in a bin")
