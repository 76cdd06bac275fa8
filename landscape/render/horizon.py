"""A height field seen from any side: every column of the picture is a profile whose points hide what lies behind them.

Seen without perspective, a column of pixels looks along one line across the plane. Going along it from front to back,
a point is in sight exactly if it appears higher in the picture than everything before it (the floating horizon, Wright
1973). So a running maximum decides what is hidden, for all columns at once, and no depth buffer is needed.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from landscape.render.terrain import Terrain

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Packed = NDArray[np.uint32]
BELOW = np.float32(-1e6)  # where a column has not met the surface yet
BORDER = 24  # texels around the heights, so that what is interpolated at the edge of the plane is on it
TOGETHER = 96  # lines at a time: what one step makes is still in the cache when the next one needs it
THREADS = 2  # the encoder of a film leaves most of a second core free
OPEN = 254  # how much of a pixel is covered where it shows a hole: as good as all of it
HOLE, STRIPE = (255, 255, 255), (138, 138, 138)  # hatched, as on maps
HALF = np.uint32(0xFEFEFEFE)
NEAR, FAR = np.float32(0.75), np.float32(0.25)


@dataclass(frozen=True)
class View:
    """From where a box is seen, without perspective, and where it appears.

    Attributes
    ----------
    azimuth, elevation : float
        Of the viewer, degrees around the vertical axis and above the plane.
    scale : float
        Pixels per unit of the box.
    column, row : float
        Where the middle of the floor appears, pixels from the upper left corner of the picture.
    """

    azimuth: float
    elevation: float
    scale: float
    column: float = 0.0
    row: float = 0.0

    @property
    def right(self) -> Array:
        """Direction in the plane that goes to the right in the picture, (2,)."""
        around = np.deg2rad(self.azimuth)
        return np.array([-np.sin(around), np.cos(around)])

    @property
    def away(self) -> Array:
        """Direction in the plane that goes away from the viewer, (2,)."""
        around = np.deg2rad(self.azimuth)
        return np.array([-np.cos(around), -np.sin(around)])

    @property
    def lift(self) -> tuple[float, float]:
        """How far up in the picture a unit of height and a unit of distance go."""
        up = np.deg2rad(self.elevation)
        return float(np.cos(up)), float(np.sin(up))

    def project(self, points: Array, box: Array) -> Array:
        """Column and row, (..., 2), of points whose coordinates are 0 to 1 within a box, (..., 3)."""
        points = np.asarray(points, float)
        plane = (points[..., :2] - 0.5) * box[:2]
        height, distance = self.lift
        up = points[..., 2] * box[2] * height + plane @ self.away * distance
        return np.stack([self.column + self.scale * (plane @ self.right), self.row - self.scale * up], axis=-1)


class Horizon:
    """The picture of a terrain from any side.

    Parameters
    ----------
    terrain : Terrain
    scale : float
        Pixels per unit of the box.
    elevation : float
        Degrees above the plane.
    across, upwards : int
        Samples per pixel, powers of two.

    Attributes
    ----------
    middle : (int, int)
        Column and row of the picture where the middle of the floor appears: the corner between four pixels.
    picture : (rows, columns, 4) uint8
        The last one drawn, with its colours multiplied by the fourth channel, the part of each pixel that is covered.
    hatched : tuple of (p,) int
        Rows and columns of its pixels that show a hole.

    Examples
    --------
    >>> from landscape.records import Surface
    >>> from landscape.render.heights import heights
    >>> from landscape.render.terrain import terrain
    >>> x = np.linspace(0, 1, 9)
    >>> hill = Surface(x=x, y=x, loss=np.outer(np.sin(3 * x), np.sin(3 * x)))
    >>> horizon = Horizon(terrain(hill, heights(hill), np.ones(3), 100, 0), 100, 30)
    >>> horizon.draw(45).shape
    (159, 144, 4)
    """

    def __init__(self, terrain: Terrain, scale: float, elevation: float, across: int = 2, upwards: int = 4) -> None:
        self.terrain, self.across, self.upwards = terrain, across, upwards
        self.view = View(0.0, elevation, scale)
        self._height, self._distance = self.view.lift
        reach = float(np.hypot(*terrain.box[:2])) / 2 + 1 / scale
        columns = int(np.ceil(scale * reach))
        below = int(np.ceil(scale * reach * self._distance))
        above = int(np.ceil(scale * (reach * self._distance + terrain.box[2] * self._height)))
        self.middle = columns, above
        self.picture = np.zeros((above + below, 2 * columns, 4), np.uint8)
        heights = terrain.z * np.float32(terrain.box[2] * self._height * scale * upwards)
        self._heights = Pictures.fromarray(np.pad(heights, BORDER, mode="edge"))
        texture = terrain.texture.copy()
        self._holes = bool(terrain.open.any())
        nothing = np.zeros(0, np.intp)
        self.hatched = nothing, nothing
        texture[terrain.open] = (*HOLE, OPEN)
        self._hole = np.array([(*HOLE, OPEN)], np.uint8).view(np.uint32)[0, 0]
        self._texture = Pictures.fromarray(texture)
        # Along a line: one sample per row of samples where the ground is level.
        self._step = 1 / (scale * upwards / 2 * max(self._distance, 0.5)) / max(1, upwards / 4)
        self._first = -2 * self._step * np.ceil(reach / self._step / 2 + 1)
        samples = 2 * int(-self._first / self._step)
        self._highest = np.full((2 * columns * across, samples), BELOW, np.float32)
        self._beside = 1 / (across * scale)
        self._threads = ThreadPoolExecutor(THREADS)

    def draw(self, azimuth: float) -> NDArray[np.uint8]:
        """The picture from one side; it lasts until the next one is drawn."""
        self.view = View(azimuth, self.view.elevation, self.view.scale)
        self._highest.fill(BELOW)
        self.picture.fill(0)
        corners = (np.array([[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]]) - 0.5) * self.terrain.box[:2]
        outline = np.column_stack([corners @ self.view.right, corners @ self.view.away])
        scale, parts = self.view.scale, []
        for start in range(0, len(self._highest), TOGETHER):
            stop = min(start + TOGETHER, len(self._highest))
            left, right = (place * self._beside - self.middle[0] / scale for place in (start, stop))
            span = _span(outline, left, right)
            if span is not None:
                parts.append((start, stop, span))
        for _ in self._threads.map(self._draw_lanes, *zip(*parts, strict=True)):  # each has pixels of its own
            pass
        if self._holes:
            self._hatch()
        return self.picture

    def sees(self, points: Array, lift: float) -> NDArray[np.bool_]:
        """Which points nothing of the terrain hides, seen as the last picture.

        Parameters
        ----------
        points : (p, 3) float64
            0 to 1 within the box.
        lift : float
            How far above the ground, in units of its height in the picture, a point counts as on it; pixels.
        """
        place = self.view.project(points, self.terrain.box)
        plane = (points[:, :2] - 0.5) * self.terrain.box[:2]
        lane = np.floor((place[:, 0] + self.middle[0]) * self.across)
        sample = np.floor((plane @ self.view.away - self._first) / self._step)
        inside = (lane >= 0) & (lane < self._highest.shape[0]) & (sample >= 0) & (sample < self._highest.shape[1])
        lane, sample = (np.where(inside, index, 0).astype(int) for index in (lane, sample))
        up = (self.picture.shape[0] - self.middle[1]) - place[:, 1]
        with np.errstate(invalid="ignore"):
            return np.asarray(inside & (self._highest[lane, sample] / self.upwards <= up + lift))

    def _draw_lanes(self, start: int, stop: int, span: tuple[float, float]) -> None:
        """Some lines next to each other, where they cross the plane."""
        upwards, step = self.upwards, self._step
        first = 2 * max(int((span[0] - self._first) / step / 2) - 1, 0)
        last = min(2 * int((span[1] - self._first) / step / 2) + 4, self._highest.shape[1])
        origin = self._first + first * step, start * self._beside - self.middle[0] / self.view.scale
        below = self.picture.shape[0] - self.middle[1]
        colors, seen = self._samples(last - first, stop - start, origin)
        if self._holes:  # on the floor; what rises behind the last of them has its colour: the side of the hole
            np.copyto(seen, 0, where=colors == self._hole)
        distance = origin[0] + step * (np.arange(last - first) + 0.5)
        seen += (upwards * (distance * self._distance * self.view.scale + below)).astype(np.float32)
        np.copyto(seen, BELOW, where=colors == 0)
        np.maximum.accumulate(seen, axis=1, out=seen)
        self._highest[start:stop, first:last] = seen
        self._highest[start:stop, last:] = seen[:, -1:]
        low = max(int(span[0] * self._distance * self.view.scale + below) - 2, 0)
        high = min(int(seen[:, -1].max() / upwards) + 2, self.picture.shape[0])
        if high <= low:  # a corner between two samples
            return
        lines = _painted(colors, seen, low * upwards, high * upwards)
        for _ in range(self.across.bit_length() - 1):
            lines = _mean(lines[::2], lines[1::2])
        for _ in range(upwards.bit_length() - 1):
            lines = _mean(lines[:, ::2], lines[:, 1::2])
        rows = slice(self.picture.shape[0] - high, self.picture.shape[0] - low)
        columns = slice(start // self.across, stop // self.across)
        self.picture.view(np.uint32)[rows, columns, 0] = lines.T[::-1]

    def _hatch(self) -> None:
        """Draw stripes into holes: their floor, and the sides below the ground around them."""
        row, column = np.nonzero(self.picture[..., 3] == OPEN)
        period = max(5.0, self.view.scale / 60)
        striped = (row + column) % period < 0.22 * period
        self.picture[row, column, :3] = np.where(striped[:, None], STRIPE, HOLE)
        self.picture[row, column, 3] = 255
        self.hatched = row, column

    def _samples(self, count: int, lanes: int, origin: tuple[float, float]) -> tuple[Packed, Single]:
        """Colour, and height in rows of samples, along lines that begin at a distance and a place to the right."""
        steps = self._step, self._beside
        nearest, linear = Pictures.Resampling.NEAREST, Pictures.Resampling.BILINEAR
        colors = self._transformed(self._texture, (count, lanes), steps, origin, nearest, 0)
        # Heights are smooth: every second one in both directions, and what lies between is interpolated.
        wider, before = (2 * steps[0], 2 * steps[1]), (origin[0] - 2 * steps[0], origin[1] - 2 * steps[1])
        size = count // 2 + 2, lanes // 2 + 2
        heights = self._transformed(self._heights, size, wider, before, linear, BORDER)
        return colors.view(np.uint32)[..., 0], _doubled(heights)

    def _transformed(
        self, source: Any, size: tuple[int, int], steps: tuple[float, float], origin: tuple[float, float], how: Any,
        border: int,
    ) -> NDArray[Any]:  # fmt: skip
        """A picture of the plane, turned so that its rows go away from the viewer."""
        texels = np.array([source.width, source.height]) - 2 * border
        grown = (texels - 1) / self.terrain.box[:2]  # the first and the last texel have their middles on the border
        away, right = self.view.away * grown, self.view.right * grown
        zero = away * origin[0] + right * origin[1] + texels / 2 + border
        along, beside = away * steps[0], right * steps[1]
        place = along[0], beside[0], zero[0], along[1], beside[1], zero[1]
        return np.asarray(source.transform(size, Pictures.Transform.AFFINE, place, how))


def _span(outline: Array, left: float, right: float) -> tuple[float, float] | None:
    """Nearest and farthest distance of a closed outline, (5, 2), between two places; None if it is elsewhere."""
    found: list[float] = []
    for first, second in pairwise(outline):
        ends = sorted([tuple(first), tuple(second)])
        low, high = max(ends[0][0], left), min(ends[1][0], right)
        if low <= high:
            sides, distances = zip(*ends, strict=True)
            found += np.interp([low, high], sides, distances).tolist()
            found += [distance for side, distance in ends if left <= side <= right]
    return (min(found), max(found)) if found else None


def _doubled(coarse: Single) -> Single:
    """Twice as many points in both directions, linear between; those of the border are used up."""
    fine = np.empty((2 * len(coarse) - 4, coarse.shape[1]), np.float32)
    middle, sides = coarse[1:-1] * NEAR, coarse * FAR
    np.add(middle, sides[:-2], out=fine[::2])
    np.add(middle, sides[2:], out=fine[1::2])
    finest = np.empty((len(fine), 2 * fine.shape[1] - 4), np.float32)
    middle = fine[:, 1:-1] * NEAR
    fine *= FAR
    np.add(middle, fine[:, :-2], out=finest[:, ::2])
    np.add(middle, fine[:, 2:], out=finest[:, 1::2])
    return finest


def _painted(colors: Packed, highest: Single, low: int, high: int) -> Packed:
    """The rows of samples from `low` to `high` of each line: each sample colours what it adds to the horizon."""
    lanes, count = colors.shape
    reached = np.empty((lanes, count + 2), np.int32)
    np.clip(highest, low, high, out=highest)
    reached[:, 0], reached[:, 1:-1], reached[:, -1] = low, highest, high
    painted = np.zeros((lanes, count + 1), np.uint32)  # nothing below the first sample and above the last one
    painted[:, 1:-1] = colors[:, :-1]
    return np.repeat(painted.ravel(), np.diff(reached, axis=1).ravel()).reshape(lanes, high - low)


def _mean(first: Packed, second: Packed) -> Packed:
    """Of four bytes at a time."""
    return (first & second) + (((first ^ second) & HALF) >> np.uint32(1))
