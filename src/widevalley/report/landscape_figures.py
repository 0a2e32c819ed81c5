"""Pictures of slices of the loss, of the toy landscape and of walks, drawn from files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from widevalley import plot
from widevalley.report.drawing import save
from widevalley.valley.landscape import Slice, ToyLandscape
from widevalley.valley.samplers import Chains


def draw_toy(file: Path) -> list[Path]:
    """Draw a file of `ToyLandscape.save`, the paper's Fig. 2; returns PNG and SVG."""
    return save(plot.figure(ToyLandscape.load(file)), file)


def draw_slices(file: Path) -> list[Path]:
    """Draw 1-D slices through the end of a run, all on one scale; returns PNG and SVG."""
    found = Slice.load(file)
    made = plot.empty_figure(f"{_what(found.facts)}: slices of the training loss", 10, 4.6)
    left, right = made.subplots(1, 2, sharey=True)
    random = range(len(found.loss) - 1)
    plot.slices(found, left, chosen=random)
    left.set_title(
        f"{len(random)} random directions, each filter by up to {found.facts['reach']:g} of its "
        "length",
        fontsize="medium",
    )
    plot.slices(found, right, chosen=[len(random)], name="loss")
    right.set_title("top eigenvector", fontsize="medium")
    _parabola(found, right)
    right.set_ylabel("")
    # Files of earlier versions do not tell lengths; that of the eigenvector follows.
    if not found.lengths:
        parabola = found.facts["parabola"]
        length = (parabola["curvature"] / parabola["eigenvalue"]) ** 0.5
        left.set_xlabel(f"step, {found.facts['reach']:g} filter lengths")
        right.set_xlabel(f"step, a distance of {length:.3g}")
    right.legend(frameon=False)
    plot.caption(made, _where(found.facts))
    return save(made, file)


def _parabola(found: Slice, ax: Axes) -> None:
    """What the loss would be along the eigenvector if it were quadratic."""
    parabola, (steps,) = found.facts["parabola"], found.coordinates
    # All slices pass the same weights in their middle; the mean is over rounding.
    base = found.loss[:, np.abs(steps).argmin()].mean()
    curve = base + parabola["slope"] * steps + parabola["curvature"] * steps**2 / 2
    colour, dash = plot.STYLES[1]
    name = f"parabola of λ = {parabola['eigenvalue']:.3g}"
    # It may fall below 0, which a logarithmic scale cannot show.
    ax.plot(found.distances(-1), curve.clip(found.loss.min() / 10), dash, color=colour, label=name)


def draw_line(file: Path) -> list[Path]:
    """Draw the line between the ends of two runs; returns PNG and SVG."""
    found = Slice.load(file)
    title = f"{found.facts['recipe']}: training loss on the line between two runs"
    made = plot.figure(found, title=title)
    plot.caption(made, _where(found.facts))
    return save(made, file)


def draw_planes(files: Sequence[Path], to: Path) -> list[Path]:
    """Draw planes side by side with the same levels; returns PNG and SVG, named as `to`."""
    planes = [Slice.load(file) for file in files]
    what = f"{planes[0].facts['recipe']}: training loss over "
    several = "planes of random directions, the same levels"
    title = what + (several if len(planes) > 1 else "the plane through three runs")
    made = plot.planes_figure(planes, title=title)
    text = "a cross: the lowest point of a valley in this plane"
    plot.caption(made, f"{_where(planes[0].facts)}; {text}")
    return save(made, to)


def draw_traces(files: Sequence[Path], to: Path) -> list[Path]:
    """Draw loss and distance along walks, a column a file; returns PNG and SVG, named as `to`."""
    title = f"Langevin walks around the end of {to.name}"
    return save(plot.walks_figure([Chains.load(file) for file in files], title=title), to)


def _what(facts: dict[str, Any]) -> str:
    return f"{facts['recipe']}, {facts['run']}"


def _where(facts: dict[str, Any]) -> str:
    return f"mean loss of {facts['samples']:,} training samples, {facts['dtype']}"
