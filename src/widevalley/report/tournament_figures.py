"""Anytime curves of many methods."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from widevalley.report.curves import gradients_and_values, label_axes
from widevalley.report.drawing import STYLES, figure, save
from widevalley.report.groups import Group

DASHES = ("-", "--", ":")


def draw_tournament(
    groups: Sequence[Group], panels: Sequence[tuple[str, str]], title: str, file: Path
) -> list[Path]:
    """Draw fields of the records against gradient evaluations, mean over seeds, the first on top.

    `panels` are pairs of what follows the split in a field and what names its axis. Returns the
    paths of PNG and SVG.
    """
    styles = [(colour, dash) for dash, (colour, _) in product(DASHES, STYLES)]
    made = figure(title, 6 * len(panels) + 2.5, 5)
    split = groups[0].monitored_split
    rows = made.subplots(1, len(panels), squeeze=False)[0]
    for axes, (field, name) in zip(rows, panels, strict=True):
        for k, group in enumerate(groups):
            gradients, values = gradients_and_values(group, f"{split}_{field}")
            colour, dash = styles[k % len(styles)]
            axes.plot(
                gradients,
                values.mean(axis=0),
                color=colour,
                linestyle=dash,
                linewidth=1.5,
                zorder=len(groups) - k,
                label=group.name,
            )
        label_axes(axes, f"{split} {name}")
    made.legend(*rows[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return save(made, file)
