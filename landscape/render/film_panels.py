"""The panels beside the landscape of a film: curves over the steps with a cursor, and the eigenvalue density."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Affine2D, IdentityTransform
from numpy.typing import NDArray

from landscape.render import theme
from landscape.render.density_figure import FLOOR, OPERATORS
from landscape.render.numerals import count, number
from landscape.render.runs import marker_patch, run_style
from landscape.render.value_axis import value_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from landscape.records import PathOnSurface, SpectralDensity
    from landscape.render.film_schedule import Moment

Array = NDArray[np.float64]
POINTS = 700  # of a density curve: more than pixels
PALE = 0.62  # how far the part of a curve that is still to come is mixed with white


class CurvePanel:
    """One quantity of all runs over the steps: pale as a whole, in full colour up to the cursor.

    Parameters
    ----------
    axes : Axes
    runs : sequence of PathOnSurface
    values : list of (t,) float64
        Per run, one per checkpoint; NaN leaves a gap.
    heading : str
    loss : bool
        A loss may be logarithmic; a distance begins at zero.
    """

    def __init__(
        self, axes: Axes, runs: Sequence[PathOnSurface], values: list[Array], heading: str, *, loss: bool
    ) -> None:
        self.axes, self.runs, self.values = axes, runs, values
        projected = [run.projected_loss for run in runs] if loss else []
        finite = np.concatenate([*values, *projected])
        finite = finite[np.isfinite(finite)]
        self.logarithmic = loss and bool(len(finite) and finite.min() > 0 and finite.max() > 5 * finite.min())
        first = min(int(run.steps[0]) for run in runs)
        last = max(int(run.steps[-1]) for run in runs)
        axes.set_xlim(first, last if last > first else first + 1)
        if loss:
            value_axis(axes, finite, self.logarithmic, 6 if self.logarithmic else 5)
        else:
            axes.set_ylim(0, 1.08 * float(finite.max(initial=0)) or 1.0)
            axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
        axes.set_xlabel("step", labelpad=2)
        suffix = " (logarithmic)" if self.logarithmic else ""
        axes.set_title(heading + suffix, pad=10, parse_math=False)
        for index, (run, curve) in enumerate(zip(runs, values, strict=True)):
            color = PALE + (1 - PALE) * np.array(to_rgb(run_style(index).line))
            if loss:
                axes.plot(run.steps, run.projected_loss, color=tuple(color), linewidth=1.1, linestyle=(0, (3, 2)))
            axes.plot(run.steps, curve, color=tuple(color), linewidth=1.6)

    def prepare(self) -> None:
        """Find out where everything is, once the figure is laid out."""
        figure = self.axes.get_figure()
        transform = self.axes.transData
        self._pixels = []
        for run, values in zip(self.runs, self.values, strict=True):
            with np.errstate(invalid="ignore"):
                finite = np.where(values > 0, values, np.nan) if self.logarithmic else values
            self._pixels.append(np.asarray(transform.transform(np.column_stack([run.steps, finite]))))
        self._cursor = Line2D([], [], color=theme.QUIET, linewidth=1.2)
        styles = [run_style(index) for index in range(len(self.runs))]
        self._lines = [Line2D([], [], color=style.line, linewidth=2.4) for style in styles]
        radius = 0.07 * figure.dpi  # type: ignore[union-attr]
        self._dots = [
            Circle((0, 0), radius, facecolor=style.bright, edgecolor=style.dark, linewidth=1.4) for style in styles
        ]
        for artist in (self._cursor, *self._lines, *self._dots):
            artist.set_figure(figure)  # type: ignore[arg-type]
            artist.set_transform(IdentityTransform())

    def draw(self, renderer: Any, step: float) -> None:
        """What belongs to a step."""
        column = float(self.axes.transData.transform((step, self.axes.get_ylim()[0]))[0])
        self._cursor.set_data([column, column], [self.axes.bbox.y0, self.axes.bbox.y1])
        self._cursor.draw(renderer)
        for run, points, line, dot in zip(self.runs, self._pixels, self._lines, self._dots, strict=True):
            if step < run.steps[0]:
                continue
            index = int(np.searchsorted(run.steps, step, side="right")) - 1
            head = points[index]
            if index + 1 < len(points):  # straight between checkpoints, as the curve is drawn
                part = (step - run.steps[index]) / (run.steps[index + 1] - run.steps[index])
                head = head + part * (points[index + 1] - head)
            line.set_data(*np.concatenate([points[: index + 1], [head]]).T)
            line.draw(renderer)
            if np.isfinite(head).all():
                dot.set_center((float(head[0]), float(head[1])))
                dot.draw(renderer)


class DensityPanel:
    """The last eigenvalue density so far, with the same limits and the same sigma at all steps.

    Parameters
    ----------
    axes : Axes
    moments : sequence of Moment
        Ascending in the step.
    small : float
        Points of the second line of the heading.
    """

    def __init__(self, axes: Axes, moments: Sequence[Moment], small: float = theme.SMALL) -> None:
        self.axes, self.moments, self.small = axes, moments, small
        self.steps = [moment.step for moment in moments]
        records = [moment.density for moment in moments]
        self.sigma = max(record.default_sigma for record in records)
        low, high = min(record.lambda_min for record in records), max(record.lambda_max for record in records)
        margin = 4 * self.sigma
        self.x = np.linspace(low - margin, high + margin, POINTS)
        self.curves = [record.pdf(self.x, self.sigma) for record in records]
        self.eigenvalues = [record.eigenvalues for record in records]
        self.heights = [1 / (record.n * self.sigma * sqrt(2 * pi)) for record in records]
        floor = FLOOR * min(self.heights)
        axes.set_xlim(self.x[0], self.x[-1])
        axes.set_yscale("log")
        axes.set_ylim(floor, 2.5 * max(float(curve.max()) for curve in self.curves))
        inches = axes.get_window_extent().height / axes.get_figure().dpi  # type: ignore[union-attr]
        axes.yaxis.set_major_locator(LogLocator(numticks=min(6, max(2, int(2.8 * inches)))))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_locator(LogLocator(subs=[1.0], numticks=12))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.set_xlabel(f"eigenvalue λ   (σ = {number(self.sigma, 2)} at all steps)", labelpad=2)
        names = {OPERATORS.get(record.operator, record.operator) for record in records}
        self.name = names.pop() if len(names) == 1 else "operator"

    def prepare(self) -> None:
        """Find out where everything is, once the figure is laid out."""
        figure = self.axes.get_figure()
        transform = self.axes.transData
        floor = self.axes.get_ylim()[0]
        bottom = self.axes.bbox.y0
        self._outlines, self._stems = [], []
        for curve, values, height in zip(self.curves, self.eigenvalues, self.heights, strict=True):
            outline = transform.transform(np.column_stack([self.x, np.maximum(curve, floor)]))
            self._outlines.append(np.asarray(outline))
            tops = np.asarray(transform.transform(np.column_stack([values, np.full(len(values), height)])))
            self._stems.append([np.array([[x, bottom], [x, y]]) for x, y in tops])
        self._area = Polygon(np.zeros((1, 2)), closed=True, facecolor=theme.PALETTE[0], alpha=0.25, linewidth=0)
        self._line = Line2D([], [], color=theme.PALETTE[0], linewidth=2.2)
        self._ticks = LineCollection([], colors=theme.QUIET, linewidths=0.7)
        for artist in (self._area, self._line, self._ticks):
            artist.set_figure(figure)  # type: ignore[arg-type]
            artist.set_transform(IdentityTransform())
            artist.set_clip_box(self.axes.bbox)
        box = self.axes.get_position()
        point = figure.dpi / 72  # type: ignore[union-attr]
        across, up = point / figure.bbox.width, point / figure.bbox.height  # type: ignore[union-attr]
        looks: tuple[tuple[float, dict[str, Any]], ...] = (
            (1.9 * self.small, {}),
            (7.0, {"fontsize": self.small, "color": theme.QUIET}),
        )
        self._heading, self._quality = (
            figure.text(box.x0, box.y1 + height * up, "", va="baseline", animated=True, parse_math=False, **look)  # type: ignore[union-attr]
            for height, look in looks
        )
        size = 0.75 * float(self._heading.get_fontsize())
        self._inches = float(box.width * figure.bbox.width / figure.dpi)  # type: ignore[union-attr]
        self._places = box.x0, box.x0 + 1.7 * size * across  # of the heading without and with a marker
        corner = box.x0 * figure.bbox.width, box.y1 * figure.bbox.height  # type: ignore[union-attr]
        middle = corner[0] + 0.6 * size * point, corner[1] + (1.9 * self.small + 0.5 * size) * point
        self._markers: dict[int | None, Any] = {}
        for index in sorted({moment.place for moment in self.moments if moment.place is not None}):
            marker = self._markers[index] = marker_patch(run_style(index), size * point)
            marker.set_transform(Affine2D().translate(*middle))
            marker.set_figure(figure)  # type: ignore[arg-type]

    def draw(self, renderer: Any, step: float) -> None:
        """What belongs to a step."""
        index = int(np.searchsorted(self.steps, step, side="right")) - 1
        if index < 0:
            self._write(renderer, f"{self.name} eigenvalues: from step {count(self.steps[0])} on")
            return
        moment = self.moments[index]
        whose, when = f" of {moment.run}" if moment.run else "", f", step {count(moment.step)}"
        self._write(renderer, f"{self.name}{whose}", when, moment.place)
        self._quality.set_text(quality(moment.density))
        outline = self._outlines[index]
        bottom = self.axes.bbox.y0
        self._area.set_xy(np.concatenate([outline, [[outline[-1, 0], bottom], [outline[0, 0], bottom]]]))
        self._line.set_data(*outline.T)
        self._ticks.set_segments(self._stems[index])
        for artist in (self._area, self._line, self._ticks, self._quality):
            artist.draw(renderer)

    def _write(self, renderer: Any, words: str, when: str = "", index: int | None = None) -> None:
        """The heading: the marker of the run, and words that are shortened where they do not fit."""
        marker = self._markers.get(index)
        size = float(self._heading.get_fontsize())
        room = self._inches - theme.text_width(when, size) - (0 if marker is None else 1.3 * size / 72)
        self._heading.set_text(theme.shortened(words, size, room) + when)
        self._heading.set_x(self._places[marker is not None])
        self._heading.draw(renderer)
        if marker is not None:
            marker.draw(renderer)


def quality(density: SpectralDensity) -> str:
    """How far a density can be trusted, in a line."""
    if not np.isfinite(density.error):
        return "eigenvalue density, error not known"
    digits = 3 if number(density.error, 2) == number(density.tol, 2) else 2
    error = f"predicted error {number(density.error, digits)}"
    return error if density.converged else f"{error} · not converged to {number(density.tol, 2)}"
