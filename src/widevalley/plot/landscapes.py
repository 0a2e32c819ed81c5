"""The loss along lines and over planes, local entropy, and walks around weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from widevalley.plot.style import BLUE, GREY, RED, STYLES, axes_or_new, label, plain_ticks
from widevalley.valley.landscape import Slice, ToyLandscape
from widevalley.valley.samplers import Chains

LEVELS = 14
"""Contours of a plane."""
LOWEST = 1e-6
"""Of the highest loss, the least that contours tell apart."""
OUTLINE = (withStroke(linewidth=2.5, foreground="white"),)
"""Around text, so that it can be read on any colour."""


def slices(
    found: Slice, ax: Axes | None = None, *, chosen: Sequence[int] | None = None, name: str = ""
) -> Axes:
    """The loss along lines, on a logarithmic scale, with the points that have a name.

    Steps are distances where the slice knows how long its directions are, and on one line between
    two marks shares of the way. `chosen` are the directions drawn, by default all; `name` stands
    in the legend.
    """
    ax = axes_or_new(ax)
    (steps,) = found.coordinates
    rows = range(len(found.loss)) if chosen is None else chosen
    for k in rows:
        along = steps if found.marks else found.distances(k)
        many: dict[str, Any] = {"alpha": 0.6, "linewidth": 1.0} if len(rows) > 1 else {}
        first = name if k == rows[0] and name else "_"
        ax.plot(along, found.loss[k], color=BLUE, label=first, **many)
    if found.loss.min() > 0:
        ax.set_yscale("log")
        plain_ticks(ax.yaxis)
    for mark, (at,) in found.marks.items():
        ax.axvline(at, color=RED, linestyle=":")
        above: dict[str, Any] = {
            "xycoords": ("data", "axes fraction"),
            "textcoords": "offset points",
        }
        ax.annotate(mark, (at, 1), (0, 3), ha="center", fontsize="small", **above)
    if found.marks:
        return label(ax, "share of the way", "loss, nats")
    return label(ax, "distance" if found.lengths else "step", "loss, nats")


def plane_levels(found: Sequence[Slice]) -> np.ndarray:
    """Contour levels that are the same for several planes, evenly spaced in log loss."""
    low = min(float(each.loss.min()) for each in found)
    high = max(float(each.loss.max()) for each in found)
    # A loss of 0 has no logarithm.
    return np.geomspace(max(low, high * LOWEST), high * (1 + 1e-9), LEVELS)


def contours(found: Slice, ax: Axes | None = None, *, levels: np.ndarray | None = None) -> Axes:
    """Contours of the loss over a plane, with the points that have a name.

    Crosses are the lowest points of valleys, those of the grid below all their neighbours: where a
    valley has none it goes on beyond the edge. `levels` are those of `plane_levels` by default;
    `ax.collections[0]` is what a colour bar takes.
    """
    ax = axes_or_new(ax)
    if levels is None:
        levels = plane_levels([found])
    rows, columns = found.distances(0), found.distances(1)
    loss = np.clip(found.loss.T, levels[0], levels[-1])
    ax.contourf(rows, columns, loss, levels, norm="log", cmap="viridis")
    ax.contour(rows, columns, loss, levels, colors="white", linewidths=0.4)
    crosses = [(rows[i], columns[j]) for i, j in lowest_points(found.loss)]
    for cross in crosses:
        ax.plot(*cross, "x", color="white", markersize=8, markeredgewidth=2)
    lengths = found.lengths or (1.0, 1.0)
    for name, at in found.marks.items():
        x, y = (step * length for step, length in zip(at, lengths, strict=True))
        ax.plot(x, y, "o", color=RED, markeredgecolor="white", markersize=8)
        # The name stands where the nearest cross does not.
        nearest = min(crosses, key=lambda at: math.hypot(at[0] - x, at[1] - y), default=(x, y))
        above = nearest[1] <= y
        text = ax.annotate(
            name,
            (x, y),
            (0, 8 if above else -8),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
        )
        text.set_path_effects(list(OUTLINE))
    ax.set_aspect("equal")
    ax.locator_params(nbins=6)
    if found.lengths:
        return label(ax, "distance along the first direction", "distance along the second")
    return label(ax, "step along the first direction", "step along the second")


def lowest_points(loss: np.ndarray) -> list[tuple[int, int]]:
    """Indices of the inner points of a grid that are below all of their eight neighbours."""
    inner, (n, m) = loss[1:-1, 1:-1], loss.shape
    lowest = np.ones_like(inner, dtype=bool)
    for i in range(3):
        for j in range(3):
            if (i, j) != (1, 1):
                lowest &= inner < loss[i : n - 2 + i, j : m - 2 + j]
    return [(int(i) + 1, int(j) + 1) for i, j in np.argwhere(lowest)]


def local_entropy(found: ToyLandscape, ax: Axes | None = None) -> Axes:
    """A loss f in one dimension and -F at each scope, each above its least value, with its minimum.

    The paper's Fig. 2.
    """
    ax = axes_or_new(ax)
    names = ["f", *(f"-F, γ = {gamma:g}" for gamma in found.gammas)]
    curves = [found.loss - found.loss.min(), *found.entropies]
    for (colour, _), dash, name, values, at in zip(
        STYLES, ("-", "--", "-.", ":") * len(names), names, curves, found.minima(), strict=False
    ):
        ax.plot(found.x, values, color=colour, linestyle=dash, label=f"{name}: least at {at:g}")
        ax.plot(at, 0, "o", color=colour, clip_on=False, zorder=3)
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names))
    return label(ax, "x", "above the least value")


def walks(found: Chains, ax: Axes | None = None, *, distance: bool = False) -> Axes:
    """The loss of each chain, step by step, beside that of the anchor.

    With `distance` its squared distance from the anchor less that of the coupled chain, which moves
    on a flat loss: what the valley's walls take off.
    """
    ax = axes_or_new(ax)
    values = found.distance - found.flat_distance if distance else found.loss
    for (colour, _), chain in zip(STYLES, values, strict=False):
        ax.plot(chain, color=colour, linewidth=0.8)
    ax.axhline(0.0 if distance else found.facts["anchor_loss"], color=GREY, linestyle=":")
    return label(ax, "step", "distance² less a flat loss's" if distance else "loss, nats")
