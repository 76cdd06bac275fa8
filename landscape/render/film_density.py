"""The panel of a film that shows the eigenvalue density so far, with the same limits at all steps."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Affine2D, IdentityTransform
from numpy.typing import NDArray

from landscape.render import theme
from landscape.render.density_figure import FLOOR, OPERATORS
from landscape.render.film_stage import changing_text
from landscape.render.numerals import count, number
from landscape.render.runs import marker_patch, run_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from landscape.records import SpectralDensity
    from landscape.render.film_schedule import Moment

Array = NDArray[np.float64]
POINTS = 700  # of a density curve: more than pixels


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
            outline = transform.transform(np.column_stack([self.x, np.maximum(curve, floor / 2)]))
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
            changing_text(figure, box.x0, box.y1 + height * up, va="baseline", **look)  # type: ignore[arg-type]
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
