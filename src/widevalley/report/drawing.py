"""How pictures are kept."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")


def save(made: Figure, file: Path) -> list[Path]:
    """Write a figure beside a file of numbers, as PNG and SVG; returns their paths."""
    paths = [file.with_suffix(suffix) for suffix in SUFFIXES]
    for path in paths:
        made.savefig(path)
    return paths
