"""Pictures of slices of the loss, of the toy landscape and of walks, drawn from files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from widevalley.report.drawing import BLUE, RED, STYLES, caption, figure, plain, save
from widevalley.valley.landscape import Slice, ToyLandscape
from widevalley.valley.samplers import Chains

LEVELS = 12
"""Contours of a plane."""


def draw_toy(file: Path) -> list[Path]:
    """Draw a file of `ToyLandscape.save`, the paper's Fig. 2; returns PNG and SVG."""
    toy = ToyLandscape.load(file)
    made = figure("A narrow deep valley, a wide one, and the negative local entropy", 8, 4.2)
    axes = made.subplots()
    names = ["f", *(f"-F, γ = {gamma:g}" for gamma in toy.gammas)]
    curves = [toy.loss - toy.loss.min(), *toy.entropies]
    for (colour, dash), name, values, at in zip(STYLES, names, curves, toy.minima(), strict=False):
        axes.plot(toy.x, values, color=colour, linestyle=dash, label=f"{name}: least at {at:g}")
        axes.plot(at, 0, "o", color=colour, clip_on=False)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=len(names))
    plain(axes, "x", "above the least value")
    return save(made, file)


def draw_slices(file: Path) -> list[Path]:
    """Draw 1-D slices through the end of a run; returns PNG and SVG."""
    found = Slice.load(file)
    made = figure(f"{_what(found.facts)}: slices of the training loss", 10, 4.2)
    left, right = made.subplots(1, 2)
    (steps,), random, along = found.coordinates, found.loss[:-1], found.loss[-1]
    if len(random):
        left.plot(steps, random.T, color=BLUE, alpha=0.5, linewidth=0.8)
        left.set_yscale("log")
    left.set_title(f"{len(random)} random directions", fontsize="small")
    plain(left, f"step, {found.facts['reach']:g} filter lengths", "loss, nats")
    parabola = found.facts["parabola"]
    # All slices pass the same weights in their middle; the mean is over rounding.
    base = found.loss[:, np.abs(steps).argmin()].mean()
    fine = np.linspace(steps[0], steps[-1], 200)
    curve = base + parabola["slope"] * fine + parabola["curvature"] * fine**2 / 2
    right.plot(steps, along, "o-", color=BLUE, markersize=3, label="loss")
    right.plot(fine, curve, "--", color=RED, label=f"parabola of λ = {parabola['eigenvalue']:.3g}")
    right.set_ylim(0, 1.05 * max(along.max(), base))
    right.set_title("top eigenvector", fontsize="small")
    right.legend(frameon=False)
    # curvature = eigenvalue |v|^2 along the direction v.
    length = (parabola["curvature"] / parabola["eigenvalue"]) ** 0.5
    plain(right, f"step, Euclidean length {length:.3g}", "loss, nats")
    caption(made, _where(found.facts))
    return save(made, file)


def draw_line(file: Path) -> list[Path]:
    """Draw the line between the ends of two runs; returns PNG and SVG."""
    found = Slice.load(file)
    made = figure(f"{found.facts['recipe']}: training loss on the line between two runs", 7, 4)
    axes = made.subplots()
    (steps,) = found.coordinates
    axes.plot(steps, found.loss[0], "o-", color=BLUE, markersize=3)
    axes.set_yscale("log")
    for (colour, _), (name, (at,)) in zip(STYLES[1:], found.marks.items(), strict=False):
        axes.axvline(at, color=colour, linestyle=":", label=name)
    axes.legend(frameon=False)
    plain(axes, "share of the way", "loss, nats")
    caption(made, _where(found.facts))
    return save(made, file)


def draw_planes(files: Sequence[Path], to: Path) -> list[Path]:
    """Draw planes side by side with the same levels; returns PNG and SVG, named as `to`."""
    planes = [Slice.load(file) for file in files]
    low = min(float(each.loss.min()) for each in planes)
    high = max(float(each.loss.max()) for each in planes)
    # One scale for all, so that widths can be compared; a loss of 0 has no logarithm.
    levels = np.geomspace(max(low, high * 1e-6), high, LEVELS)
    title = f"{planes[0].facts['recipe']}: training loss over planes, the same levels"
    made = figure(title if len(planes) > 1 else title.partition(",")[0], 5.2 * len(planes), 4.8)
    panels = made.subplots(1, len(planes), squeeze=False)[0]
    for axes, each in zip(panels, planes, strict=True):
        shown = _contours(axes, each, levels)
    made.colorbar(shown, ax=panels, label="loss, nats", format="%.2g")
    caption(made, _where(planes[0].facts))
    return save(made, to)


def _contours(axes: Axes, found: Slice, levels: np.ndarray) -> Any:
    rows, columns = found.coordinates
    loss = np.clip(found.loss.T, levels[0], levels[-1])
    shown = axes.contourf(rows, columns, loss, levels, norm="log", cmap="viridis")
    axes.contour(rows, columns, loss, levels, colors="white", linewidths=0.3)
    for name, (x, y) in found.marks.items():
        axes.plot(x, y, "o", color=RED, markeredgecolor="white")
        at, above = (x, y), (0, 7)
        axes.annotate(name, at, above, textcoords="offset points", color="white", ha="center")
    axes.locator_params(nbins=5)
    plain(axes, "along the first direction", "along the second")
    return shown


def draw_traces(files: Sequence[Path], to: Path) -> list[Path]:
    """Draw loss and distance along walks, a column a file; returns PNG and SVG, named as `to`."""
    traces = sorted(map(Chains.load, files), key=lambda trace: float(trace.facts["gamma"]))
    made = figure(f"Langevin walks around the end of {to.name}", 3.6 * len(traces), 5)
    panels = made.subplots(2, len(traces), squeeze=False, sharex=True, sharey="row")
    for column, trace in zip(panels.T, traces, strict=True):
        for axes, values in zip(column, (trace.loss, np.sqrt(trace.distance)), strict=True):
            for (colour, _), chain in zip(STYLES, values, strict=False):
                axes.plot(chain, color=colour, linewidth=0.8)
            plain(axes, "", "")
        column[0].set_title(f"γ = {trace.facts['gamma']:g}", fontsize="small")
        column[1].set_xlabel("step")
    panels[0, 0].set_ylabel("loss, nats")
    panels[1, 0].set_ylabel("distance from the anchor")
    facts = traces[0].facts
    text = (
        f"{facts['sampler']}, β = {facts['beta']:g}, burn-in of {facts['burn_in']} steps left out"
    )
    caption(made, text)
    return save(made, to)


def _what(facts: dict[str, Any]) -> str:
    return f"{facts['recipe']}, {facts['run']}"


def _where(facts: dict[str, Any]) -> str:
    return f"mean loss of {facts['samples']:,} training samples, {facts['dtype']}"
