"""The whole picture of a result, with what it says in numbers below."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from widevalley.plot.landscapes import contours, local_entropy, plane_levels, slices, walks
from widevalley.plot.spectra import density, diagonal, ritz_weights, spectrum, spectrum_by_rank
from widevalley.plot.style import caption, empty_figure
from widevalley.valley.hessian import Density, FisherDiagonal, Spectrum
from widevalley.valley.landscape import Slice, ToyLandscape
from widevalley.valley.samplers import Chains

SHARES = (1e-4, 1e-3, 1e-2)
"""Magnitudes below which shares of a spectrum are stated."""
FISHER_SMALL = 1e-5


@singledispatch
def figure(result: Any, *, title: str = "") -> Figure:
    """The picture of a Spectrum, Density, FisherDiagonal, Slice, ToyLandscape or Chains.

    `figure(result).savefig("picture.png")` keeps it. Raises TypeError for anything else.
    """
    raise TypeError(f"result: there is no picture of a {type(result).__name__}")


@figure.register
def _(result: Spectrum, *, title: str = "") -> Figure:
    made = empty_figure(title or f"All {result.size:,} eigenvalues", 12, 4.8)
    left, right = made.subplots(1, 2, width_ratios=(1.35, 1))
    spectrum(result, left)
    spectrum_by_rank(result, right)
    shares = ", ".join(f"{100 * result.fraction_below(m):.2f} % below {m:g}" for m in SHARES)
    text = (
        f"largest {result.largest:.4g}, most negative {result.smallest:.3g}; in magnitude "
        f"{shares}, {result.structural_zeros:,} of them weights the loss does not depend on"
    )
    caption(made, text)
    return made


@figure.register
def _(result: Density, *, title: str = "") -> Figure:
    made = empty_figure(title or f"Density of {result.size:,} eigenvalues", 8, 5.6)
    above, below = made.subplots(2, 1, sharex=True, height_ratios=(1.4, 1))
    density(result, above).set_xlabel("")
    ritz_weights(result, below)
    probes, steps = result.values.shape
    (value, bound), (least, loose) = result.largest, result.smallest
    text = (
        f"{probes} probes of {steps} Lanczos steps; largest {value:.4g} ± {bound:.1g}, most "
        f"negative {least:.3g} ± {loose:.1g}"
    )
    caption(made, text)
    return made


@figure.register
def _(result: FisherDiagonal, *, title: str = "") -> Figure:
    made = empty_figure(title or "Diagonal of the empirical Fisher information", 10, 4.4)
    panels = made.subplots(1, 2)
    names = ("single samples, E[g²] - E[g]²", "Adam's moments of mini-batches, v - m²")
    for ax, values, name in zip(panels, (result.exact, result.of_adam), names, strict=True):
        diagonal(values, ax)
        small = 100 * float((np.abs(values) < FISHER_SMALL).mean())
        ax.set_title(f"{name}\n{small:.1f} % below {FISHER_SMALL:g}", fontsize="medium")
    return made


@figure.register
def _(result: Slice, *, title: str = "") -> Figure:
    if len(result.coordinates) == 2:
        return planes_figure([result], title=title)
    made = empty_figure(title or "The loss along lines", 7, 4.2)
    slices(result, made.subplots())
    return made


@figure.register
def _(result: ToyLandscape, *, title: str = "") -> Figure:
    title = title or "A narrow deep valley, a wide one, and the negative local entropy"
    made = empty_figure(title, 9, 4.6)
    local_entropy(result, made.subplots())
    return made


@figure.register
def _(result: Chains, *, title: str = "") -> Figure:
    return walks_figure([result], title=title)


def planes_figure(found: Sequence[Slice], *, title: str = "") -> Figure:
    """Planes side by side with the same levels, so that widths can be compared."""
    # One unit is as long along both axes, so the figure takes the shape of the planes.
    tall = max(float(np.ptp(each.distances(1)) / np.ptp(each.distances(0))) for each in found)
    height = 1.2 + 4.4 * min(max(tall, 0.4), 2.0)
    made = empty_figure(title or "The loss over planes", 5.6 * len(found) + 0.6, height)
    panels, levels = made.subplots(1, len(found), squeeze=False)[0], plane_levels(found)
    for ax, each in zip(panels, found, strict=True):
        contours(each, ax, levels=levels)
    bar = panels[0].collections[0]
    made.colorbar(bar, ax=list(panels), label="loss, nats", format="%.2g", shrink=0.85)
    return made


def walks_figure(found: Sequence[Chains], *, title: str = "") -> Figure:
    """Walks of several scopes, a column each: loss above, distance below."""
    ordered = sorted(found, key=lambda each: float(each.facts["gamma"]))
    made = empty_figure(title or "Walks around the anchor", 2 + 3.6 * len(ordered), 5.4)
    panels = made.subplots(2, len(ordered), squeeze=False, sharex=True, sharey="row")
    for k, (column, each) in enumerate(zip(panels.T, ordered, strict=True)):
        for ax, distance in zip(column, (False, True), strict=True):
            walks(each, ax, distance=distance)
            if k:
                ax.set_ylabel("")
        column[0].set_title(f"γ = {each.facts['gamma']:g}", fontsize="medium")
        column[0].set_xlabel("")
    facts = ordered[0].facts
    caption(made, f"{facts['sampler']}, β = {facts['beta']:g}; dotted: the anchor's loss, and 0")
    return made
