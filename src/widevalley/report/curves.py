"""Learning curves against gradient evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from widevalley.report.drawing import STYLES
from widevalley.report.groups import Group

LONG_NAME = 40
"""Characters from which names stand below the picture instead of inside it."""


@dataclass(frozen=True)
class Panel:
    """One set of axes: a field of the records of several groups."""

    groups: Sequence[Group]
    field: str
    """What follows the split in the records' field."""
    label: str
    """Names the vertical axis, after the split."""
    title: str = ""


def draw_curves(groups: Sequence[Group], title: str, path: Path) -> None:
    """Draw the metric of the runs, and their loss where that is something else."""
    metric = groups[0].metric
    panels = [Panel(groups, metric.field, metric.title)]
    if metric.field != "loss":
        panels.append(Panel(groups, "loss", "loss, nats"))
    draw_panels(panels, title, path)


def draw_panels(panels: Sequence[Panel], title: str, path: Path) -> None:
    """Draw fields against gradient evaluations, mean over seeds and a band of standard error.

    Of more groups than there are styles, the first are drawn. Written to `path` in the format
    its suffix names.
    """
    names = [group.name for panel in panels for group in panel.groups]
    # Long names, of a sweep's points, would hide the curves they name.
    long_names = max(map(len, names)) > LONG_NAME
    size = 5 * max(len(panels), 1.4), 6 if long_names else 4.2
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    figure.suptitle(title)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for k, group in enumerate(panel.groups[: len(STYLES)]):
            _draw(axes, group, f"{group.monitored_split}_{panel.field}", k)
        label_axes(axes, f"{panel.groups[0].monitored_split} {panel.label}")
        axes.set_title(panel.title)
        if not long_names:
            axes.legend(frameon=False)
    if long_names:
        below: Any = {"loc": "outside lower center", "frameon": False, "fontsize": "x-small"}
        figure.legend(*axes.get_legend_handles_labels(), **below)
    figure.savefig(path)


def _draw(axes: Axes, group: Group, field: str, k: int) -> None:
    colour, dashes = STYLES[k % len(STYLES)]
    gradients, values = gradients_and_values(group, field)
    mean = values.mean(axis=0)
    axes.plot(gradients, mean, color=colour, linestyle=dashes, linewidth=1.8, label=group.name)
    if len(values) > 1:
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        axes.fill_between(
            gradients, mean - error, mean + error, color=colour, alpha=0.18, linewidth=0
        )


def gradients_and_values(group: Group, field: str) -> tuple[np.ndarray, np.ndarray]:
    """Gradient counts, and one row of values a seed, at the counts all seeds were evaluated at."""
    # Runs may have been evaluated at other counts, where `evaluate_every` changed between them.
    runs = [{r["gradients"]: r[field] for r in folder.records} for folder in group.folders]
    shared = sorted(set.intersection(*(set(run) for run in runs)))
    return np.array(shared), np.array([[run[at] for at in shared] for run in runs])


def label_axes(axes: Axes, name: str) -> None:
    """Label axes of a quantity, on a logarithmic scale, against gradient evaluations."""
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
