"""One self-contained page of runs: table, curves to play with, and the paper's Fig. 2 alive."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from widevalley._files import atomic_write
from widevalley.report.groups import Group
from widevalley.report.page_pictures import Picture
from widevalley.report.table import run_cells
from widevalley.training import RunFolder
from widevalley.valley.landscape import toy_landscape

AXES = {"gradients": "gradient evaluations", "epoch": "epochs", "seconds": "seconds"}
"""What curves may be drawn against: fields of a record, and what they are called."""
SCOPES = tuple(10 ** (k / 5 - 5) for k in range(26))
"""Of the explorer's slider, from 1e-5 to 1."""


def write_page(
    groups: Sequence[Group],
    title: str,
    file: Path,
    diverged: Sequence[RunFolder] = (),
    pictures: Sequence[Picture] = (),
) -> Path:
    """Write the page; it needs no network. Returns its path."""
    heads, rows = run_cells(groups, diverged)
    curves = [_curves(group) for group in groups]
    data = {"axes": AXES, "groups": curves, "pictures": pictures, "toy": _explorer()}
    template = resources.files("widevalley.report").joinpath("page.html").read_text("utf-8")
    parts = {
        "title": escape(title),
        "head": "".join(f"<th>{escape(head)}</th>" for head in heads),
        "rows": "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        ),
        # A string that ends the script must not.
        "data": json.dumps(data, allow_nan=False).replace("</", "<\\/"),
        "plotly": b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode(),  # 2 MB of 5
    }
    for name, part in parts.items():
        template = template.replace(f"<!--{name}-->", part)
    with atomic_write(file) as out:
        out.write(template.encode())
    return file


def _curves(group: Group) -> dict[str, Any]:
    """Of each seed every field that all records have, and the settings."""
    runs = [
        {
            name: [record[name] for record in folder.records]
            for name, value in folder.records[0].items()
            if isinstance(value, float | int) and all(name in r for r in folder.records)
        }
        for folder in group.folders
    ]
    return {"name": group.name, "runs": runs, "settings": _settings(group.folders[0].config)}


def _settings(config: dict[str, Any]) -> str:
    own = {k: v for k, v in config.items() if not isinstance(v, dict) and k not in ("seed",)}
    optimizer = config.get("optimizer", {})
    lines = [f"{k} {v}" for k, v in optimizer.items()]
    lines += [f"{k} {own[k]}" for k in ("epochs", "batch_size", "schedule", "dropout") if k in own]
    return "<br>".join(lines)


def _explorer() -> dict[str, Any]:
    """The landscape of Fig. 2 and its -F at every scope, by the package's own quadrature."""
    toy = toy_landscape(SCOPES)
    return {
        "x": toy.x.tolist(),
        "loss": [round(v, 5) for v in toy.loss.tolist()],
        "gammas": list(SCOPES),
        "entropies": [[round(v, 4) for v in each.tolist()] for each in toy.entropies],
    }
