"""What every picture shares."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

BLUE, RED, GREEN, PINK, YELLOW, SKY = (
    *("#0072B2", "#D55E00", "#009E73"),
    *("#CC79A7", "#E69F00", "#56B4E9"),
)
GREY = "0.45"
STYLES = (
    (BLUE, "-"),
    (RED, "--"),
    (GREEN, "-."),
    (PINK, ":"),
    (YELLOW, (0, (5, 1, 1, 1, 1, 1))),
    (SKY, (0, (1, 1))),
)
"""Colours that any colour vision can tell apart (Okabe and Ito's), each with a dash of its own."""
SUFFIXES = (".png", ".svg")


def figure(title: str, width: float, height: float) -> Figure:
    """An empty figure of this many inches."""
    # A figure of its own, not pyplot's: that one keeps every figure until it is closed.
    made = Figure(figsize=(width, height), layout="constrained", dpi=150)
    made.suptitle(title)
    return made


def caption(made: Figure, text: str) -> None:
    """Small print below a figure."""
    made.supxlabel(text, fontsize="x-small", color=GREY)


def plain(axes: Axes, x: str, y: str) -> None:
    """Label axes and take away the box."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_xscale() == "log":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def save(made: Figure, file: Path) -> list[Path]:
    """Write a figure beside a file of numbers, as PNG and SVG; returns their paths."""
    paths = [file.with_suffix(suffix) for suffix in SUFFIXES]
    for path in paths:
        made.savefig(path)
    return paths
