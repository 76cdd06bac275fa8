"""The plane of a path in a film: the map of the loss, drawn once, and the dot that walks the path."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D, IdentityTransform
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render import theme
from landscape.render.film_stage import SMALL
from landscape.render.heights import heights
from landscape.render.plane_map import (
    axis_text,
    check_surface,
    draw_anchors,
    draw_color_bar,
    draw_map,
    fit_box,
)
from landscape.render.runs import SEAM, marker_patch, run_style

if TYPE_CHECKING:
    from landscape.records import PathProfile, Surface
    from landscape.render.film_stage import Stage

Array = NDArray[np.float64]
ABOVE, BELOW, LEFT, BAR = 40.0, 80.0, 62.0, 132.0  # pixels of a picture of 1080 lines around the map
LINE, BESIDE = 36.0, 26.0  # height of a name, and what stands beside it
NEAR = 1e-3  # of the distance of the ends: how far a point of the path may be from the anchor of its name
STYLE = run_style(0)


class PlaneOfPath:
    """A map in a part of a film's picture, and the path on it.

    Parameters
    ----------
    stage : Stage
        The film.
    surface : Surface
    coordinates : (p, 2) float64
        Of the points of the path, in the plane.
    box : (left, bottom, width, height)
        The part, in pixels of a picture of 1080 lines.
    metric, log
        As in :func:`landscape.render.contour`.
    """

    def __init__(
        self,
        stage: Stage,
        surface: Surface,
        coordinates: Array,
        box: tuple[float, float, float, float],
        metric: str | None,
        log: bool | str,
    ) -> None:
        surface = replace(surface, path_names=np.zeros(0, "U1"), path_coordinates=coordinates)
        self.coordinates = coordinates
        shown = heights(surface, metric, log)
        left, bottom, across, up = box
        width, height, _ = fit_box(surface, across - LEFT - BAR, up - ABOVE - BELOW)
        x, y = left + LEFT + (across - LEFT - BAR - width) / 2, bottom + up - ABOVE - height
        axes = self.axes = stage.axes(x, y, width, height)
        axes.spines[["top", "right"]].set_visible(True)
        for axis, extent in ((axes.xaxis, width), (axes.yaxis, height)):
            axis.set_major_locator(MaxNLocator(int(np.clip(extent / 90, 2, 6)), steps=[1, 2, 5, 10]))
        draw_map(axes, surface, shown, 2.0)  # without numbers on its lines, for which it is too small
        axes.plot(*coordinates.T, color=SEAM, linewidth=4.4, alpha=0.75, zorder=3)
        axes.plot(*coordinates.T, color=STYLE.dark, linewidth=1.6, linestyle=(0, (2, 1.5)), zorder=3.5)
        draw_anchors(axes, _with_short_names(surface, width, height), SMALL)
        axes.set_xlim(surface.x[0], surface.x[-1])
        axes.set_ylim(surface.y[0], surface.y[-1])
        for index, (arrow, place, side) in enumerate((("→", y - 38, "top"), ("↑", y + height + 10, "bottom"))):
            words = theme.shortened(f"{arrow} {axis_text(surface, index)}", SMALL, (across - 10) / 100)
            stage.text(left, place, words, va=side, fontsize=SMALL)
        if len(shown.levels) and not shown.constant:
            draw_color_bar(stage.figure, stage.box(x + width + 12, y, 18, height), shown, SMALL)

    def prepare(self) -> None:
        """Find out where everything is, once the figure is laid out."""
        self._points = np.asarray(self.axes.transData.transform(self.coordinates))
        figure = self.axes.get_figure()
        self._seam = Line2D([], [], color=SEAM, linewidth=5.6, alpha=0.9)
        self._line = Line2D([], [], color=STYLE.bright, linewidth=3.4)
        self._dot = marker_patch(replace(STYLE, marker="o", size=1.0), 0.2 * figure.dpi)  # type: ignore[union-attr]
        for artist in (self._seam, self._line, self._dot):
            artist.set_figure(figure)  # type: ignore[arg-type]
            artist.set_transform(IdentityTransform())
            artist.set_clip_box(self.axes.bbox)

    def draw(self, renderer: Any, index: int, part: float) -> None:
        """The path up to a part of the way from one point to the next."""
        following = min(index + 1, len(self._points) - 1)
        head = (1 - part) * self._points[index] + part * self._points[following]
        points = np.concatenate([self._points[: index + 1], [head]])
        self._seam.set_data(*points.T)
        self._line.set_data(*points.T)
        self._dot.set_transform(Affine2D().translate(*head))
        for artist in (self._seam, self._line, self._dot):
            artist.draw(renderer)


def _with_short_names(surface: Surface, width: float, height: float) -> Surface:
    """With names of anchors that do not meet: they are written towards the middle of a map of so many pixels."""
    places = surface.anchor_coordinates * np.array([width / np.ptp(surface.x), height / np.ptp(surface.y)])
    left = surface.anchor_coordinates[:, 0] <= (surface.x[0] + surface.x[-1]) / 2
    apart = [
        float(second[0] - first[0])
        for first in places[left]
        for second in places[~left]
        if abs(second[1] - first[1]) < LINE
    ]
    room = (min(apart, default=300.0) / 2 - BESIDE) / 100
    names = [theme.shortened(str(name), SMALL, room) for name in surface.anchor_names]
    return replace(surface, anchor_names=np.array(names, str))


def coordinates_on(record: PathProfile, surface: Surface) -> Array:
    """Where the points of a path are on a plane: as the profile says, or between the anchors of a straight line.

    Parameters
    ----------
    record : PathProfile
    surface : Surface

    Returns
    -------
    (p, 2) float64

    Raises
    ------
    InputError
        The surface belongs to another network or plane, or is no landscape; or nobody says where the path is.
    """
    check_surface(surface)
    if min(len(surface.x), len(surface.y)) < 2:
        raise InputError(
            f"a grid of {len(surface.x)} × {len(surface.y)} points is no landscape to walk on: compute the surface "
            "with a resolution of at least 2"
        )
    if surface.n and record.n and surface.n != record.n:
        raise InputError(f"the surface belongs to a network of {surface.n} parameters, not to one of {record.n}")
    names = [str(name) for name in surface.anchor_names]
    ends = [str(name) for name in record.end_names]
    places = [surface.anchor_coordinates[names.index(name)] if name in names else None for name in ends]
    first, second = places
    if len(record.coordinates) == len(record.s):
        found = np.asarray(record.coordinates, float)
        reach = NEAR * float(np.hypot(*np.ptp(found, axis=0)))
        for name, place, end in zip(ends, places, (0.0, 1.0), strict=True):
            here = found[record.s == end]
            if place is not None and len(here) and np.hypot(*(here[0] - place)) > reach:
                raise InputError(
                    f"the surface shows another plane than that of the path: {name} is at ({place[0]:.4g}, "
                    f"{place[1]:.4g}) there, but at ({here[0][0]:.4g}, {here[0][1]:.4g}) on the path; compute the "
                    "surface of path.plane()"
                )
        return found
    if record.path == "linear" and first is not None and second is not None:
        return np.asarray(first + record.s[:, None] * (second - first), float)
    raise InputError(
        "nobody says where the path is on the surface: the profile has no coordinates, and the anchors of the surface "
        f"are {', '.join(names) or 'none'}, not {' and '.join(ends)}; compute the surface of path.plane(), or one of a "
        "plane through both minima"
    )
