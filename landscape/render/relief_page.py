"""The page around a relief: box, numbers, runs, legend and caption, for whatever paints the ground."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render import theme
from landscape.render.camera import still_view
from landscape.render.horizon import Horizon, View
from landscape.render.numerals import number
from landscape.render.plane_map import axis_text, hole_entry
from landscape.render.relief_runs import Ground, RunOnRelief
from landscape.render.relief_scene import LIFT, Scene, Shape
from landscape.render.runs import HandlerRun, RunHandle, end_marker, run_style, run_text, start_marker
from landscape.render.terrain import box_of, terrain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from landscape.records import Surface
    from landscape.render.heights import Heights

Array = NDArray[np.float64]
DOTS = theme.DOTS_PER_INCH  # the page is measured in them
FINER = 2  # pixels of the ground per dot
TEXELS = 700  # per unit of the box, half as far apart as these
PICTURE = 4.3  # inches
MARGIN = 0.1  # inches
THIN = 0.6  # widths of lines, relative to those of a film
RUN = 3.0  # points of a film
SUN = 70.0  # degrees from the viewer to the light
PALE = 0.45  # of a marker behind a hill
MARKER = 6.5  # points
LEGEND = theme.BODY - 1


class ReliefPage:
    """A figure with a relief; the ground itself is painted by :meth:`lay`.

    Parameters
    ----------
    surface : Surface
    shown : Heights
    azimuth, elevation : float, optional
        Default: from where most of the runs (without runs, of the lowest points) can be seen.
    title : str, optional
    hidden : bool
        Whether the ways behind hills will be drawn: whether the legend has a word for them.

    Attributes
    ----------
    figure : Figure
    view : View
        In dots from the upper left corner of the page.
    """

    def __init__(
        self,
        surface: Surface,
        shown: Heights,
        azimuth: float | None,
        elevation: float | None,
        title: str | None,
        *,
        hidden: bool = True,
    ) -> None:
        check_relief(surface, shown, azimuth, elevation)
        self.surface, self.shown, self._hidden = surface, shown, hidden
        box, _ = box_of(surface)
        rough = terrain(surface, shown, box, 100, 0.0)
        angles = still_view(rough, Ground(surface, rough)(surface.path_coordinates), azimuth, elevation)
        self.terrain = terrain(surface, shown, box, TEXELS, angles[0] + SUN)
        self.scene = Scene(self.terrain, surface, shown, angles[1])
        self.ground = Ground(surface, self.terrain)
        entries = self._entries()
        caption = [axis_text(surface, 0), axis_text(surface, 1), *self._about_the_runs()]
        below = 0.1 + 0.145 * len(caption) + 0.1 + 0.19 * -(-len(entries) // _columns(entries))
        page = below + PICTURE + (0.32 if title else 0.05)
        self.figure, axes = theme.new_figure(page)
        axes.set_position((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, theme.WIDTH * DOTS), ylim=(page * DOTS, 0))
        self.axes = axes
        place = np.array([[MARGIN, page - below - PICTURE], [theme.WIDTH - MARGIN, page - below]]) * DOTS
        self.view = self._fitted(angles, place)
        self.horizon = Horizon(self.terrain, FINER * self.view.scale, angles[1])
        self.horizon.draw(angles[0])
        _write(self.figure, entries, caption, title)

    def lay(self, picture: NDArray[np.uint8], middle: tuple[float, float]) -> None:
        """Lay a picture of the ground onto the page, and around it the box.

        Parameters
        ----------
        picture : (rows, columns, 4) uint8
            FINER pixels per dot; its colours are multiplied by the fourth channel.
        middle : (float, float)
            Column and row of the picture where the middle of the floor is.
        """
        self._draw(self.scene.behind(self.view), 1)
        left, top = self.view.column - middle[0] / FINER, self.view.row - middle[1] / FINER
        rows, columns = picture.shape[:2]
        straight = picture.copy()
        row, column = np.nonzero((picture[..., 3] > 0) & (picture[..., 3] < 255))
        edge = picture[row, column].astype(float)
        straight[row, column, :3] = np.minimum(255 * edge[:, :3] / edge[:, 3:], 255)
        extent = (left, left + columns / FINER, top + rows / FINER, top)
        self.axes.imshow(straight, extent=extent, aspect="auto", zorder=2, interpolation="antialiased")
        self.axes.set(xlim=(0, theme.WIDTH * DOTS), ylim=(self.figure.get_size_inches()[1] * DOTS, 0))

    def finish(self, *, on_ground: bool = True) -> Figure:
        """Draw the sides of the ground and the numbers, and what lies on it: level lines, runs."""
        if on_ground:
            self._draw(self.scene.on_ground(self.view, self.horizon), 3)
        self._draw(self.scene.front(self.view, self.horizon), 3)
        self._draw(self.scene.frame(self.view), 4)
        if on_ground:
            self._draw_runs()
        self._draw_markers()
        for label in self.scene.labels(self.view):
            size = theme.BODY if label.name else theme.BODY - 1
            words = theme.shortened(label.text, size, 1.6)
            middle = label.place + label.away * (np.abs(label.away) @ _room(words, size)) / 2
            self.axes.text(
                float(middle[0]),
                float(middle[1]),
                words,
                fontsize=size,
                ha="center",
                va="center",
                parse_math=False,
                zorder=9,
            )
        return self.figure

    def _draw_markers(self) -> None:
        """Draw where the runs begin and end."""
        for index, run in enumerate(self.surface.paths):
            style = run_style(index)
            _, ends = RunOnRelief(self.ground, run, style).shapes(self.view, self.horizon, FINER * LIFT)
            looks = (start_marker(style, MARKER), end_marker(style, MARKER))
            for order, (look, (place, seen)) in enumerate(zip(looks, ends, strict=True)):
                if np.isfinite(place).all():
                    self.axes.plot(*place[:, None], **look, zorder=7 + order, alpha=1 if seen else PALE)

    def _draw_runs(self) -> None:
        for index, run in enumerate(self.surface.paths):
            line = RunOnRelief(self.ground, run, run_style(index), width=RUN)
            shapes, _ = line.shapes(self.view, self.horizon, FINER * LIFT)
            self._draw(shapes, 5, f"run {index}")

    def _draw(self, shapes: Iterable[Shape], order: float, name: str = "") -> None:
        for shape in shapes:
            if not np.size(shape.path.vertices):
                continue
            look: dict[str, Any] = {"facecolor": shape.color, "linewidth": 0.0, "edgecolor": "none"}
            if shape.width:
                look = {"facecolor": "none", "edgecolor": shape.color, "linewidth": THIN * shape.width}
                look |= {"capstyle": "round", "joinstyle": "round"}
            if shape.dashes is not None:
                look |= {"linestyle": (0, tuple(part / 1.5 for part in shape.dashes)), "capstyle": "butt"}
            patch = PathPatch(shape.path, **look, zorder=order, clip_on=False)
            patch.set_gid(f"{name} hidden" if shape.dashes is not None else name)
            self.axes.add_artist(patch)

    def _fitted(self, angles: tuple[float, float], place: Array) -> View:
        """As large as the box with its numbers fits into a part of the page, (2, 2)."""
        room, middle = place[1] - place[0], place.mean(axis=0)
        view = View(*angles, 0.3 * float(room.min()), *middle)
        for _ in range(6):  # numbers do not grow with the box
            low, high = self._extent(view)
            scale = view.scale * float((room / (high - low)).min())
            view = View(*angles, scale, view.column, view.row)
            low, high = self._extent(view)
            shift = middle - (low + high) / 2
            view = View(*angles, scale, view.column + float(shift[0]), view.row + float(shift[1]))
        return View(*angles, view.scale * 0.99, view.column, view.row)

    def _extent(self, view: View) -> tuple[Array, Array]:
        corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
        found = [view.project(corners, self.terrain.box)]
        for label in self.scene.labels(view):
            size = theme.BODY if label.name else theme.BODY - 1
            room = _room(theme.shortened(label.text, size, 1.6), size)
            middle = label.place + label.away * (np.abs(label.away) @ room) / 2
            found.append(np.stack([middle - room / 2, middle + room / 2]))
        points = np.concatenate(found)
        return points.min(axis=0), points.max(axis=0)

    def _entries(self) -> list[tuple[Any, str]]:
        entries: list[tuple[Any, str]] = []
        for index, run in enumerate(self.surface.paths):
            style = run_style(index)
            entries.append((RunHandle(style), run_text(run, style, LEGEND, theme.WIDTH - 0.8)))
        if entries and self._hidden:
            dashes = Line2D([], [], color=theme.QUIET, linewidth=0.8, linestyle=(0, (2, 1.5)))
            entries.append((dashes, "behind a hill"))
        return entries + hole_entry(self.shown)

    def _about_the_runs(self) -> list[str]:
        """At which height the runs lie, and how far from the plane they really are."""
        surface, shown = self.surface, self.shown
        if not surface.paths:
            return []
        height = "the projected loss" if shown.name == "loss" else f"the {shown.name} of the projections"
        far = surface.path_distance[np.isfinite(surface.path_distance)]
        beyond = (
            f"; the checkpoints themselves are up to {number(float(far.max()))} away from the plane" if len(far) else ""
        )
        return [f"runs lie on the surface, at {height}{beyond}"]


def check_relief(surface: Surface, shown: Heights, azimuth: float | None, elevation: float | None) -> None:
    """Refuse what has no relief, and views that are none.

    Raises
    ------
    InputError
    """
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


def _room(words: str, size: float) -> Array:
    """Width and height of a line of text, dots."""
    return np.array([theme.text_width(words, size), 1.1 * size / 72]) * DOTS
