"""Anytime curves of many methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from widevalley import plot
from widevalley.report.curves import gradients_and_values
from widevalley.report.drawing import save
from widevalley.report.groups import Group


def draw_tournament(
    groups: Sequence[Group], panels: Sequence[tuple[str, str]], title: str, file: Path
) -> list[Path]:
    """Draw fields of the records against gradient evaluations, mean over seeds, the first on top.

    `panels` are pairs of what follows the split in a field and what names its axis. Returns the
    paths of PNG and SVG.
    """
    made = plot.empty_figure(title, 6 * len(panels) + 2.5, 5.2)
    split = groups[0].monitored_split
    row = made.subplots(1, len(panels), squeeze=False)[0]
    for ax, (field, name) in zip(row, panels, strict=True):
        curves = {group.name: gradients_and_values(group, f"{split}_{field}") for group in groups}
        # Without bands: those of so many methods would be one grey field.
        means = {method: (at, values.mean(axis=0)) for method, (at, values) in curves.items()}
        plot.learning_curves(means, ax, name=f"{split} {name}")
    made.legend(*row[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return save(made, file)
