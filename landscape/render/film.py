"""A training run walking over its landscape, frame by frame: what moves is drawn over layers that are drawn once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D, IdentityTransform
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render import theme
from landscape.render.film_panels import CurvePanel, DensityPanel
from landscape.render.film_schedule import along, check_runs, check_size, schedule, sorted_densities
from landscape.render.heights import heights
from landscape.render.numerals import count, number
from landscape.render.plane_map import (
    anchor_entry,
    axis_text,
    draw_anchors,
    draw_color_bar,
    draw_map,
    fit_box,
    hole_entry,
    label_lines,
    within,
)
from landscape.render.runs import SEAM, RunStyle, marker_patch, run_style, start_marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from landscape.records import PathOnSurface, SpectralDensity, Surface

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
# Lengths in pixels of a picture that is 1080 pixels high; other sizes scale with it.
HEIGHT = 1080
LEFT, RIGHT_COLUMN, MARGIN, BELOW, ABOVE = 90, 540, 50, 130, 70
BAR_GAP, BAR_WIDTH, BAR_ROOM = 16, 22, 150
ROW = 40
BODY, SMALL, TITLE, COUNTER = 16.0, 14.0, 21.0, 27.0  # points, of which 72 are 100 pixels
CHUNKS = 48  # of one colour, in a trail
BRIGHTEST = 0.85  # of a trail, so that the marker at its head stands out

SETTINGS: dict[str, Any] = {
    **theme.SETTINGS,
    "font.size": BODY, "axes.labelsize": BODY, "axes.titlesize": BODY, "legend.fontsize": SMALL,
    "xtick.labelsize": SMALL, "ytick.labelsize": SMALL, "axes.linewidth": 1.2, "lines.linewidth": 2.2,
    "xtick.major.size": 6, "ytick.major.size": 6, "xtick.major.width": 1.2, "ytick.major.width": 1.2,
    "hatch.linewidth": 1.2,
}  # fmt: skip


class Film:
    """The frames of a video: the landscape with the moving runs, their losses, their distance from the plane.

    A frame depends on nothing but its number: any process can draw any of them, with the same bytes.

    Parameters
    ----------
    surface : Surface
        With at least one run, and at least two points along each axis.
    densities : list of (int, SpectralDensity), optional
        Eigenvalue densities at steps of the runs; a panel shows the last one so far. Of several runs, ``"run"`` in the
        provenance of a density names the one that it belongs to.
    frames : int, optional
        How many. Default: one per checkpoint, but at least 150 and at most 1800.
    size : (int, int)
        Width and height in pixels, both even.
    metric : str, optional
        One of ``surface.metrics`` on the map instead of the loss.
    log : bool or "auto"
        As in :func:`landscape.render.contour`.
    title : str, optional
        Written above the map.

    Attributes
    ----------
    size : (int, int)
    surface : Surface
    runs : tuple of PathOnSurface
    densities : tuple of Moment
        Ascending in the step, each with its run.
    steps : (frames,) float64
        What each frame shows; between two checkpoints everything is linear.
    still : (height, width, 4) uint8
        What is the same in all frames.

    Raises
    ------
    InputError
        Nothing that moves, odd or extreme sizes, a damaged surface, densities without an order or beyond the runs.

    Examples
    --------
    >>> film = Film(landscape.load("surface.h5"))  # doctest: +SKIP
    >>> film.frame(len(film) - 1).shape  # doctest: +SKIP
    (1080, 1920, 3)
    """

    def __init__(
        self,
        surface: Surface,
        *,
        densities: Sequence[tuple[int, SpectralDensity]] | None = None,
        frames: int | None = None,
        size: tuple[int, int] = (1920, 1080),
        metric: str | None = None,
        log: bool | str = "auto",
        title: str | None = None,
    ) -> None:
        check_runs(surface)
        check_size(size)
        self.size = (int(size[0]), int(size[1]))
        self.surface = surface
        self.runs = surface.paths
        self.densities = sorted_densities(densities, self.runs)
        self.steps = schedule(self.runs, frames)
        self._shown = heights(surface, metric, log)
        self._dots_per_inch = 100 * self.size[1] / HEIGHT
        with theme.applied(SETTINGS):
            self._build(title)

    def __len__(self) -> int:
        return len(self.steps)

    def frame(self, k: int) -> Image:
        """Frame number `k`, counted from 0; negative numbers count from the end.

        Returns
        -------
        (height, width, 3) uint8

        Raises
        ------
        InputError
            There is no such frame.
        """
        return np.ascontiguousarray(self.draw(k)[..., :3])

    def draw(self, k: int) -> Image:
        """Frame number `k` as red, green, blue and 255, without a copy: it lasts until the next frame is drawn.

        Returns
        -------
        (height, width, 4) uint8
        """
        step = self.steps[self._number(k)]
        with theme.applied(SETTINGS):
            self._canvas.restore_region(self._background)
            renderer = self._canvas.get_renderer()
            for panel in self._panels:
                panel.draw(renderer, float(step))
            for trail in self._trails:
                trail.draw(renderer, float(step))
            for trail in self._trails:
                trail.draw_marker(renderer)
            self._write(renderer, float(step))
        return np.asarray(self._canvas.buffer_rgba())

    def position(self, k: int) -> Array:
        """Where the runs are in frame number `k`, (runs, 2), in the unit of the surface's axes."""
        step = float(self.steps[self._number(k)])
        return np.array([along(run, run.coordinates, step) for run in self.runs])

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Column and row where a point of the plane appears; whole numbers are the middles of pixels."""
        column, up = self._axes.transData.transform((x, y))
        return float(column) - 0.5, self.size[1] - float(up) - 0.5

    @property
    def map_box(self) -> tuple[int, int, int, int]:
        """The map within a frame: first column, first row, last column, last row."""
        left, top = self.pixel(self.surface.x[0], self.surface.y[-1])
        right, bottom = self.pixel(self.surface.x[-1], self.surface.y[0])
        return round(left), round(top), round(right), round(bottom)

    def _number(self, k: int) -> int:
        if not -len(self) <= k < len(self):
            raise InputError(f"there is no frame {k}: the film has {len(self)}, 0 to {len(self) - 1}")
        return k % len(self)

    def _build(self, title: str | None) -> None:
        """Draw everything that stands still, and prepare what moves."""
        width, height = self.size
        self._figure = Figure(
            figsize=(width / self._dots_per_inch, height / self._dots_per_inch), dpi=self._dots_per_inch
        )
        canvas: Any = FigureCanvasAgg(self._figure)
        self._canvas = canvas
        self._width = HEIGHT * width / height
        self._draw_map(title)
        self._draw_right_column()
        self._canvas.draw()
        self._trails = [
            _Trail(self._axes, run, run_style(index), [self._up(point) for point in run.coordinates])
            for index, run in enumerate(self.runs)
        ]
        for panel in self._panels:
            panel.prepare()
        self._background = self._canvas.copy_from_bbox(self._figure.bbox)
        self.still: Image = np.array(self._canvas.buffer_rgba())

    def _draw_map(self, title: str | None) -> None:
        surface, shown = self.surface, self._shown
        above = ABOVE + (55 if title else 0)
        room = self._width - LEFT - BAR_ROOM - RIGHT_COLUMN - MARGIN
        width, height, to_scale = fit_box(surface, room, HEIGHT - BELOW - above)
        left = LEFT + (room - width) / 2
        bottom = BELOW + (HEIGHT - BELOW - above - height) / 2
        axes = self._axes = self._figure.add_axes(self._box(left, bottom, width, height))
        axes.spines[["top", "right"]].set_visible(True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        lines = draw_map(axes, surface, shown, 2.0)
        if lines is not None:
            label_lines(axes, lines, shown, surface.path_coordinates, SMALL - 2)
        draw_anchors(axes, surface, SMALL)
        axes.set_xlim(surface.x[0], surface.x[-1])
        axes.set_ylim(surface.y[0], surface.y[-1])
        across = (room + BAR_ROOM - 60) / 100  # inches at 100 dots
        for text, place, side in (
            (f"→ {axis_text(surface, 0)}", bottom - 42, "top"),
            (f"↑ {axis_text(surface, 1)}", bottom + height + 12, "bottom"),
        ):
            self._text(LEFT if width == room else left, place, theme.shortened(text, BODY, across), va=side)
        if title:
            self._text(LEFT, HEIGHT - 30, theme.shortened(title, TITLE, across), fontsize=TITLE, va="top")
        if len(shown.levels) and not shown.constant:
            box = self._box(left + width + BAR_GAP, bottom, BAR_WIDTH, height)
            draw_color_bar(self._figure, box, shown, BODY)
        start = Line2D([], [], **{**start_marker(run_style(0), 11), "markeredgecolor": theme.INK})
        entries = [(start, "start of a run"), *anchor_entry(surface), *hole_entry(shown)]
        remarks = ["axes not to the same scale"] if "distance" in surface.unit and not to_scale else []
        if shown.constant:
            remarks.append(f"{shown.name} {number(float(shown.finite[0]), 6)} everywhere")
        entries += [(Line2D([], [], linestyle="none"), remark) for remark in remarks]
        legend = self._figure.legend(
            [handle for handle, _ in entries], [text for _, text in entries], loc="lower left", ncols=3,
            bbox_to_anchor=(LEFT / self._width, (bottom - 112) / HEIGHT), borderaxespad=0, borderpad=0, fontsize=SMALL,
            handletextpad=0.6, columnspacing=2.0,
        )  # fmt: skip
        for entry in legend.get_texts():
            entry.set_parse_math(False)

    def _draw_right_column(self) -> None:
        left = self._width - RIGHT_COLUMN - MARGIN + 60
        width = RIGHT_COLUMN - 60
        top = HEIGHT - 34
        self._counter = self._text(left - 60, top, "", fontsize=COUNTER, va="top", animated=True)
        top -= 74
        self._values: list[Any] = []
        for index, run in enumerate(self.runs[:6]):
            style = run_style(index)
            middle = top - ROW * (index + 0.5)
            marker = marker_patch(style, 22 * self.size[1] / HEIGHT)
            marker.set_transform(Affine2D().translate(*self._dots(left - 45, middle)))
            marker.set_figure(self._figure)
            self._figure.add_artist(marker)
            self._text(left - 20, middle, theme.shortened(run.name, BODY, (width - 210) / 100), va="center")
            self._values.append(self._text(left + width, middle, "", va="center", ha="right", animated=True))
        rows = len(self.runs[:6])
        if len(self.runs) > 6:
            self._text(left - 20, top - ROW * 6.4, f"and {len(self.runs) - 6} more", fontsize=SMALL, va="center")
            rows += 1
        top -= ROW * rows
        panels = 2 + bool(self.densities)
        below, heading = 74.0, 50.0  # room for tick labels and for the heading of each panel
        second_line = 24.0 * bool(self.densities)
        height = (top - 16 - panels * (below + heading) - second_line) / panels
        boxes = [
            self._box(
                left, top - (index + 1) * (height + below + heading) + below - second_line * (index == 2), width, height
            )
            for index in range(panels)
        ]
        losses = [run.loss if np.isfinite(run.loss).any() else run.projected_loss for run in self.runs]
        distances = [run.distance for run in self.runs]
        self._panels: list[CurvePanel | DensityPanel] = [
            CurvePanel(self._figure.add_axes(boxes[0]), self.runs, losses, "loss, dashed: projected", loss=True),
            CurvePanel(self._figure.add_axes(boxes[1]), self.runs, distances, "distance from the plane", loss=False),
        ]
        if self.densities:
            self._panels.append(DensityPanel(self._figure.add_axes(boxes[2]), self.densities, SMALL))

    def _write(self, renderer: Any, step: float) -> None:
        """The step, and the loss of each run at its last checkpoint so far."""
        self._counter.set_text(f"step {count(int(step))}")
        self._counter.draw(renderer)
        for text, run in zip(self._values, self.runs, strict=False):
            index = int(np.searchsorted(run.steps, step, side="right")) - 1
            loss = float(run.loss[max(index, 0)])
            gone = not within(self.surface, along(run, run.coordinates, step)[None])[0]
            words = "outside of the map" if gone else f"loss {number(loss)}" if np.isfinite(loss) else "loss not finite"
            text.set_text(words)
            text.draw(renderer)

    def _up(self, point: Array) -> Array:
        """A point of the plane in matplotlib's pixels, which count upwards."""
        return np.asarray(self._axes.transData.transform(point))

    def _dots(self, left: float, bottom: float) -> tuple[float, float]:
        scale = self.size[1] / HEIGHT
        return left * scale, bottom * scale

    def _box(self, left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Fractions of the figure."""
        return left / self._width, bottom / HEIGHT, width / self._width, height / HEIGHT

    def _text(self, left: float, bottom: float, text: str, **look: Any) -> Any:
        return self._figure.text(left / self._width, bottom / HEIGHT, text, parse_math=False, **look)


class _Trail:
    """One run on the map: the trail so far, its start, and the marker at its head; all in pixels."""

    def __init__(self, axes: Axes, run: PathOnSurface, style: RunStyle, points: list[Array]) -> None:
        self.run, self.points = run, np.array(points)
        self.style = style
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
