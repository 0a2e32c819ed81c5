"""What every picture shares: colours, axes, small print."""

from __future__ import annotations

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

BLUE, RED, GREEN, PINK, YELLOW, SKY = (
    *("#0072B2", "#D55E00", "#009E73"),
    *("#CC79A7", "#E69F00", "#56B4E9"),
)
GREY = "0.45"
COLOURS = (BLUE, RED, GREEN, PINK, YELLOW, SKY)
"""Colours that any colour vision can tell apart (Okabe and Ito's)."""
DASHES = ("-", "--", "-.", ":")
STYLES = tuple((COLOURS[k % 6], DASHES[(k + k // 6) % 4]) for k in range(24))
"""Colours and dashes of up to 24 curves; no two are alike, and neighbours differ in both."""


def axes_or_new(ax: Axes | None) -> Axes:
    """`ax`, or the axes of a new figure of pyplot's, which notebooks show."""
    if ax is not None:
        return ax
    _, made = pyplot.subplots(layout="constrained", dpi=150)
    return made


def empty_figure(title: str, width: float, height: float) -> Figure:
    """A figure of this many inches."""
    # A figure of its own, not pyplot's: that one keeps every figure until it is closed.
    made = Figure(figsize=(width, height), layout="constrained", dpi=150)
    if title:
        made.suptitle(title)
    return made


def caption(made: Figure, text: str) -> None:
    """Small print below a figure."""
    made.supxlabel(text, fontsize="small", color=GREY)


def label(ax: Axes, x: str, y: str) -> Axes:
    """Label axes, and take away the box."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plain_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic scale that are written as 1,000 or 0.02."""
    low, high = axis.get_view_interval()
    decades = LogLocator(subs=(1, 2, 5) if high < 1e4 * low else (1,))
    # Within a decade the powers of ten, and twice and five times them, are too few.
    axis.set_major_locator(decades if high > 10 * low else MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())
