"""The landscape of a film: the map, drawn once, and the runs that walk on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D, IdentityTransform
from numpy.typing import NDArray

from landscape.render import theme
from landscape.render.film_schedule import along
from landscape.render.film_stage import BODY, HEIGHT, SMALL
from landscape.render.numerals import number
from landscape.render.plane_map import (
    anchor_entry,
    axis_text,
    draw_anchors,
    draw_color_bar,
    draw_map,
    fit_box,
    hole_entry,
    label_lines,
)
from landscape.render.runs import SEAM, RunStyle, marker_patch, run_style, start_marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from landscape.records import PathOnSurface, Surface
    from landscape.render.film_stage import Stage
    from landscape.render.heights import Heights

Array = NDArray[np.float64]
BELOW, BAR_GAP, BAR_WIDTH, BAR_ROOM, LINE = 130, 16, 22, 150, 27  # pixels of a picture of 1080 lines
CHUNKS = 48  # of one colour, in a trail
BRIGHTEST = 0.85  # of a trail, so that the marker at its head stands out


class MapOfRuns:
    """A map in a part of a film's picture, with axes, legend and colour bar.

    Parameters
    ----------
    stage : Stage
        The film.
    surface : Surface
    shown : Heights
    left, right, top : float
        The part, in pixels of a picture of 1080 lines; it reaches down to the lower border.
    """

    def __init__(self, stage: Stage, surface: Surface, shown: Heights, left: float, right: float, top: float) -> None:
        self.stage, self.surface = stage, surface
        room, across = right - left - BAR_ROOM, right - left - 60
        # What an axis says of its variance and of the null is not cut off: it takes a second line.
        names = [theme.joined(axis_text(surface, index).split(" · "), BODY, across / 100 - 0.3) for index in (0, 1)]
        names = [[line.replace("  ·  ", " · ") for line in lines] for lines in names]
        above, below = 70 + LINE * (len(names[1]) - 1), BELOW + LINE * (len(names[0]) - 1)
        width, height, to_scale = fit_box(surface, room, top - above - below)
        x = left + (room - width) / 2
        bottom = top - above - height  # what is left of a wide plane is below, in one piece
        axes = self.axes = stage.axes(x, bottom, width, height)
        axes.spines[["top", "right"]].set_visible(True)
        for axis, extent in ((axes.xaxis, width), (axes.yaxis, height)):
            axis.set_major_locator(MaxNLocator(int(np.clip(extent / 90, 2, 8)), steps=[1, 2, 5, 10]))
        contours = draw_map(axes, surface, shown, 2.0)
        if contours is not None:
            label_lines(axes, contours, shown, surface, SMALL - 2)
        draw_anchors(axes, surface, SMALL)
        axes.set_xlim(surface.x[0], surface.x[-1])
        axes.set_ylim(surface.y[0], surface.y[-1])
        for arrow, lines, place, side in (
            ("→", names[0], bottom - 42, "top"),
            ("↑", names[1], bottom + height + 12, "bottom"),
        ):
            for row, line in enumerate(lines):
                down = row if side == "top" else row - len(lines) + 1
                stage.text(left, place - LINE * down, f"{arrow} {line}" if row == 0 else f"    {line}", va=side)
        if len(shown.levels) and not shown.constant:
            draw_color_bar(stage.figure, stage.box(x + width + BAR_GAP, bottom, BAR_WIDTH, height), shown, BODY)
        self._legend(shown, to_scale, left, bottom - 112 - LINE * (len(names[0]) - 1), across)

    def _legend(self, shown: Heights, to_scale: bool, left: float, bottom: float, across: float) -> None:
        surface = self.surface
        start = Line2D([], [], **{**start_marker(run_style(0), 11), "markeredgecolor": theme.INK})
        entries: list[tuple[Any, str]] = [(start, "start of a run"), *anchor_entry(surface), *hole_entry(shown)]
        remarks = ["axes not to the same scale"] if "distance" in surface.unit and not to_scale else []
        if shown.constant:
            remarks.append(f"{shown.name} {number(float(shown.finite[0]), 6)} everywhere")
        entries += [(Line2D([], [], linestyle="none"), remark) for remark in remarks]
        columns = min(len(entries), 3 if across > 800 else 2)
        handles = 60  # a handle, its gap and the gap to the next column
        texts = fitted([text for _, text in entries], SMALL, columns, across / 100, handles / 100)
        legend = self.stage.figure.legend(
            [handle for handle, _ in entries], texts, loc="upper left", ncols=columns,
            bbox_to_anchor=(left / self.stage.width, (bottom + 32) / HEIGHT), borderaxespad=0, borderpad=0,
            fontsize=SMALL, handletextpad=0.6, columnspacing=1.6,
        )  # fmt: skip
        for entry in legend.get_texts():
            entry.set_parse_math(False)

    def prepare(self) -> None:
        """Find out where everything is, once the figure is laid out."""
        self.trails = [
            Trail(self.axes, run, run_style(index), np.array([self._up(point) for point in run.coordinates]))
            for index, run in enumerate(self.surface.paths)
        ]

    def draw(self, renderer: Any, step: float) -> None:
        """The runs at a step."""
        for trail in self.trails:
            trail.draw(renderer, step)
        for trail in self.trails:
            trail.draw_marker(renderer)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Column and row where a point of the plane appears; whole numbers are the middles of pixels."""
        column, up = self.axes.transData.transform((x, y))
        return float(column) - 0.5, self.stage.size[1] - float(up) - 0.5

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """First column, first row, last column, last row of the map."""
        left, top = self.pixel(self.surface.x[0], self.surface.y[-1])
        right, bottom = self.pixel(self.surface.x[-1], self.surface.y[0])
        return round(left), round(top), round(right), round(bottom)

    def _up(self, point: Array) -> Array:
        """A point of the plane in matplotlib's pixels, which count upwards."""
        return np.asarray(self.axes.transData.transform(point))


class Trail:
    """One run on the map: the trail so far, its start, and the marker at its head; all in pixels.

    Parameters
    ----------
    axes : Axes
    run : PathOnSurface
    style : RunStyle
    points : (t, 2) float64
        The checkpoints in pixels.
    """

    def __init__(self, axes: Axes, run: PathOnSurface, style: RunStyle, points: Array) -> None:
        self.run, self.points = run, points
        figure = axes.get_figure()
        self.seam = Line2D([], [], color=SEAM, linewidth=5.2, alpha=0.9)
        self.line = LineCollection([], linewidths=3.2, capstyle="round")
        self.start = Line2D(*self.points[:1].T, **start_marker(style, 11))
        self.marker = marker_patch(style, 0.3 * figure.dpi)  # type: ignore[union-attr]
        for artist in (self.seam, self.line, self.start, self.marker):
            artist.set_figure(figure)  # type: ignore[arg-type]
            artist.set_transform(IdentityTransform())
            artist.set_clip_box(axes.bbox)
        bounds = np.unique(np.linspace(0, len(points) - 1, CHUNKS + 1).astype(int))
        self.bounds = bounds
        self.colors = style.ramp(BRIGHTEST * bounds[:-1] / max(bounds[-1], 1))

    def draw(self, renderer: Any, step: float) -> None:
        """The trail up to a step."""
        index = max(int(np.searchsorted(self.run.steps, step, side="right")) - 1, 0)
        head = along(self.run, self.points, step)
        points = np.concatenate([self.points[: index + 1], [head]])
        self.seam.set_data(*points.T)
        chunks = [points[low : high + 1] for low, high in zip(self.bounds[:-1], self.bounds[1:], strict=True)]
        chunks = [chunk for chunk in chunks if len(chunk) > 1]
        self.line.set_segments(chunks)
        self.line.set_color(self.colors[: len(chunks)])
        self.seam.draw(renderer)
        self.line.draw(renderer)
        self.start.draw(renderer)
        self.marker.set_transform(Affine2D().translate(*head))

    def draw_marker(self, renderer: Any) -> None:
        """The marker at the head, above all trails."""
        self.marker.draw(renderer)


def fitted(texts: list[str], size: float, columns: int, width: float, beside: float) -> list[str]:
    """The texts of a legend of so many columns, the longest shortened until all columns fit into a width in inches.

    Parameters
    ----------
    texts : list of str
    size : float
        Points.
    columns : int
    width : float
    beside : float
        Inches that each column needs beside its texts.
    """
    rows = -(-len(texts) // columns)
    groups = [texts[index : index + rows] for index in range(0, len(texts), rows)]
    widths = [max(theme.text_width(text, size) for text in group) for group in groups]
    room = width - beside * len(groups)
    order = sorted(range(len(groups)), key=lambda index: widths[index])  # the short ones keep what they need
    for place, index in enumerate(order):
        allowed = max(min(widths[index], room / (len(groups) - place)), 0.3)
        groups[index] = [theme.shortened(text, size, allowed) for text in groups[index]]
        room -= allowed
    return [text for group in groups for text in group]
