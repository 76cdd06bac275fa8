"""What stands around and lies on a relief: walls, grid, ticks, level lines, all as shapes in pixels for any view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from contourpy import contour_generator
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from landscape.render.heights import Heights, marked
from landscape.render.numerals import numbers

if TYPE_CHECKING:
    from landscape.records import Surface
    from landscape.render.horizon import Horizon, View
    from landscape.render.terrain import Terrain

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Color = tuple[float, float, float, float]
PANE: Color = (0.962, 0.962, 0.958, 1.0)
GRID: Color = (0.84, 0.84, 0.84, 1.0)
EDGE: Color = (0.4, 0.4, 0.4, 1.0)
RIM: Color = (0.10, 0.14, 0.22, 0.55)
BORDER = 241  # points along an edge of the surface
FINE = 420  # points along an axis, for level lines
LIFT = 2.0  # pixels by which a line on the ground may lie below it: both are interpolated
FLAT = 0.12  # height of the box as it appears, from which on heights are not written: it is seen from above
LOW = 25.0  # degrees: from below, numbers beside an edge would stand in each other's way, so they stand under it
BRIGHT = 0.72  # heights above which level lines are dark
CORNERS = ((1, 1), (0, 1), (0, 0), (1, 0))  # of the plane: the one in front, for each quarter of the azimuths


class Shape(NamedTuple):
    """Something to be drawn: a filled area, or a line if it has a width.

    Attributes
    ----------
    path : Path
        Pixels from the upper left corner of the picture.
    color : (4,) float
    width : float
        Points; 0 is a filled area.
    dashes : tuple of float, or None
        Points.
    """

    path: Path
    color: Color
    width: float = 0.0
    dashes: tuple[float, ...] | None = None


class Label(NamedTuple):
    """A word beside the box.

    Attributes
    ----------
    text : str
    place : (2,) float64
        Pixels from the upper left corner of the picture.
    away : (2,) float64
        Unit vector: where the word lies from its place.
    strength : float
        0 to 1.
    name : bool
        Whether it names an axis.
    """

    text: str
    place: Array
    away: Array
    strength: float
    name: bool = False


@dataclass(frozen=True)
class Lines:
    """Lines on the ground, one after the other.

    Attributes
    ----------
    points : (p, 3) float64
        0 to 1 within the box.
    starts : (p,) bool
        Where a new one begins.
    """

    points: Array
    starts: Mask

    @classmethod
    def of(cls, lines: Sequence[Array]) -> Lines:
        """Several lines, (p, 3) each."""
        lines = [line for line in lines if len(line)]
        starts = np.concatenate([np.arange(len(line)) == 0 for line in lines]) if lines else np.zeros(0, bool)
        return cls(np.concatenate([*lines, np.zeros((0, 3))]), starts)

    def path(self, pixels: Array, shown: Mask) -> Path | None:
        """What is shown of them, as it appears at some pixels; None if that is nothing."""
        shown = shown & np.isfinite(self.points[:, 2])
        joined = np.concatenate([[False], shown[1:] & shown[:-1] & ~self.starts[1:]])
        drawn = joined | np.concatenate([joined[1:], [False]])
        if not drawn.any():
            return None
        return Path(pixels[drawn], np.where(joined[drawn], Path.LINETO, Path.MOVETO))


class Scene:
    """A terrain with its box.

    Parameters
    ----------
    terrain : Terrain
    surface : Surface
    shown : Heights
    elevation : float
        Degrees above the plane: the lower, the more heights can be written.
    fading : float
        Degrees around a quarter turn within which labels go from one side of the box to the other.

    Attributes
    ----------
    levels : list of (Lines, Color, float)
        Lines of equal height, in groups of one colour and width.
    """

    def __init__(
        self, terrain: Terrain, surface: Surface, shown: Heights, elevation: float, fading: float = 0.0
    ) -> None:
        self.terrain, self.fading = terrain, fading
        self.names = [str(surface.axes[0]), str(surface.axes[1])]
        self.ticks = [_ticks(np.asarray(axis, float)) for axis in (surface.x, surface.y)]
        if shown.constant:
            self.marks = np.array([0.5]), numbers(shown.finite[:1])
        else:
            marks = marked(shown.levels, shown.logarithmic, max(3, round(8 * np.cos(np.deg2rad(elevation)))))
            self.marks = shown.position(marks), numbers(marks)
        self.height_name = f"{shown.name}{' (logarithmic)' if shown.logarithmic else ''}"
        self.bands = np.array([0.0, 1.0]) if shown.constant else np.clip(shown.position(shown.levels), 0, 1)
        self._constant, self._colormap = shown.constant, shown.colormap
        self.levels = [] if shown.constant else self._level_lines(shown)
        along = np.linspace(0, 1, BORDER)
        self._borders = {(axis, end): _border(terrain, axis, end, along) for axis in (0, 1) for end in (0, 1)}

    def behind(self, view: View) -> Iterator[Shape]:
        """The floor and the two walls behind the terrain, with their grid."""
        front = CORNERS[_quarter(view)]
        far = [1 - side for side in front]
        floor = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
        yield self._area(view, floor, PANE)
        for axis in (0, 1):
            wall = _on_wall(axis, far[axis], np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float))
            yield self._area(view, wall, PANE)
        lines = []
        for axis in (0, 1):
            for place in self.ticks[1 - axis][0]:
                lines.append(_on_wall(axis, far[axis], np.array([[place, 0], [place, 1]])))
                floor_line = (
                    np.array([[0.0, place, 0], [1.0, place, 0]])
                    if axis == 0
                    else np.array([[place, 0.0, 0], [place, 1.0, 0]])
                )
                lines.append(floor_line)
            lines += [_on_wall(axis, far[axis], np.array([[0, mark], [1, mark]])) for mark in self.marks[0]]
        yield self._line(view, lines, GRID, 0.8)

    def on_ground(self, view: View, horizon: Horizon) -> Iterator[Shape]:
        """Level lines where they are in sight."""
        for lines, color, width in self.levels:
            path = lines.path(view.project(lines.points, self.terrain.box), horizon.sees(lines.points, LIFT))
            if path is not None:
                yield Shape(path, color, width)

    def front(self, view: View, horizon: Horizon) -> Iterator[Shape]:
        """The sides of the terrain that face the viewer, and its rim where it is in sight."""
        box = self.terrain.box
        near = CORNERS[_quarter(view)]
        for axis in (0, 1):
            border = self._borders[axis, 1 - near[axis]]
            path = border.path(view.project(border.points, box), horizon.sees(border.points, LIFT))
            if path is not None:
                yield Shape(path, RIM, 0.7)
        for axis in (0, 1):
            yield from self._side(view, axis, near[axis])

    def frame(self, view: View) -> Iterator[Shape]:
        """The edges of the box that carry ticks, and the ticks."""
        for (axis, end), strength in self._weights(view).items():
            color = (*EDGE[:3], strength)
            if axis == 2:
                corner = np.array(end, float)
                edge = np.column_stack([np.tile(corner, (2, 1)), [0, 1]])
                yield self._line(view, [edge], color, 1.0)
                base = np.column_stack([np.tile(corner, (len(self.marks[0]), 1)), self.marks[0]])
                place = view.project(base, self.terrain.box)
                length = 0.012 * view.scale
                yield _segments(place, place + np.array([-length, 0.0]), color, 1.0)
                continue
            edge = self._edge(axis, end, np.array([0.0, 1.0]))
            yield self._line(view, [edge], color, 1.0)
            base = self._edge(axis, end, self.ticks[axis][0])
            outer = base + self._outward(axis, end, 0.016)
            yield _segments(view.project(base, self.terrain.box), view.project(outer, self.terrain.box), color, 1.0)

    def labels(self, view: View) -> Iterator[Label]:
        """Numbers at the ticks, and the names of the axes."""
        box = self.terrain.box
        for (axis, end), strength in self._weights(view).items():
            if axis == 2:
                corner = np.array(end, float)
                base = np.column_stack([np.tile(corner, (len(self.marks[0]), 1)), self.marks[0]])
                for place, text in zip(view.project(base, box), self.marks[1], strict=True):
                    yield Label(text, place - [0.020 * view.scale, 0], np.array([-1.0, 0]), strength)
                top = view.project(np.array([*corner, 1.0]), box)
                corner_of_name = top + np.array([0.04, -0.05]) * view.scale  # above the axis, beside the ground
                yield Label(self.height_name, corner_of_name, np.array([-1.0, 0]), strength, True)
                continue
            places, texts = self.ticks[axis]
            middle = self._edge(axis, end, np.array([0.5]))
            outward = view.project(middle + self._outward(axis, end, 1.0), box) - view.project(middle, box)
            outward[0, 1] += max(0.0, (LOW - view.elevation) / LOW) * float(np.hypot(*outward[0]))
            away = outward[0] / max(float(np.hypot(*outward[0])), 1e-9)
            base = self._edge(axis, end, places) + self._outward(axis, end, 0.028)
            for place, text in zip(view.project(base, box), texts, strict=True):
                yield Label(text, place, away, strength)
            place = view.project(middle + self._outward(axis, end, 0.028), box)[0] + away * 0.062 * view.scale
            yield Label(self.names[axis], place, away, strength, True)

    def _side(self, view: View, axis: int, end: int) -> Iterator[Shape]:
        """One upright side in the colours of its heights, paler than the ground, down to the floor."""
        border = self._borders[axis, end].points
        top = np.where(np.isfinite(border[:, 2]), border[:, 2], 0)
        shade = 0.92 if axis == 0 else 0.84
        colors = self._colormap((self.bands[1:] + self.bands[:-1]) / 2)[:, :3]
        if self._constant:
            colors = self._colormap([0.5])[:, :3]
        along = border[:, 1 - axis]
        floor = np.column_stack([along[::-1], np.zeros(BORDER)])
        for high, low, color in zip(self.bands[:0:-1], self.bands[-2::-1], colors[::-1], strict=True):
            if top.max() <= low:
                continue
            outline = np.concatenate([np.column_stack([along, np.minimum(top, high)]), floor])
            red, green, blue = shade * (0.72 * color + 0.28 * np.array([0.80, 0.82, 0.84]))
            yield self._area(view, _on_wall(axis, end, outline), (float(red), float(green), float(blue), 1.0))
        rim = _on_wall(axis, end, np.column_stack([along, top]))
        ends = [
            _on_wall(axis, end, np.array([[place, 0], [place, top[index]]])) for place, index in ((0.0, 0), (1.0, -1))
        ]
        yield self._line(view, [rim, *ends], RIM, 0.7)

    def _weights(self, view: View) -> dict[tuple[int, Any], float]:
        """Which edges carry labels, and how strongly: around a quarter turn they go from one to another."""
        turn = view.azimuth % 90
        shares = {_quarter(view): 1.0}
        if min(turn, 90 - turn) < self.fading:
            past = 0.5 + 0.5 * min(turn, 90 - turn) / self.fading
            other = (_quarter(view) + (-1 if turn < 45 else 1)) % 4
            shares = {_quarter(view): past, other: 1 - past}
        weights: dict[tuple[int, Any], float] = {}
        for quarter, share in shares.items():
            x, y = CORNERS[quarter]
            left = CORNERS[(quarter - 1) % 4]
            for key in ((0, y), (1, x), (2, left)):
                weights[key] = min(1.0, weights.get(key, 0.0) + share)
        if view.lift[0] * self.terrain.box[2] < FLAT:
            weights = {key: weight for key, weight in weights.items() if key[0] != 2}
        # One side is gone before the other one comes: their words would lie on each other.
        return {key: 2 * weight - 1 for key, weight in weights.items() if weight > 0.51}

    def _edge(self, axis: int, end: int, places: Array) -> Array:
        """Points of an edge of the floor along an axis."""
        points = np.zeros((len(places), 3))
        points[:, axis], points[:, 1 - axis] = places, end
        return points

    def _outward(self, axis: int, end: int, length: float) -> Array:
        """From an edge of the floor away from the box, so far in its units."""
        offset = np.zeros(3)
        offset[1 - axis] = (1 if end else -1) * length / self.terrain.box[1 - axis]
        return offset

    def _level_lines(self, shown: Heights) -> list[tuple[Lines, Color, float]]:
        """The lines of equal height, in groups of one look."""
        rows, columns = (min(FINE, size) for size in self.terrain.z.shape)
        row, column = (
            np.round(np.linspace(0, size - 1, count)).astype(int)
            for size, count in zip(self.terrain.z.shape, (rows, columns), strict=True)
        )
        z = np.ma.masked_where(self.terrain.open[np.ix_(row, column)], self.terrain.z[np.ix_(row, column)])
        x, y = column / (self.terrain.z.shape[1] - 1), row / (self.terrain.z.shape[0] - 1)
        found = contour_generator(x, y, z)
        groups: dict[tuple[bool, bool], list[Array]] = {}
        for level in shown.levels[1:-1]:
            height = float(shown.position(level))
            written = bool(np.isclose(self.marks[0], height, atol=1e-9).any())
            for line in found.lines(height):
                points = np.column_stack([np.asarray(line), np.full(len(line), height)])
                groups.setdefault((written, height > BRIGHT), []).append(points)
        looks = {
            (True, False): ((1.0, 1.0, 1.0, 0.62), 1.0), (False, False): ((1.0, 1.0, 1.0, 0.36), 0.7),
            (True, True): ((0.0, 0.0, 0.0, 0.42), 1.0), (False, True): ((0.0, 0.0, 0.0, 0.24), 0.7),
        }  # fmt: skip
        return [(Lines.of(lines), *looks[key]) for key, lines in groups.items()]

    def _area(self, view: View, points: Array, color: Color) -> Shape:
        return Shape(Path(view.project(points, self.terrain.box)), color)

    def _line(self, view: View, lines: Sequence[Array], color: Color, width: float) -> Shape:
        found = Lines.of(lines)
        path = found.path(view.project(found.points, self.terrain.box), np.ones(len(found.points), bool))
        return Shape(path if path is not None else Path(np.zeros((0, 2))), color, width)


def _quarter(view: View) -> int:
    """In which quarter turn the viewer stands."""
    return int(view.azimuth % 360 // 90)


def _ticks(values: Array) -> tuple[Array, list[str]]:
    """Round values along an axis: where they are from 0 to 1, and what is written there."""
    ticks = np.array(MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(values[0], values[-1]))
    place = (ticks - values[0]) / np.ptp(values)
    kept = (place >= 0.04) & (place <= 0.96)  # at the corners they would meet
    return place[kept], numbers(ticks[kept])


def _on_wall(axis: int, end: int, points: Array) -> Array:
    """Points (along, height) of an upright wall across an axis, as points of the box."""
    found = np.empty((len(points), 3))
    found[:, axis], found[:, 1 - axis], found[:, 2] = end, points[:, 0], points[:, 1]
    return found


def _border(terrain: Terrain, axis: int, end: int, along: Array) -> Lines:
    """The edge of the ground across an axis."""
    points = _on_wall(axis, end, np.column_stack([along, along]))
    points[:, 2] = terrain.height(points[:, 0], points[:, 1])
    return Lines.of([points])


def _segments(first: Array, second: Array, color: Color, width: float) -> Shape:
    points = np.stack([first, second], axis=1).reshape(-1, 2)
    return Shape(Path(points, [Path.MOVETO, Path.LINETO] * len(first)), color, width)
