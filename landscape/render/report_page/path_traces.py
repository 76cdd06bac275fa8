"""Recorded runs and named points on a surface, as traces: their paths, their places now, what hover boxes say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from landscape.render.numerals import count, number
from landscape.render.report_page.escaping import label
from landscape.render.report_page.packing import CHECKPOINTS, plain, thinned
from landscape.render.report_page.panel import dash, run_color
from landscape.render.runs import run_style

if TYPE_CHECKING:
    from landscape.records import PathOnSurface, Surface

SYMBOLS = ("x", "star", "square", "diamond", "pentagon")
# Letters on any colour of the map.
SEAM = "1px 1px 2px #000, -1px -1px 2px #000, 1px -1px 2px #000, -1px 1px 2px #000"
RUN_HOVER = (
    "%{meta[0]}, step %{customdata[0]}<br>loss %{customdata[1]:.5g}<br>at the projection %{customdata[2]:.5g}<br>"
    "%{customdata[3]:.4g} from the plane<extra></extra>"
)


def path_on_map(run: PathOnSurface, index: int) -> list[dict[str, Any]]:
    """A run on the map: a light seam, the line, the checkpoints from dark to bright, start and end."""
    style = run_style(index)
    kept = thinned(len(run.steps), CHECKPOINTS)
    x, y = plain(run.coordinates[kept, 0]), plain(run.coordinates[kept, 1])
    name, group = label(run.name), f"run {index}"
    base = {"type": "scatter", "x": x, "y": y, "legendgroup": group}
    times = np.linspace(0, 1, len(kept))
    seam = {
        **base,
        "mode": "lines",
        "line": {"color": "#FFFFFF", "width": 4.5},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    line = {
        **base,
        "mode": "lines+markers",
        "name": name,
        "legendcolor": run_color(index),
        "meta": [name],
        "customdata": hover(run, kept),
        "hovertemplate": RUN_HOVER,
        "line": {"color": style.line, "width": 1.8, "dash": dash(index)},
        "marker": {"size": 4.5, "color": [to_hex(style.ramp(time)) for time in times], "line": {"width": 0}},
    }
    ends = {
        "type": "scatter",
        "mode": "markers",
        "legendgroup": group,
        "hoverinfo": "skip",
        "showlegend": False,
        "x": [x[0], x[-1]],
        "y": [y[0], y[-1]],
        "marker": {
            "symbol": ["circle", SYMBOLS[index % len(SYMBOLS)]],
            "size": [9, 12],
            "color": ["#FFFFFF", style.bright],
            "line": {"width": 1.8, "color": style.dark},
        },
    }
    return [seam, line, ends]


def hover(run: PathOnSurface, kept: NDArray[np.int64]) -> list[list[Any]]:
    """Step, true loss, loss at the projection and distance of each checkpoint, for the hover boxes."""
    columns = (run.steps[kept], run.loss[kept], run.projected_loss[kept], run.distance[kept])
    return [list(row) for row in zip(*map(plain, columns), strict=True)]


def marker(index: int) -> dict[str, Any]:
    """Where a run is at the time of the slider: a circle of a fixed size on the screen."""
    style, radius = run_style(index), max(9.0 - 1.8 * index, 4.0)  # runs begin at the same place: none hides the others
    return {
        "type": "circle",
        "layer": "above",
        "xref": "x",
        "yref": "y",
        "xsizemode": "pixel",
        "ysizemode": "pixel",
        "xanchor": 0,
        "yanchor": 0,
        "x0": -radius,
        "x1": radius,
        "y0": -radius,
        "y1": radius,
        "fillcolor": style.bright,
        "line": {"color": "#FFFFFF" if style.bright != "#FFFFFF" else style.dark, "width": 2.5},
    }


def anchors(surface: Surface) -> list[dict[str, Any]]:
    """The named points of the plane."""
    if len(surface.anchor_names) == 0:
        return []
    names = [label(name) for name in surface.anchor_names]
    return [
        {
            "type": "scatter",
            "mode": "markers+text",
            "name": "points of the plane",
            "legendcolor": "@quiet",
            "x": plain(surface.anchor_coordinates[:, 0]),
            "y": plain(surface.anchor_coordinates[:, 1]),
            "text": names,
            "textposition": "bottom right",
            "textfont": {"color": "#FFFFFF", "size": 11, "shadow": SEAM},
            "customdata": plain(surface.anchor_loss),
            "hovertemplate": "%{text}<br>loss %{customdata:.5g}<extra></extra>",
            "marker": {"symbol": "diamond-open", "size": 9, "color": "#FFFFFF", "line": {"width": 2}},
        }
    ]


def words(run: PathOnSurface, kept: Sequence[int] | NDArray[np.int64]) -> list[str]:
    """Where a run is, in words."""
    return [
        f"{run.name}, step {count(int(run.steps[at]))}: loss {number(float(run.loss[at]), 4)}, at its projection "
        f"{number(float(run.projected_loss[at]), 4)}, {number(float(run.distance[at]), 3)} from the plane"
        for at in kept
    ]


def path_in_space(
    run: PathOnSurface, index: int, kept: NDArray[np.int64], projected: list[Any], true: list[Any]
) -> list[dict[str, Any]]:
    """A run at its projections, and dotted at its true losses."""
    style, name = run_style(index), label(run.name)
    base = {
        "type": "scatter3d",
        "mode": "lines",
        "x": plain(run.coordinates[kept, 0]),
        "y": plain(run.coordinates[kept, 1]),
        "meta": [name],
        "customdata": hover(run, kept),
        "hovertemplate": RUN_HOVER,
        "legendgroup": f"run {index}",
    }
    color = style.bright if style.bright != "#FFFFFF" else "#B8BEC6"
    return [
        {**base, "z": projected, "name": name, "line": {"color": color, "width": 6}},
        {**base, "z": true, "name": f"{name}, true loss", "line": {"color": color, "width": 3, "dash": "dot"}},
    ]
