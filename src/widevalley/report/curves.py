"""Learning curves against gradient evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from widevalley.report.groups import Group

STYLES = (
    ("#0072B2", "-"),
    ("#D55E00", "--"),
    ("#009E73", "-."),
    ("#CC79A7", ":"),
    ("#E69F00", (0, (5, 1, 1, 1, 1, 1))),
    ("#56B4E9", (0, (1, 1))),
)
"""Colours told apart with any colour vision (Okabe and Ito's), each with a dash of its own."""


LONG_NAME = 30
"""Characters from which names stand below the picture instead of inside it."""


def draw_curves(groups: Sequence[Group], title: str, path: Path) -> None:
    """Draw error and loss over the runs, mean over seeds and a band of its standard error.

    Of more groups than there are styles, the first are drawn. Written to `path` in the format
    its suffix names.
    """
    groups = groups[: len(STYLES)]
    long_names = max(len(group.name) for group in groups) > LONG_NAME
    figure = Figure(figsize=(10, 6 if long_names else 4.2), layout="constrained", dpi=150)
    figure.suptitle(title)
    split = groups[0].split
    left, right = figure.subplots(1, 2)
    for k, group in enumerate(groups):
        _draw(left, group, f"{group.split}_error", k)
        _draw(right, group, f"{group.split}_loss", k)
    _label(left, f"{split} error, %")
    _label(right, f"{split} loss, nats")
    if long_names:
        lines, names = left.get_legend_handles_labels()
        figure.legend(lines, names, loc="outside lower center", frameon=False, fontsize="x-small")
    else:
        left.legend(frameon=False)
    figure.savefig(path)


def _draw(axes: Axes, group: Group, field: str, k: int) -> None:
    colour, dashes = STYLES[k % len(STYLES)]
    gradients, values = _curves(group, field)
    mean = values.mean(axis=0)
    axes.plot(gradients, mean, color=colour, linestyle=dashes, linewidth=1.8, label=group.name)
    if len(values) > 1:
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        axes.fill_between(
            gradients, mean - error, mean + error, color=colour, alpha=0.18, linewidth=0
        )


def _curves(group: Group, field: str) -> tuple[np.ndarray, np.ndarray]:
    """Gradient counts, and one row of values a seed, at the counts all seeds were judged at."""
    runs = [{r["gradients"]: r[field] for r in folder.records} for folder in group.folders]
    shared = sorted(set.intersection(*(set(run) for run in runs)))
    return np.array(shared), np.array([[run[at] for at in shared] for run in runs])


def _label(axes: Axes, name: str) -> None:
    axes.set_yscale("log")
    axes.set_xlabel("gradient evaluations")
    axes.set_ylabel(name)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
