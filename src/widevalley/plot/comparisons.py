"""Several runs or methods side by side: a forest of differences, learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike

from widevalley.plot.style import BLUE, GREY, RED, STYLES, axes_or_new, label, plain_ticks
from widevalley.valley import Estimate


def forest(
    rows: Sequence[str],
    middle: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    ax: Axes | None = None,
    *,
    name: str = "difference",
    sides: tuple[str, str] = ("", ""),
) -> Axes:
    """A row a quantity: its value and interval, from the first row at the top to the last.

    What is apart from 0 is blue to the left and red to the right of it, the rest grey and hollow.

    Args:
        rows: names of the quantities.
        middle: values, (rows,).
        low: lower ends of their intervals; -inf where there is none.
        high: upper ends; inf where there is none.
        ax: axes to draw into.
        name: of the horizontal axis.
        sides: what it means to be left and right of 0, written above.
    """
    ax = axes_or_new(ax)
    middles, lows, highs = (np.asarray(values, dtype=float) for values in (middle, low, high))
    for k, (at, left, right) in enumerate(zip(middles, lows, highs, strict=True)):
        colour = BLUE if right < 0 else RED if left > 0 else GREY
        if np.isfinite(right - left):
            ax.plot([left, right], [k, k], color=colour, linewidth=1.8, solid_capstyle="butt")
        ax.plot(at, k, "o", color=colour, markerfacecolor="white" if colour == GREY else colour)
    ax.axvline(0, color="black", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="x", alpha=0.25)
    for text, at, side, colour in zip(
        sides, (0.0, 1.0), ("left", "right"), (BLUE, RED), strict=True
    ):
        ax.text(at, 1.01, text, transform=ax.transAxes, ha=side, color=colour, fontsize="medium")
    return label(ax, name, "")


Curves = Mapping[str, tuple[ArrayLike, ArrayLike]]
"""Steps (k,) and values (seeds, k) by name."""


def learning_curves(
    curves: Curves,
    ax: Axes | None = None,
    *,
    name: str = "loss",
    against: str = "gradient evaluations",
    level: float | None = 0.95,
) -> Axes:
    """Means over seeds on a logarithmic scale, the first on top, each with a band.

    The band is the confidence interval of the mean at this `level`, by Student's t, which is wide
    for few seeds; with None it is one standard error. Of a single seed there is none. Of more
    curves than there are `STYLES` the first are drawn.
    """
    ax = axes_or_new(ax)
    for k, (curve, (steps, values)) in enumerate(curves.items()):
        if k == len(STYLES):
            break
        (colour, dash), rows = STYLES[k], np.atleast_2d(np.asarray(values, dtype=float))
        mean, half = rows.mean(axis=0), half_width(rows, level)
        x, order = np.asarray(steps), 3 - k / len(STYLES)
        ax.plot(x, mean, color=colour, linestyle=dash, linewidth=1.8, label=curve, zorder=order)
        if half is not None:
            # A band that reaches below 0 would have no lower end on this scale.
            lower = np.maximum(mean - half, mean / 100)
            ax.fill_between(x, lower, mean + half, color=colour, alpha=0.15, linewidth=0)
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    plain_ticks(ax.yaxis)
    ax.grid(alpha=0.25)
    return label(ax, against, name)


def half_width(rows: np.ndarray, level: float | None) -> np.ndarray | None:
    """Half the width of the mean's interval over rows, (k,); None of a single row."""
    if len(rows) < 2:
        return None
    error: np.ndarray = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    # One quantile serves all points: the interval of an error of 1 around 0.
    return error if level is None else error * Estimate(0.0, 1.0, len(rows) - 1).interval(level)[1]
