"""The surface as a relief, with the runs lying on it; what is behind a hill is drawn as hidden."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from contourpy import contour_generator
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from mpl_toolkits.mplot3d import Axes3D  # type: ignore[import-untyped]
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection  # type: ignore[import-untyped]
from mpl_toolkits.mplot3d.proj3d import proj_transform  # type: ignore[import-untyped]
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render import theme
from landscape.render.formats import check_suffix
from landscape.render.heights import Heights, heights, marked
from landscape.render.numerals import number, numbers
from landscape.render.plane_map import HATCH, axis_text, check_surface, hole_entry
from landscape.render.runs import SEAM, HandlerRun, RunHandle, RunStyle, end_marker, run_style, run_text, start_marker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from landscape.records import Surface

Array = NDArray[np.float64]
BOX = (1.0, 1.0, 0.62)  # width, depth and height as drawn; the first two follow the plane where it is to scale
ELEVATIONS = (35.0, 42.0, 49.0, 56.0, 63.0)  # candidates: as low as the view allows
ENOUGH = 0.97  # of the runs in sight
AZIMUTHS = np.arange(-180.0, 180.0, 15.0) + 7.5  # candidates: never along an axis
LIFT = 0.006  # of the box: keeps a line on the surface from sinking into it
FINE = 90  # quads along an axis: fewer look like steps
SAMPLES = 24  # per stretch of a path: so that it follows the surface between checkpoints
DRAWN = 900  # pieces of a path: more cannot be seen
LEGEND = theme.BODY - 1
PICTURE = 4.3  # inches
HIDDEN = (0, (2, 1.5))


@theme.themed
def relief(
    surface: Surface,
    path: str | os.PathLike[str] | None = None,
    *,
    metric: str | None = None,
    log: bool | str = "auto",
    azimuth: float | None = None,
    elevation: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a surface in three dimensions with its runs lying on it.

    A run is drawn at the height of the surface, which is the loss of its projections; see :func:`contour` for the
    true loss. Stretches behind a hill are thin and pale.

    Parameters
    ----------
    surface : Surface
        At least two points along each axis.
    path : path, optional
        Where to write the figure: .png (250 dots per inch), .svg or .pdf.
    metric : str, optional
        One of ``surface.metrics`` instead of the loss.
    log : bool or "auto"
        Logarithmic heights; as in :func:`contour`.
    azimuth, elevation : float, optional
        Of the viewer, degrees around the vertical axis and above the plane (5 to 90). Default: from where most of the
        runs (without runs, of the lowest points) can be seen.
    title : str, optional
        Written above.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        As :func:`contour`; and if the grid is a line or a point, or holds no finite value.

    Examples
    --------
    >>> figure = relief(landscape.load("surface.h5"), "relief.png")  # doctest: +SKIP
    """
    check_surface(surface)
    shown = heights(surface, metric, log)
    _check(surface, shown, azimuth, elevation)
    if path is not None:
        check_suffix(path)
    ground = _Ground(surface, shown)
    view = _best_view(ground, surface, azimuth, elevation)
    figure = _draw(surface, shown, ground, view, title)
    if path is not None:
        theme.save_figure(figure, path)
    return figure


class _Ground:
    """The surface within the unit box: x, y and height from 0 to 1, and what can be seen of it."""

    def __init__(self, surface: Surface, shown: Heights) -> None:
        self.low = np.array([surface.x[0], surface.y[0]])
        self.span = np.array([np.ptp(surface.x), np.ptp(surface.y)])
        ratio = float(self.span[1] / self.span[0])
        to_scale = "distance" in surface.unit and 1 / 3 <= ratio <= 3
        self.box = np.array([1.0, ratio, BOX[2]] if to_scale else BOX)
        self.box[:2] /= self.box[:2].max()
        x, y = (surface.x - self.low[0]) / self.span[0], (surface.y - self.low[1]) / self.span[1]
        self._knots = x, y
        self._values = np.clip(shown.position(shown.values), 0, 1)
        self.x, self.y = _refined(x), _refined(y)
        self.z = self.height(*np.meshgrid(self.x, self.y))

    def height(self, x: Array, y: Array) -> Array:
        """Of the surface, linear between its points; NaN in holes and outside."""
        knots_x, knots_y = self._knots
        column = np.clip(np.searchsorted(knots_x, x, side="right") - 1, 0, len(knots_x) - 2)
        row = np.clip(np.searchsorted(knots_y, y, side="right") - 1, 0, len(knots_y) - 2)
        right = (x - knots_x[column]) / (knots_x[column + 1] - knots_x[column])
        up = (y - knots_y[row]) / (knots_y[row + 1] - knots_y[row])
        outside = (right < 0) | (right > 1) | (up < 0) | (up > 1)
        values = self._values
        lower = _between(values[row, column], values[row, column + 1], right)
        upper = _between(values[row + 1, column], values[row + 1, column + 1], right)
        return np.where(outside, np.nan, _between(lower, upper, up))

    def unit(self, coordinates: Array) -> Array:
        """Points of the plane in the box, (p, 2)."""
        return (coordinates - self.low) / self.span

    def towards(self, azimuth: float, elevation: float) -> Array:
        """Where the viewer is, as a direction in the box."""
        around, up = np.deg2rad(azimuth), np.deg2rad(elevation)
        direction = np.array([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)])
        return direction / self.box

    def visible(self, points: Array, towards: Array) -> NDArray[np.bool_]:
        """Which of some points of the box, (p, 3), no part of the surface hides."""
        reach = np.linspace(0.01, 1.5, 150)
        seen = np.ones(len(points), bool)
        for start in range(0, len(points), 4096):
            piece = points[start : start + 4096]
            x, y, z = (piece[:, [axis]] + reach * towards[axis] for axis in range(3))
            with np.errstate(invalid="ignore"):
                seen[start : start + 4096] = ~(self.height(x, y) > z + LIFT).any(axis=1)
        return seen


def _draw(surface: Surface, shown: Heights, ground: _Ground, view: tuple[float, float], title: str | None) -> Figure:
    entries: list[tuple[Any, str]] = []
    for index, run in enumerate(surface.paths):
        style = run_style(index)
        entries.append((RunHandle(style), run_text(run, style, LEGEND, theme.WIDTH - 0.8)))
    if entries:
        entries.append((Line2D([], [], color=theme.QUIET, linewidth=0.8, linestyle=HIDDEN), "behind a hill"))
    entries += hole_entry(shown)
    caption = [axis_text(surface, 0), axis_text(surface, 1), *_about_the_runs(surface, shown)]
    below = 0.1 + 0.145 * len(caption) + 0.1 + 0.19 * -(-len(entries) // _columns(entries))
    height = below + PICTURE + (0.32 if title else 0.05)
    figure, flat = theme.new_figure(height)
    flat.remove()
    axes: Any = Axes3D(figure, (0, below / height, 1, PICTURE / height), proj_type="ortho", computed_zorder=False)
    figure.add_axes(axes)
    axes.view_init(azim=view[0], elev=view[1])
    axes.set(xlim=(0, 1), ylim=(0, 1), zlim=(0, 1))
    _dress(axes, surface, shown, view[1])
    _fit(figure, axes, ground, (below / height, (below + PICTURE) / height))
    towards = ground.towards(*view)
    _draw_ground(axes, shown, ground)
    _draw_levels(axes, shown, ground, towards)
    for index, run in enumerate(surface.paths):
        _draw_path(axes, ground, run.coordinates, run_style(index), towards)
    _write(figure, entries, caption, title)
    return figure


def _about_the_runs(surface: Surface, shown: Heights) -> list[str]:
    """At which height the runs lie, and how far from the plane they really are."""
    if not surface.paths:
        return []
    height = "the projected loss" if shown.name == "loss" else f"the {shown.name} of the projections"
    far = surface.path_distance[np.isfinite(surface.path_distance)]
    beyond = (
        f"; the checkpoints themselves are up to {number(float(far.max()))} away from the plane" if len(far) else ""
    )
    return [f"runs lie on the surface, at {height}{beyond}"]


def _fit(figure: Figure, axes: Any, ground: _Ground, between: tuple[float, float]) -> None:
    """Zoom and shift so that the picture with its labels fills its place."""
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    width, height = figure.bbox.width, figure.bbox.height
    room = np.array([0.97 * width, (between[1] - between[0]) * height])
    middle = np.array([width / 2, (between[0] + between[1]) / 2 * height])
    zoom = 1.0
    for _ in range(4):  # labels do not grow with the box, so it takes a few rounds
        axes.set_box_aspect(tuple(ground.box), zoom=zoom)
        box = _extent(axes, renderer)
        zoom *= float((room / box.size).min())
    axes.set_box_aspect(tuple(ground.box), zoom=zoom)
    box = _extent(axes, renderer)
    centre = np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2
    shift = (middle - centre) / np.array([width, height])
    place = axes.get_position(original=True)
    axes.set_position((place.x0 + shift[0], place.y0 + shift[1], place.width, place.height))


def _extent(axes: Any, renderer: Any) -> Bbox:
    """What the unit box and its labels cover, pixels."""
    axes.get_figure().canvas.draw()  # brings the projection and the labels up to date
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    x, y, _ = proj_transform(*corners.T, axes.get_proj())
    covered = [Bbox.null()]
    covered[0].update_from_data_xy(axes.transData.transform(np.column_stack([x, y])))
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        covered.append(axis.get_tightbbox(renderer))
    return Bbox.union(covered)


def _dress(axes: Any, surface: Surface, shown: Heights, elevation: float) -> None:
    """True values at the ticks of the unit box, and its three walls."""
    for axis, values, name in ((axes.xaxis, surface.x, surface.axes[0]), (axes.yaxis, surface.y, surface.axes[1])):
        ticks = np.array(MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(values[0], values[-1]))
        ticks = ticks[(ticks >= values[0]) & (ticks <= values[-1])]
        axis.set_ticks((ticks - values[0]) / np.ptp(values), numbers(ticks))
        axis.set_label_text(theme.shortened(str(name), theme.BODY, 2.0))
    if not shown.constant:
        marks = marked(shown.levels, shown.logarithmic, max(3, round(8 * np.cos(np.deg2rad(elevation)))))
        axes.zaxis.set_ticks(shown.position(marks), numbers(marks))
    else:
        axes.zaxis.set_ticks([0.5], numbers(shown.finite[:1]))
    axes.zaxis.set_label_text(f"{shown.name}{' (logarithmic)' if shown.logarithmic else ''}", parse_math=False)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((0.965, 0.965, 0.965, 1.0))
        axis.line.set_color(theme.QUIET)
        axis._axinfo["grid"].update(color="#D8D8D8", linewidth=0.5)
        axis.set_tick_params(labelsize=theme.BODY - 1, pad=1)
    axes.grid(True)


def _draw_ground(axes: Any, shown: Heights, ground: _Ground) -> None:
    """The surface in quads, shaded; holes stay open, with their outline hatched on the floor."""
    x, y = np.meshgrid(ground.x, ground.y)
    points = np.stack([x, y, ground.z], axis=-1)
    quads = np.stack([points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]], axis=2)
    open_quads = np.isnan(quads[..., 2]).any(axis=-1)
    if open_quads.any():
        stripes = _stripes(ground, open_quads)
        axes.add_collection3d(Line3DCollection(stripes, colors=HATCH["edgecolor"], linewidths=0.6, zorder=1))
    quads = quads[~open_quads]
    normals = np.cross((quads[:, 2] - quads[:, 0]) * ground.box, (quads[:, 3] - quads[:, 1]) * ground.box)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = np.array([-0.45, -0.35, 0.82])
    shade = 0.80 + 0.24 * np.clip(normals @ (light / np.linalg.norm(light)), -0.2, 1)
    height = np.clip(quads[..., 2].mean(axis=1), 0, 1) if not shown.constant else np.full(len(quads), 0.5)
    colors = np.array(theme.LANDSCAPE(height))
    colors[:, :3] = np.clip(colors[:, :3] * shade[:, None], 0, 1)
    # Edges in the colour of the faces close the seams between them.
    ground_quads = Poly3DCollection(quads, facecolors=colors, edgecolors=colors, linewidths=0.3, zorder=2)
    ground_quads.set_rasterized(True)  # thousands of shaded quads: in vector graphics a picture among lines and text
    axes.add_collection3d(ground_quads)


def _draw_levels(axes: Any, shown: Heights, ground: _Ground, towards: Array) -> None:
    """Thin lines of equal height, where they are in sight."""
    if shown.constant:
        return
    lines = contour_generator(ground.x, ground.y, np.ma.masked_invalid(ground.z))
    pieces = []
    for height in shown.position(shown.levels)[1:-1]:
        for line in lines.lines(float(height)):
            points = np.column_stack([np.asarray(line), np.full(len(line), height + LIFT / 2)])
            seen = ground.visible(points + np.array([0, 0, LIFT / 2]), towards)
            pieces += [points[low : high + 1] for low, high in _stretches(seen)]
    axes.add_collection3d(Line3DCollection(pieces, colors=(1, 1, 1, 0.45), linewidths=0.4, zorder=2.5))


def _draw_path(axes: Any, ground: _Ground, coordinates: Array, style: RunStyle, towards: Array) -> None:
    """A run on the surface, coloured by time: in front of hills as a line, behind them thin and dashed."""
    plane = ground.unit(coordinates)
    places = np.linspace(0, len(plane) - 1, max(min((len(plane) - 1) * SAMPLES, DRAWN), 1) + 1)
    line = np.stack([np.interp(places, np.arange(len(plane)), plane[:, axis]) for axis in (0, 1)], axis=1)
    points = np.column_stack([line, ground.height(line[:, 0], line[:, 1]) + LIFT])
    seen = ground.visible(points, towards)
    times = np.linspace(0, 1, len(points))
    for shown in (True, False):
        for low, high in _stretches((seen == shown) & np.isfinite(points[:, 2])):
            piece = points[low : high + 1]
            if shown:
                axes.plot(*piece.T, color=SEAM, linewidth=3.0, alpha=0.9, zorder=3)
                segments = np.stack([piece[:-1], piece[1:]], axis=1)
                colors = style.ramp(times[low:high])
                axes.add_collection3d(
                    Line3DCollection(segments, colors=colors, linewidths=1.7, capstyle="round", zorder=4)
                )
            else:
                color = style.ramp(float(times[(low + high) // 2]))
                axes.plot(*piece.T, color=color, linewidth=0.8, linestyle=HIDDEN, alpha=0.8, zorder=3.5)
    for place, look in ((0, start_marker(style, 6.5)), (-1, end_marker(style, 6.5))):
        if np.isfinite(points[place]).all():
            axes.plot(*points[place][:, None], **look, zorder=5 if place == 0 else 6, alpha=1 if seen[place] else 0.45)


def _best_view(
    ground: _Ground, surface: Surface, azimuth: float | None, elevation: float | None
) -> tuple[float, float]:
    """From where most of the runs, or of the lowest points, can be seen; what is given stays."""
    if surface.paths:
        plane = ground.unit(surface.path_coordinates)
        points = np.column_stack([plane, ground.height(plane[:, 0], plane[:, 1]) + LIFT])
    else:
        x, y = np.meshgrid(ground.x, ground.y)
        with np.errstate(invalid="ignore"):
            low = ground.z <= np.nanquantile(ground.z, 0.1) if np.isfinite(ground.z).any() else np.zeros(x.shape, bool)
        points = np.column_stack([x[low], y[low], ground.z[low] + LIFT])
    points = points[np.isfinite(points[:, 2])]
    points = points[:: max(1, len(points) // 200)]
    around = AZIMUTHS if azimuth is None else np.array([float(azimuth)])
    above = ELEVATIONS if elevation is None else (float(elevation),)
    # Where that makes no difference, the low side is in front.
    low_side = np.array([_border(ground, angle) for angle in around])
    for up in above:
        shares = np.ones(len(around))
        if len(points):
            shares = np.array([float(ground.visible(points, ground.towards(angle, up)).mean()) for angle in around])
        if shares.max() >= ENOUGH:
            break
    best = int(np.argmax(np.round(np.round(shares, 2) - 0.05 * low_side, 6)))
    return float(around[best]), float(up)


def _border(ground: _Ground, azimuth: float) -> float:
    """Mean height of the side that faces a viewer."""
    x, y = np.meshgrid(ground.x - 0.5, ground.y - 0.5)
    front = x * np.cos(np.deg2rad(azimuth)) + y * np.sin(np.deg2rad(azimuth)) > 0.3
    found = ground.z[front & np.isfinite(ground.z)]
    return float(found.mean()) if len(found) else 1.0


def _write(figure: Figure, entries: list[tuple[Any, str]], caption: list[str], title: str | None) -> None:
    page = figure.get_size_inches()[1]
    for index, text in enumerate(reversed(caption)):
        words = theme.shortened(text, theme.SMALL, theme.WIDTH - 0.25)
        place = (0.02, (0.07 + 0.145 * index) / page)
        figure.text(*place, words, fontsize=theme.SMALL, color=theme.QUIET, va="bottom", parse_math=False)
    if entries:
        legend = figure.legend(
            [handle for handle, _ in entries], [text for _, text in entries], loc="lower center",
            bbox_to_anchor=(0.5, (0.1 + 0.145 * len(caption) + 0.04) / page), handlelength=2.6, columnspacing=1.4,
            ncols=_columns(entries), handler_map={RunHandle: HandlerRun()},
            borderaxespad=0, borderpad=0, fontsize=LEGEND,
        )  # fmt: skip
        for text_item in legend.get_texts():
            text_item.set_parse_math(False)
    if title:
        words = theme.shortened(title, theme.BODY + 1, theme.WIDTH - 0.25)
        figure.text(0.02, 1 - 0.09 / page, words, fontsize=theme.BODY + 1, va="top", parse_math=False)


def _columns(entries: list[tuple[Any, str]]) -> int:
    """Of the legend: two, if the texts are short enough."""
    widest = max((theme.text_width(text, LEGEND) for _, text in entries), default=0.0)
    return 2 if 2 * (widest + 0.52) < theme.WIDTH - 0.2 else 1


def _check(surface: Surface, shown: Heights, azimuth: float | None, elevation: float | None) -> None:
    if min(len(surface.x), len(surface.y)) < 2:
        raise InputError(
            f"a grid of {len(surface.x)} × {len(surface.y)} points has no relief; landscape.render.contour draws it as "
            "a profile, or compute the surface with a resolution of at least 2"
        )
    if len(shown.finite) == 0:
        raise InputError(f"no point of the grid has a finite {shown.name}, so there is no relief to draw")
    if azimuth is not None and not np.isfinite(azimuth):
        raise InputError(f"azimuth is {azimuth}; give degrees around the vertical axis, or none for the best view")
    if elevation is not None and not 5 <= elevation <= 90:
        raise InputError(
            f"elevation is {elevation}; give degrees above the plane, from 5 to 90, or none for the best view"
        )


def _refined(knots: Array) -> Array:
    """The coordinates of a grid with as many between as make it look smooth."""
    parts = max(1, -(-FINE // (len(knots) - 1)))
    places = np.arange((len(knots) - 1) * parts + 1) / parts
    return np.interp(places, np.arange(len(knots)), knots)


def _between(first: Array, second: Array, part: Array) -> Array:
    """Linear between two values; at an end the other one does not count, even if it is NaN."""
    return np.where(part == 0, first, np.where(part == 1, second, (1 - part) * first + part * second))


def _stretches(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of each run of true values that is longer than one."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(int)))
    return [(int(low), int(high) - 1) for low, high in edges.reshape(-1, 2) if high - low > 1]


def _stripes(ground: _Ground, holes: NDArray[np.bool_]) -> list[Array]:
    """Hatching on the floor below holes, (2, 3) pieces of diagonal lines."""
    found = []
    along = np.linspace(0, 1, 600)
    for offset in np.arange(-1, 1, 0.03):
        x, y = along, along + offset
        column = np.clip(np.searchsorted(ground.x, x, side="right") - 1, 0, holes.shape[1] - 1)
        row = np.clip(np.searchsorted(ground.y, y, side="right") - 1, 0, holes.shape[0] - 1)
        inside = holes[row, column] & (y >= 0) & (y <= 1)
        found += [np.array([[x[one], y[one], 0] for one in ends]) for ends in _stretches(inside)]
    return found
