"""A run on a relief: in sight as a line that is coloured by time, behind hills thin and dashed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgba
from numpy.typing import NDArray

from landscape.render.film_schedule import along
from landscape.render.relief_scene import Lines, Shape
from landscape.render.runs import SEAM, RunStyle

if TYPE_CHECKING:
    from landscape.records import PathOnSurface, Surface
    from landscape.render.horizon import Horizon, View
    from landscape.render.terrain import Terrain

Array = NDArray[np.float64]
SAMPLES, MOST = 12, 1500  # points per stretch of a run so that it follows the ground, and of a run as a whole
FLOAT = 0.004  # how far above the ground a run is drawn, of the box's height
CHUNKS = 48  # of one colour
HIDDEN = (3.0, 2.2)  # dashes, in widths of the line


class Ground:
    """From the coordinates of a surface to points in the box of its terrain.

    Parameters
    ----------
    surface : Surface
    terrain : Terrain
    """

    def __init__(self, surface: Surface, terrain: Terrain) -> None:
        self.terrain = terrain
        self._low = np.array([surface.x[0], surface.y[0]])
        self._span = np.array([np.ptp(surface.x), np.ptp(surface.y)])

    def __call__(self, coordinates: Array) -> Array:
        """Points of the plane, (p, 2), on the ground, (p, 3); NaN in holes and outside."""
        plane = (coordinates - self._low) / self._span
        return np.column_stack([plane, self.terrain.height(plane[:, 0], plane[:, 1]) + FLOAT])


class RunOnRelief:
    """The shapes of one run.

    Parameters
    ----------
    ground : Ground
    run : PathOnSurface
    style : RunStyle
    brightest : float
        Of the ramp's colours: how far they go.
    width : float
        Of the line, points.

    Attributes
    ----------
    points : (p, 3) float64
        The whole way within the box.
    """

    def __init__(
        self, ground: Ground, run: PathOnSurface, style: RunStyle, *, brightest: float = 1.0, width: float = 3.1
    ) -> None:
        self.ground, self.run, self.style, self.width = ground, run, style, width
        count = len(run.coordinates) - 1
        self.times = np.linspace(0, count, max(min(count * SAMPLES, max(MOST, count)), 1) + 1)
        way = [np.interp(self.times, np.arange(count + 1), run.coordinates[:, axis]) for axis in (0, 1)]
        self.points = ground(np.stack(way, axis=1))
        self.bounds = np.unique(np.linspace(0, count, CHUNKS + 1).astype(int))
        self.colors = style.ramp(brightest * self.bounds[:-1] / max(self.bounds[-1], 1))

    def shapes(
        self, view: View, horizon: Horizon, lift: float, step: float | None = None
    ) -> tuple[list[Shape], list[tuple[Array, bool]]]:
        """The way up to a step as seen in the last picture; and where its start and its end are, and if in sight.

        Parameters
        ----------
        view : View
        horizon : Horizon
            Whose last picture is from the same side.
        lift : float
            As :meth:`Horizon.sees`.
        step : float, optional
            Default: the end.
        """
        steps = self.run.steps
        step = float(steps[-1]) if step is None else step
        index = max(int(np.searchsorted(steps, step, side="right")) - 1, 0)
        now = float(index)
        if index + 1 < len(steps) and step > steps[index]:
            now += (step - steps[index]) / (steps[index + 1] - steps[index])
        kept = int(np.searchsorted(self.times, now, side="right"))
        points = np.concatenate([self.points[:kept], self.ground(along(self.run, self.run.coordinates, step)[None])])
        pixels = view.project(points, horizon.terrain.box)
        seen = horizon.sees(points, lift)
        found = []
        whole = Lines(points, np.arange(len(points)) == 0)
        hidden, shown = whole.path(pixels, ~seen), whole.path(pixels, seen)
        if hidden is not None:
            dashes = (HIDDEN[0] * self.width / 3, HIDDEN[1] * self.width / 3)
            found.append(Shape(hidden, _color(self.style.line, 0.75), 0.5 * self.width, dashes))
        if shown is not None:
            found.append(Shape(shown, _color(SEAM, 0.9), 1.62 * self.width))
        times = np.append(self.times[:kept], now)
        for low, high, color in zip(self.bounds[:-1], self.bounds[1:], self.colors, strict=True):
            first, last = np.searchsorted(times, (low, high), side="right")
            part = slice(max(int(first) - 1, 0), int(last) + 1)
            chunk = Lines(points[part], np.arange(len(points[part])) == 0).path(pixels[part], seen[part])
            if chunk is not None:
                red, green, blue, _ = (float(channel) for channel in color)
                found.append(Shape(chunk, (red, green, blue, 1.0), self.width))
            if high >= now:
                break
        return found, [(pixels[place], bool(seen[place])) for place in (0, -1)]


def _color(name: str, strength: float) -> tuple[float, float, float, float]:
    red, green, blue, _ = to_rgba(name)
    return red, green, blue, strength
