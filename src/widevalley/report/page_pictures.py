"""What instruments left in a folder, as plotly's traces for the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from widevalley.valley.hessian import Density, Spectrum
from widevalley.valley.landscape import Slice

Picture = dict[str, Any]
"""Name, traces, titles of the axes, whether the second is logarithmic, and layout beyond that."""
BINS = 240
INNER = 0.98
"""Share of the eigenvalues that the inset of a spectrum shows, those in the middle."""
SMALLEST = 1e-6
"""Of the highest loss, the least that a plane tells apart."""
ON_INSET = {"xaxis": "x2", "yaxis": "y2"}
LINE = {"mode": "lines", "line": {"color": "#0072b2", "width": 1.5}, "opacity": 0.7}
INSET = {
    "xaxis2": {"domain": [0.45, 0.98], "anchor": "y2"},
    "yaxis2": {"domain": [0.5, 0.95], "anchor": "x2", "type": "log"},
}


def pictures_in(root: Path) -> list[Picture]:
    """One picture for each spectrum, density and slice in a folder or below, by its path.

    Raises ValueError naming a file that holds something else than its name says.
    """
    found = {}
    for pattern, draw in DRAWN.items():
        for file in root.rglob(pattern):
            found[file.relative_to(root).with_suffix("").as_posix()] = draw(file)
    return [{"name": name, **picture} for name, picture in sorted(found.items())]


def _spectrum(file: Path) -> Picture:
    found = Spectrum.load(file)
    values = np.concatenate([found.values, np.zeros(found.structural_zeros)])
    middle = np.quantile(values, (0.5 - INNER / 2, 0.5 + INNER / 2))
    return {
        "traces": [
            _histogram(values),
            _histogram(values[(values >= middle[0]) & (values <= middle[1])]) | ON_INSET,
        ],
        "x": f"eigenvalue; inset: the middle {INNER:.0%}",
        "y": "eigenvalues",
        "log": True,
        "layout": INSET,
    }


def _density(file: Path) -> Picture:
    found = Density.load(file)
    traces = [_histogram(found.values.ravel(), found.weights.ravel() / len(found.values))]
    return {"traces": traces, "x": "Ritz value", "y": "share of the spectrum", "log": True}


def _slice(file: Path) -> Picture:
    found = Slice.load(file)
    if len(found.coordinates) == 2:
        return _plane(found)
    traces: list[Picture] = [
        {"x": _plain(found.distances(k)), "y": _plain(loss), "name": f"direction {k + 1}", **LINE}
        for k, loss in enumerate(found.loss)
    ]
    if found.marks:  # between the weights of two runs
        traces = [{"x": _plain(found.coordinates[0]), "y": _plain(found.loss[0]), **LINE}]
    marks = [
        {"x": at[0], "text": name, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
        for name, at in found.marks.items()
    ]
    layout = {"annotations": marks, "showlegend": False}
    x = "share of the way" if found.marks else "distance"
    log = bool(found.loss.min() > 0)
    return {"traces": traces, "x": x, "y": "loss, nats", "log": log, "layout": layout}


def _plane(found: Slice) -> Picture:
    highest = found.loss[np.isfinite(found.loss)].max(initial=0.0)
    loss = np.log10(np.clip(found.loss.T, highest * SMALLEST or 1.0, None))
    lengths = found.lengths or (1.0, 1.0)
    ends = np.array([np.multiply(at, lengths) for at in found.marks.values()]).reshape(-1, 2)
    plane = {
        "type": "contour",
        "x": _plain(found.distances(0)),
        "y": _plain(found.distances(1)),
        "z": [_plain(row) for row in loss],
        "customdata": [_plain(row) for row in found.loss.T],
        "hovertemplate": "loss %{customdata:.4g} nats<extra></extra>",
        "colorscale": "Viridis",
        "ncontours": 16,
        "colorbar": {"title": {"text": "log10 loss"}, "thickness": 12},
    }
    marks = {
        "x": _plain(ends[:, 0]),
        "y": _plain(ends[:, 1]),
        "text": list(found.marks),
        "mode": "markers+text",
        "textposition": ["top center", "bottom center"] * len(ends),
        "cliponaxis": False,
        "textfont": {"color": "#fff"},
        "marker": {"color": "#d55e00", "size": 10, "line": {"color": "#fff", "width": 1.5}},
        "hoverinfo": "text",
    }
    axis = {"constrain": "domain", "showgrid": False}
    equal = {"xaxis": axis, "yaxis": {**axis, "scaleanchor": "x"}, "showlegend": False}
    x, y = "distance along the first direction", "distance along the second"
    return {"traces": [plane, marks], "x": x, "y": y, "log": False, "layout": equal}


def _histogram(values: np.ndarray, weights: np.ndarray | None = None) -> Picture:
    """Bars rather than plotly's own histogram, which would take every eigenvalue into the page."""
    heights, edges = np.histogram(values, BINS, weights=weights)
    some = heights > 0
    centres, width = (edges[1:] + edges[:-1]) / 2, float(edges[1] - edges[0])
    bars = {"type": "bar", "x": _plain(centres[some]), "y": _plain(heights[some]), "width": width}
    return bars | {"showlegend": False, "hovertemplate": "%{y:.4g} at %{x:.4g}<extra></extra>"}


def _plain(values: np.ndarray) -> list[float | None]:
    """Six digits, more than a screen shows; None for what JSON has not, where plotly has gaps."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


DRAWN: dict[str, Callable[[Path], Picture]] = {
    "spectrum.npz": _spectrum,
    "density.npz": _density,
    "slices.npz": _slice,
    "line.npz": _slice,
    "plane.npz": _slice,
    "around-*.npz": _slice,
}
"""What a file's name says of what is in it."""
