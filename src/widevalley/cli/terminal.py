"""What goes to the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

UNCUT = 1000
"""Columns to lay a table out in, so that no cell is cut; a narrower terminal wraps its lines."""


def show(table: Table) -> None:
    """Print a table."""
    Console(width=UNCUT).print(table)
