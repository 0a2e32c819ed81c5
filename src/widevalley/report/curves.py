"""Learning curves of run folders against gradient evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from widevalley import plot
from widevalley.report.groups import Group

LONG_NAME = 30
"""Characters from which names stand below the picture instead of inside it."""
MOST = 6
"""Curves of a picture: of more none could be followed."""


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

    Of many groups the first are drawn. Written to `path` in the format its suffix names.
    """
    names = short_names([group.name for panel in panels for group in panel.groups[:MOST]])
    # Long names, of a sweep's points, would hide the curves they name.
    long_names = max(map(len, names.values())) > LONG_NAME
    made = plot.empty_figure(title, 5.2 * max(len(panels), 1.4), 6 if long_names else 4.4)
    for ax, panel in zip(made.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        shown = panel.groups[:MOST]
        # A folder may have runs with held-out samples beside runs without.
        split = " or ".join(sorted({group.monitored_split for group in shown}))
        curves = {
            names[g.name]: gradients_and_values(g, f"{g.monitored_split}_{panel.field}")
            for g in shown
        }
        plot.learning_curves(curves, ax, name=f"{split} {panel.label}", level=None)
        ax.set_title(panel.title)
        if not long_names:
            ax.legend(frameon=False)
    text = band([panel.groups for panel in panels])
    if long_names:
        below: Any = {"loc": "outside lower center", "frameon": False, "fontsize": "small"}
        made.legend(*ax.get_legend_handles_labels(), **below, title=text, title_fontsize="small")
    else:
        plot.caption(made, text)
    made.savefig(path)


def band(panels: Sequence[Sequence[Group]]) -> str:
    """What the bands are, and what is left out, in words."""
    seeds = max(len(group.folders) for groups in panels for group in groups)
    text = f"mean over up to {seeds} seeds and one standard error" if seeds > 1 else "one seed"
    most = max(map(len, panels))
    return text + (f"; the first {MOST} of {most}" if most > MOST else "")


def short_names(names: Sequence[str]) -> dict[str, str]:
    """What tells each from the others: a sweep's point without the settings that all share."""
    settings = {name: [part.strip() for part in name.split(",")] for name in names}
    shared = set.intersection(*map(set, settings.values())) if len(settings) > 1 else set()
    short = {
        name: ", ".join(each.removeprefix("optimizer.") for each in every if each not in shared)
        for name, every in settings.items()
    }
    return {name: short[name] or name for name in names}


def gradients_and_values(group: Group, field: str) -> tuple[np.ndarray, np.ndarray]:
    """Gradient counts, and one row of values a seed, at the counts all seeds were evaluated at."""
    # Runs may have been evaluated at other counts, where `evaluate_every` changed between them.
    runs = [{r["gradients"]: r[field] for r in folder.records} for folder in group.folders]
    shared = sorted(set.intersection(*(set(run) for run in runs)))
    return np.array(shared), np.array([[run[at] for at in shared] for run in runs])
