"""A loss surface, in space and as a map, with the runs on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from landscape.records.displaying import LOGARITHMIC_RANGE, is_spread
from landscape.render import theme
from landscape.render.camera import still_view
from landscape.render.heights import Heights, heights, marked
from landscape.render.numerals import count, number, numbers, plural
from landscape.render.plane_map import check_surface
from landscape.render.relief_runs import Ground
from landscape.render.report_page.escaping import label
from landscape.render.report_page.packing import CHECKPOINTS, GRID, floats, plain, thinned
from landscape.render.report_page.panel import Panel, axis, line, value_axis, words_move
from landscape.render.report_page.path_traces import anchors, marker, path_in_space, path_on_map, words
from landscape.render.runs import run_style
from landscape.render.terrain import box_of, terrain

if TYPE_CHECKING:
    from landscape.records import Surface

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
BANDS = 18
MARKS = 5  # on the vertical axis in space
DEEPER = 0.6  # of the range of the heights, in which true losses are shown below it
CORNER = 0.08  # of a side, in which there are no marks
APART = 0.05  # of the range: marks from the corner
EYE = 2.5  # distance of the viewer, in the unit of the scene's box
# Safe in labels of a WebGL scene, which has rules of its own for markup.
PLAIN = re.compile(r"[\w .,()+-]*")


@dataclass(frozen=True)
class _Scale:
    """How values become heights."""

    logarithmic: bool
    low: float
    high: float

    @classmethod
    def of(cls, shown: Heights) -> _Scale:
        if len(shown.levels) == 0:
            return cls(False, 0.0, 1.0)
        return cls(shown.logarithmic, float(shown.levels[0]), float(shown.levels[-1]))

    def __call__(self, values: Any) -> Array:
        """Within the range; NaN stays."""
        array = np.asarray(values, float)
        inside = np.where(np.isfinite(array), np.clip(array, self.low, self.high), np.nan)
        return np.asarray(np.log10(inside) if self.logarithmic else inside)

    @property
    def range(self) -> list[float]:
        ends = self([self.low, self.high])
        return [float(ends[0]), float(ends[1])]


def surface_panels(surface: Surface, places: Sequence[int]) -> list[Panel]:
    """The surface in space and from above; a grid of one row or column is a curve.

    Parameters
    ----------
    surface : Surface
    places : sequence of int
        Number of each run on the whole page, which is also that of its colour.
    """
    check_surface(surface)
    shown = heights(surface)
    if min(len(surface.x), len(surface.y)) < 2:
        return [_section(surface, shown)]
    rows, columns = thinned(len(surface.y), GRID), thinned(len(surface.x), GRID)
    panels = [_map(surface, shown, places, rows, columns)]
    if len(shown.finite):
        panels.insert(0, _relief(surface, shown, places, rows, columns))
    left_out = surface.loss.size - len(rows) * len(columns)
    if left_out:
        note = f"drawn at {len(columns)} × {len(rows)} of the {len(surface.x)} × {len(surface.y)} points of the file"
        for panel in panels:
            panel.facts.append(note)
    return panels


def _colors() -> list[list[Any]]:
    places = np.linspace(0, 1, 13)
    return [[float(round(place, 4)), to_hex(theme.LANDSCAPE(place))] for place in places]


def _bar(shown: Heights, scale: _Scale) -> dict[str, Any]:
    bar: dict[str, Any] = {"title": {"text": label(shown.name)}, "thickness": 12, "len": 0.85, "outlinewidth": 0}
    if len(shown.marks):
        bar |= {"tickvals": plain(scale(shown.marks)), "ticktext": numbers(shown.marks)}
    return bar


def _bands(shown: Heights, scale: _Scale) -> dict[str, float]:
    """First and last contour and the way between two: the levels of the figure where these are evenly spaced."""
    low, high = scale.range
    steps = np.diff(shown.levels)
    even = not shown.logarithmic and len(steps) > 1 and np.allclose(steps, steps[0])
    return {"start": low, "end": high, "size": float(steps[0]) if even else (high - low) / BANDS or 1.0}


def _map(surface: Surface, shown: Heights, places: Sequence[int], rows: Indices, columns: Indices) -> Panel:
    first = _field(surface, shown, rows, columns)
    data: list[dict[str, Any]] = [
        {
            "type": "contour",
            "x": plain(surface.x[columns]),
            "y": plain(surface.y[rows]),
            "colorscale": _colors(),
            "line": {"width": 0.5, "color": "rgba(255,255,255,0.45)"},
            "name": "",
            "hoverlabel": {"namelength": 0},
            **first,
        }
    ]
    holes = np.argwhere(~np.isfinite(shown.values))
    if len(holes):
        holes = holes[thinned(len(holes), CHECKPOINTS)]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "no finite loss",
                "x": plain(surface.x[holes[:, 1]]),
                "y": plain(surface.y[holes[:, 0]]),
                "marker": {"symbol": "x-thin", "size": 5, "line": {"width": 1.2, "color": "@warning"}},
                "hovertemplate": "no finite loss here<extra></extra>",
            }
        )
    moves, shapes = [], []
    for index, run in enumerate(surface.paths):
        data += path_on_map(run, places[index])
        shapes.append(marker(places[index]))
        kept = thinned(len(run.steps), CHECKPOINTS)
        moves.append(
            {
                "kind": "marker",
                "shape": index,
                "steps": plain(run.steps[kept]),
                "x": plain(run.coordinates[kept, 0]),
                "y": plain(run.coordinates[kept, 1]),
            }
        )
        moves.append(words_move(run.steps[kept], words(run, kept)))
    data += anchors(surface)
    ratio = float(np.ptp(surface.y) / np.ptp(surface.x))
    layout: dict[str, Any] = {
        "xaxis": axis(
            _axis_text(surface, 0), range=plain([surface.x[0], surface.x[-1]]), zeroline=False, showgrid=False
        ),
        "yaxis": axis(
            _axis_text(surface, 1), range=plain([surface.y[0], surface.y[-1]]), zeroline=False, showgrid=False
        ),
        "shapes": shapes,
        "showlegend": False,
    }
    if "distance" in surface.unit and 1 / 3 <= ratio <= 3:  # coordinates are distances: drawn to scale
        layout["yaxis"] |= {"scaleanchor": "x", "constrain": "domain"}
        layout["xaxis"] |= {"constrain": "domain"}
    return Panel(
        f"Map of the {shown.name}",
        _alternative(surface, "Contour map"),
        data,
        layout,
        moves,
        _facts(surface),
        _warnings(surface),
        "tall",
        choices=_choices(surface, shown, first, rows, columns),
    )


def _section(surface: Surface, shown: Heights) -> Panel:
    """A grid of one row or column."""
    along = 0 if len(surface.y) == 1 else 1
    x, fixed = (surface.x, surface.y) if along == 0 else (surface.y, surface.x)
    kept = thinned(len(x), CHECKPOINTS)
    curve = line(shown.name, x[kept], shown.values.ravel()[kept], "@curve-0") | {"mode": "lines+markers"}
    curve |= {"marker": {"size": 4, "color": "@curve-0"}, "showlegend": False}
    layout = {"xaxis": axis(_axis_text(surface, along)), "yaxis": value_axis(shown.name, shown.logarithmic)}
    facts = [f"the grid is a single line, at {surface.axes[1 - along]} = {number(float(fixed[0]))}", *_facts(surface)]
    title = f"{shown.name.capitalize()} along {surface.axes[along]}"
    return Panel(title, _alternative(surface, "Curve"), [curve], layout, [], facts, _warnings(surface))


def _field(surface: Surface, shown: Heights, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> dict[str, Any]:
    """What of the map's first trace belongs to one quantity."""
    scale = _Scale.of(shown)
    low, high = scale.range
    return {
        "values": floats(shown.values[np.ix_(rows, columns)]),
        "scale": [scale.low, scale.high, scale.logarithmic],
        "zmin": low,
        "zmax": high,
        "autocontour": False,
        "contours": {**_bands(shown, scale), "coloring": "fill"},
        "colorbar": _bar(shown, scale),
        "meta": [label(shown.name)],
        "hovertemplate": "%{x:.4g}, %{y:.4g}<br>%{meta[0]} %{customdata:.5g}<extra></extra>",
    }


def _choices(
    surface: Surface, shown: Heights, first: dict[str, Any], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """The loss and whatever else is known on the grid; nothing if that is the loss alone."""
    import dataclasses

    others = dict(surface.metrics)
    shape = surface.loss.shape
    for name, values in (("quadratic model", surface.model), ("estimated error of the loss", surface.loss_error)):
        if np.shape(values) == shape and np.any(np.nan_to_num(values) != 0):
            others[name] = values
    if not others:
        return []
    whole = dataclasses.replace(surface, metrics=others)
    found = [{"name": shown.name, "changes": first}]
    for name in others:
        one = heights(whole, name, log=bool(name != "accuracy" and is_spread(others[name], LOGARITHMIC_RANGE)))
        found.append({"name": name, "changes": _field(whole, one, rows, columns)})
    return found


def _relief(surface: Surface, shown: Heights, places: Sequence[int], rows: Indices, columns: Indices) -> Panel:
    scale = _Scale.of(shown)
    low, high = scale.range
    marks = marked(shown.levels, shown.logarithmic, MARKS) if len(shown.levels) else shown.levels
    marks = marks[(scale(marks) - low) > APART * (high - low)]
    ticks = {"tickvals": plain(scale(marks)), "ticktext": numbers(marks)}
    data: list[dict[str, Any]] = [
        {
            "type": "surface",
            "x": plain(surface.x[columns]),
            "y": plain(surface.y[rows]),
            "values": floats(shown.values[np.ix_(rows, columns)]),
            "scale": [scale.low, scale.high, scale.logarithmic],
            "colorscale": _colors(),
            "cmin": low,
            "cmax": high,
            "showscale": False,
            "name": "",
            "hovertemplate": "%{x:.4g}, %{y:.4g}<br>loss %{customdata:.5g}<extra></extra>",
            "lighting": {"ambient": 0.72, "diffuse": 0.55, "specular": 0.04, "roughness": 0.95, "fresnel": 0.02},
            "lightposition": {"x": -2000, "y": -4000, "z": 6000},
            "contours": {
                "z": {
                    "show": True,
                    "usecolormap": False,
                    "color": "rgba(255,255,255,0.5)",
                    "width": 1,
                    **_bands(shown, scale),
                    "highlight": False,
                },
                "x": {"highlight": False},
                "y": {"highlight": False},
            },
        }
    ]
    moves = []
    lift = 0.012 * (high - low)
    true, floor, unseen = _true_heights(surface, scale)
    for index, run in enumerate(surface.paths):
        kept = thinned(len(run.steps), CHECKPOINTS)
        z = plain(np.clip(scale(run.projected_loss[kept]) + lift, low, high + lift))
        data += path_in_space(run, places[index], kept, z, plain(true[index][kept]))
        x, y = plain(run.coordinates[kept, 0]), plain(run.coordinates[kept, 1])
        moves.append({"kind": "point", "trace": len(data), "steps": plain(run.steps[kept]), "x": x, "y": y, "z": z})
        style = run_style(places[index])
        data.append(
            {
                "type": "scatter3d",
                "mode": "markers",
                "x": x[:1],
                "y": y[:1],
                "z": z[:1],
                "hoverinfo": "skip",
                "showlegend": False,
                "marker": {"size": 7, "color": style.bright, "line": {"color": "#FFFFFF", "width": 2}},
            }
        )
    ratio = float(np.ptp(surface.y) / np.ptp(surface.x))
    ratio = ratio if "distance" in surface.unit and 1 / 3 <= ratio <= 3 else 1.0
    longest = max(1.0, ratio)
    names = [
        str(name) if PLAIN.fullmatch(str(name)) else letter for name, letter in zip(surface.axes, "xy", strict=False)
    ]
    layout = {
        "scene": {
            "xaxis": {"title": {"text": names[0]}, **_ticks(surface.x, 1 / longest)},
            "yaxis": {"title": {"text": names[1]}, **_ticks(surface.y, ratio / longest)},
            "zaxis": {
                "title": {"text": "loss (log)" if shown.logarithmic else "loss"},
                "range": [floor, high + 2 * lift],
                **ticks,
            },
            "aspectmode": "manual",
            "aspectratio": {"x": 1.35 / longest, "y": 1.35 * ratio / longest, "z": 0.72},
            "camera": {"eye": _eye(surface, shown), "center": {"x": 0, "y": 0, "z": -0.14}},
        },
        "showlegend": False,
    }
    facts = ["turn: drag, or the arrow keys when the figure has the focus; + and − zoom"]
    if surface.paths:
        facts.insert(
            0, "full lines: the runs at their projections, a little above the surface; dotted: their true loss"
        )
    words = _alternative(surface, "Surface in space")
    return Panel("Landscape", words, data, layout, moves, facts, unseen, "tall", True)


def _ticks(values: Array, share: float) -> dict[str, Any]:
    """Range and marks of an axis of the ground: away from the corners, where those of two axes would meet."""
    low, high = float(values[0]), float(values[-1])
    marks = np.array(MaxNLocator(max(2, round(4 * share)), steps=[1, 2, 5, 10]).tick_values(low, high))
    inside = marks[np.abs(marks - (low + high) / 2) <= (0.5 - CORNER) * (high - low)]
    return {"range": plain([low, high]), "tickvals": plain(inside), "ticktext": numbers(inside)}


def _true_heights(surface: Surface, scale: _Scale) -> tuple[list[Array], float, list[str]]:
    """Heights of the true losses, NaN beyond what is shown; how far down that goes; and what is not seen."""
    low, high = scale.range
    with np.errstate(divide="ignore", invalid="ignore"):
        found = [np.asarray(np.log10(run.loss) if scale.logarithmic else run.loss, float) for run in surface.paths]
    reached = [float(values[np.isfinite(values)].min()) for values in found if np.isfinite(values).any()]
    lowest = low - DEEPER * (high - low)
    inside = [np.where((values >= lowest) & (values <= high + 1e-9 * (high - low)), values, np.nan) for values in found]
    floor = float(np.nanmin([low, *(np.nanmin(one) for one in inside if np.isfinite(one).any())])) if reached else low
    unseen = [
        f"{run.name}: the true loss is beyond the heights of this figure at {plural(missing, 'checkpoint')}, where the "
        "dotted line is interrupted"
        for run, values in zip(surface.paths, inside, strict=True)
        if (missing := int(np.isnan(values).sum()))
    ]
    return inside, floor, unseen


def _axis_text(surface: Surface, axis: int) -> str:
    """Name of an axis, and how much of the runs' variance it has."""
    share = float(surface.explained_variance[axis])
    return f"{surface.axes[axis]}" + (f" ({number(100 * share)} % of the variance)" if np.isfinite(share) else "")


def _alternative(surface: Surface, what: str) -> str:
    x, y, lowest = surface.lowest
    words = [f"{what} of the loss on the plane of {surface.axes[0]} and {surface.axes[1]}"]
    if np.isfinite(lowest):
        finite = surface.loss[np.isfinite(surface.loss)]
        words.append(f"from {number(lowest)} at ({number(x)}, {number(y)}) to {number(float(finite.max()))}")
    for run in surface.paths:
        words.append(
            f"run {run.name}: {plural(len(run.steps), 'checkpoint')}, true loss from {number(float(run.loss[0]))} to "
            f"{number(float(run.loss[-1]))}, at most {number(float(np.nanmax(run.distance, initial=0)))} from the plane"
        )
    return "; ".join(words) + "."


def _eye(surface: Surface, shown: Heights) -> dict[str, float]:
    """From where the runs are seen best, as in the figure of the relief; in the unit of the scene's box."""
    rough = terrain(surface, shown, box_of(surface)[0], 100, 0.0)
    azimuth, elevation = np.deg2rad(still_view(rough, Ground(surface, rough)(surface.path_coordinates)))
    flat = EYE * np.cos(elevation)
    eye = {"x": flat * np.cos(azimuth), "y": flat * np.sin(azimuth), "z": EYE * np.sin(elevation)}
    return {name: round(float(value), 4) for name, value in eye.items()}


def _facts(surface: Surface) -> list[str]:
    x, y, lowest = surface.lowest
    facts = [f"axes: {surface.unit}; {len(surface.x)} × {len(surface.y)} points"]
    if np.isfinite(lowest):
        facts.append(f"lowest loss on the grid {number(lowest)} at ({number(x)}, {number(y)})")
    variance, null = surface.explained_variance, surface.explained_variance_null
    if np.isfinite(variance).all():
        shares = f"{number(100 * float(variance.sum()))} % of the runs' variance lies in the plane"
        walk = f" (random walks: {number(100 * float(null.sum()))} %)" if np.isfinite(null).all() else ""
        facts.append(shares + walk)
    facts += [f"{name}: {source}" for name, source in zip(surface.axes, surface.axis_sources, strict=False) if source]
    evaluated = np.asarray(surface.evaluated)
    if evaluated.shape == surface.loss.shape and not evaluated.all():
        worst = float(np.nanmax(surface.loss_error, initial=0))
        facts.append(
            f"computed at {count(int(evaluated.sum()))} points, interpolated at {count(int((~evaluated).sum()))} "
            f"(estimated error at most {number(worst, 2)})"
        )
    if surface.batchnorm != "none":
        facts.append(f"batch norm: {surface.batchnorm}")
    return facts


def _warnings(surface: Surface) -> list[str]:
    warnings = []
    if surface.holes:
        warnings.append(f"{plural(surface.holes, 'point')} without a finite loss")
    if surface.lowest_is_on_the_edge:
        warnings.append("the lowest point is on the edge: lower ones may lie outside")
    inside = surface.path_coordinates
    outside = (inside < [surface.x[0], surface.y[0]]) | (inside > [surface.x[-1], surface.y[-1]])
    if outside.any():
        warnings.append(f"{plural(int(outside.any(axis=1).sum()), 'checkpoint')} outside of the map")
    return warnings
