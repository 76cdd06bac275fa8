"""Barriers between all pairs of minima as a map that can also show the distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from landscape.records.displaying import is_logarithmic
from landscape.render import theme
from landscape.render.connectivity_figure import check_connectivity, default_threshold, off_diagonal, ordered
from landscape.render.numerals import count, number, plural
from landscape.render.path_curves import KINDS
from landscape.render.report_page.escaping import label
from landscape.render.report_page.packing import plain
from landscape.render.report_page.panel import Panel, axis

if TYPE_CHECKING:
    from landscape.records import Connectivity

Array = NDArray[np.float64]
NUMBERS = 15  # minima up to which the values stand in the cells
LONGEST = 18  # letters of a name beside the map


def connectivity_panel(record: Connectivity, name: str) -> Panel:
    """The barriers, ordered by the groups that low ways join, with a frame around each; a choice shows the distances.

    Parameters
    ----------
    record : Connectivity
    name : str
        What the page calls it.
    """
    check_connectivity(record)
    limit = default_threshold(record)
    groups = record.clusters(limit)
    order = ordered(record, groups)
    names = [str(record.point_names[index]) for index in order]
    values = off_diagonal(record.barriers[np.ix_(order, order)])
    matrices = [("barrier", values)]
    for words, matrix in (
        ("standard error of the barrier", record.barrier_stderr),
        ("distance of parameters", record.distances),
        ("distance of outputs", record.function_distances),
    ):
        if matrix.size and np.isfinite(off_diagonal(matrix.copy())).any():
            matrices.append((words, off_diagonal(matrix[np.ix_(order, order)])))
    choices: list[dict[str, Any]] = [{"name": words, "changes": _changes(words, matrix)} for words, matrix in matrices]
    total = len(order)
    data = [
        {
            "type": "heatmap",
            "x": list(range(1, total + 1)),
            "y": list(range(1, total + 1)),
            "name": "",
            "colorscale": _colors(),
            "xgap": 1,
            "ygap": 1,
            "texttemplate": "%{text}" if total <= NUMBERS else "",
            **choices[0]["changes"],
        }
    ]
    ticks: dict[str, Any] = {"tickvals": list(range(1, total + 1)), "showgrid": False, "zeroline": False}
    layout = {
        "xaxis": axis("", range=[0.5, total + 0.5], **ticks),
        "yaxis": axis(
            "", range=[total + 0.5, 0.5], ticktext=[_tick(row, one) for row, one in enumerate(names)], **ticks
        ),
        "shapes": [_frame(group, groups[order]) for group in np.unique(groups) if (groups == group).sum() > 1],
        "showlegend": False,
    }
    sizes = np.bincount(groups)
    finite = values[np.isfinite(values)]
    range_ = f"from {number(float(finite.min()))} to {number(float(finite.max()))}" if len(finite) else "none is finite"
    facts = [
        f"{name}: {count(total)} minima in {plural(len(sizes), 'group')}, n = {count(record.n)}",
        f"framed: joined by barriers of at most {number(limit, 2)} (a tenth of the mean loss of the minima)",
        f"way: {KINDS.get(record.path, record.path)}" + (f", aligned: {record.alignment}" if record.alignment else ""),
    ]
    missing = int(np.isnan(values).sum() - total) // 2
    warnings = [f"no finite barrier of {plural(missing, 'pair')}"] if missing else []
    words = f"Barriers between {count(total)} minima, {range_}; {plural(len(sizes), 'group')} joined by low ways."
    return Panel("Barriers between minima", words, data, layout, [], facts, warnings, "tall", choices=choices)


def _colors() -> list[list[Any]]:
    places = np.linspace(0, 1, 13)
    return [[float(round(place, 4)), to_hex(theme.LANDSCAPE(place))] for place in places]


def _changes(words: str, values: Array) -> dict[str, Any]:
    """What the map shows of a matrix: colours, numbers, hover boxes, and the bar."""
    finite = values[np.isfinite(values)]
    logarithmic = words == "barrier" and is_logarithmic(values)
    bar: dict[str, Any] = {"title": {"text": label(words).replace(" of ", "<br>of ")}, "thickness": 12, "len": 0.85}
    bar["outlinewidth"] = 0
    low, high = min(0.0, float(finite.min(initial=0.0))), float(finite.max(initial=0.0))
    shown = values
    if logarithmic:
        positive = finite[finite > 0]
        low, high = np.log10(float(positive.min())), np.log10(float(positive.max()))
        shown = np.log10(np.maximum(values, 10.0**low))
        marks = np.arange(np.ceil(low), np.floor(high) + 1)
        bar |= {"tickvals": plain(marks), "ticktext": [number(float(10.0**mark), 1) for mark in marks]}
    texts = [[number(float(one)) if np.isfinite(one) else "" for one in row] for row in values]
    return {
        "z": [plain(row) for row in shown],
        "zmin": float(low),
        "zmax": float(high if high > low else low + 1),
        "text": texts,
        "hovertemplate": f"minima %{{y}} and %{{x}}<br>{label(words)} %{{text}}<extra></extra>",
        "colorbar": bar,
    }


def _tick(row: int, name: str) -> str:
    short = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    return f"{row + 1}: {label(short)}"


def _frame(group: int, groups: NDArray[np.int64]) -> dict[str, Any]:
    mine = np.flatnonzero(groups == group)
    low, high = float(mine[0]) + 0.5, float(mine[-1]) + 1.5
    look = {"type": "rect", "xref": "x", "yref": "y", "layer": "above"}
    return {**look, "x0": low, "x1": high, "y0": low, "y1": high, "line": {"color": "@run-0", "width": 3}}
