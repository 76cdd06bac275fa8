"""The panels beside the landscape of a film: curves over the steps, with a cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import IdentityTransform
from numpy.typing import NDArray

from landscape.records.displaying import is_spread
from landscape.render import theme
from landscape.render.film_stage import BODY
from landscape.render.numerals import count, number
from landscape.render.runs import run_style
from landscape.render.value_axis import value_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from landscape.records import PathOnSurface

Array = NDArray[np.float64]
PALE = 0.62  # how far the part of a curve that is still to come is mixed with white
LOSS_RANGE, EIGENVALUE_RANGE = 5, 30  # factors beyond which positive values are drawn on a logarithmic scale
DASHES = (0, (3, 2))


class Curve(NamedTuple):
    """A quantity over the steps.

    Attributes
    ----------
    steps : (t,) array
        Ascending.
    values : (t,) float64
        NaN leaves a gap.
    color : str
        Of the part that is done; the part to come is paler.
    width : float
        Points.
    dot : (str, str) or None
        Inside and rim of the dot at the cursor; None for no dot.
    dashes : str or tuple
        Of the line where it does not move.
    """

    steps: NDArray[Any]
    values: Array
    color: str
    width: float = 2.4
    dot: tuple[str, str] | None = None
    dashes: Any = "-"


class CurvePanel:
    """One quantity over the steps: pale as a whole, in full colour up to the cursor.

    Parameters
    ----------
    axes : Axes
    curves : sequence of Curve
    heading : str
        May be empty.
    span : (float, float)
        First and last step.
    kind : str
        "loss" (logarithmic where it spans much), "distance" (begins at zero) or "eigenvalue" (zero is in it, or
        logarithmic).
    behind : sequence of Curve
        Not moving.
    limits : (m,) float64, optional
        More values that must fit, such as those of other panels with the same limits.
    named : bool
        Whether the steps are written below.
    remarks : sequence of str
        What follows on the heading and its scale, from long to short: the first that fits.
    """

    def __init__(
        self,
        axes: Axes,
        curves: Sequence[Curve],
        heading: str,
        span: tuple[float, float],
        *,
        kind: str,
        behind: Sequence[Curve] = (),
        limits: Array | None = None,
        named: bool = True,
        remarks: Sequence[str] = (),
    ) -> None:
        self.axes, self.curves = axes, [curve for curve in curves if len(curve.steps)]
        every = [np.zeros(0) if limits is None else limits, *(curve.values for curve in [*self.curves, *behind])]
        finite = np.concatenate(every)
        finite = finite[np.isfinite(finite)]
        self.logarithmic = is_logarithmic(finite, kind)
        axes.set_xlim(span[0], span[1] if span[1] > span[0] else span[0] + 1)
        self._dress(finite, kind, named)
        if heading:
            room = axes.get_window_extent().width / axes.get_figure().dpi  # type: ignore[union-attr]
            axes.set_title(fitting(heading, remarks, self.logarithmic, room), pad=10, parse_math=False)
        for curve in behind:
            axes.plot(curve.steps, curve.values, color=pale(curve.color), linewidth=curve.width, linestyle=curve.dashes)
        for curve in self.curves:
            axes.plot(curve.steps, curve.values, color=pale(curve.color), linewidth=0.66 * curve.width)

    def _dress(self, finite: Array, kind: str, named: bool) -> None:
        axes = self.axes
        inches = axes.get_window_extent().height / axes.get_figure().dpi  # type: ignore[union-attr]
        most = int(np.clip(3.2 * inches, 2, 6 if self.logarithmic else 5))
        if kind == "distance":
            axes.set_ylim(0, 1.08 * float(finite.max(initial=0)) or 1.0)
            axes.yaxis.set_major_locator(MaxNLocator(min(most, 4), steps=[1, 2, 5, 10]))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        else:
            with_zero = kind == "eigenvalue" and not self.logarithmic and len(finite)
            value_axis(axes, np.append(finite, 0.0) if with_zero else finite, self.logarithmic, most)
            bottom, top = axes.get_ylim()
            if kind == "eigenvalue" and bottom < 0 < top and not self.logarithmic:
                axes.axhline(0, color=theme.FAINT, linewidth=1.0, zorder=1)
        across = axes.get_window_extent().width / axes.get_figure().dpi  # type: ignore[union-attr]
        bins = int(np.clip(across / 0.62, 1, 5))
        axes.xaxis.set_major_locator(MaxNLocator(bins, integer=True, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
        axes.tick_params(axis="x", labelbottom=named)
        if named:
            axes.set_xlabel("step", labelpad=2)

    def prepare(self) -> None:
        """Find out where everything is, once the figure is laid out."""
        figure = self.axes.get_figure()
        transform = self.axes.transData
        self._pixels = []
        for curve in self.curves:
            with np.errstate(invalid="ignore"):
                finite = np.where(curve.values > 0, curve.values, np.nan) if self.logarithmic else curve.values
            self._pixels.append(np.asarray(transform.transform(np.column_stack([curve.steps, finite]))))
        self._cursor = Line2D([], [], color=theme.QUIET, linewidth=1.2)
        self._lines = [Line2D([], [], color=curve.color, linewidth=curve.width) for curve in self.curves]
        radius = 0.07 * figure.dpi  # type: ignore[union-attr]
        self._dots = [
            Circle((0, 0), radius, facecolor=face, edgecolor=rim, linewidth=1.4)
            for face, rim in (curve.dot or ("none", "none") for curve in self.curves)
        ]
        for artist in (self._cursor, *self._lines, *self._dots):
            artist.set_figure(figure)  # type: ignore[arg-type]
            artist.set_transform(IdentityTransform())

    def draw(self, renderer: Any, step: float) -> None:
        """What belongs to a step."""
        column = float(self.axes.transData.transform((step, self.axes.get_ylim()[0]))[0])
        self._cursor.set_data([column, column], [self.axes.bbox.y0, self.axes.bbox.y1])
        self._cursor.draw(renderer)
        for curve, points, line, dot in zip(self.curves, self._pixels, self._lines, self._dots, strict=True):
            if step < curve.steps[0]:
                continue
            index = int(np.searchsorted(curve.steps, step, side="right")) - 1
            head = points[index]
            if index + 1 < len(points):  # straight between checkpoints, as the curve is drawn
                part = (step - curve.steps[index]) / (curve.steps[index + 1] - curve.steps[index])
                head = head + part * (points[index + 1] - head)
            line.set_data(*np.concatenate([points[: index + 1], [head]]).T)
            line.draw(renderer)
            if curve.dot is not None and np.isfinite(head).all():
                dot.set_center((float(head[0]), float(head[1])))
                dot.draw(renderer)


def fitting(heading: str, remarks: Sequence[str], logarithmic: bool, room: float) -> str:
    """A heading with its scale and the first remark that fits into so many inches."""
    scales = (" (logarithmic)", " (log)") if logarithmic else ("",)
    every = [f"{heading}{scale}{remark}" for remark in remarks or ("",) for scale in scales]
    for words in every:
        if theme.text_width(words, BODY) <= room:
            return words
    if remarks:
        return theme.shortened(every[-1], BODY, room)
    return theme.shortened(heading, BODY, room - theme.text_width(scales[-1], BODY)) + scales[-1]


def is_logarithmic(finite: Array, kind: str) -> bool:
    """Whether values of a kind are drawn on a logarithmic scale."""
    factor = {"loss": LOSS_RANGE, "eigenvalue": EIGENVALUE_RANGE}.get(kind)
    return factor is not None and is_spread(finite, factor)


def pale(color: str, part: float = PALE) -> str:
    """A colour mixed with white."""
    red, green, blue = (part + (1 - part) * channel for channel in to_rgb(color))
    return to_hex((red, green, blue))


def span_of(runs: Sequence[PathOnSurface]) -> tuple[float, float]:
    """First and last step of some runs."""
    return float(min(run.steps[0] for run in runs)), float(max(run.steps[-1] for run in runs))


def loss_curves(runs: Sequence[PathOnSurface]) -> list[Curve]:
    """The true losses of runs, or the projected ones where none is finite."""
    return [
        _of_run(index, run, run.loss if np.isfinite(run.loss).any() else run.projected_loss)
        for index, run in enumerate(runs)
    ]


def projected_curves(runs: Sequence[PathOnSurface]) -> list[Curve]:
    """The losses at the projections of the checkpoints."""
    return [
        _of_run(index, run, run.projected_loss)._replace(width=1.1, dashes=DASHES) for index, run in enumerate(runs)
    ]


def distance_curves(runs: Sequence[PathOnSurface]) -> list[Curve]:
    """The distances of runs from the plane."""
    return [_of_run(index, run, run.distance) for index, run in enumerate(runs)]


def _of_run(index: int, run: PathOnSurface, values: Array) -> Curve:
    style = run_style(index)
    return Curve(run.steps, np.asarray(values, float), style.line, dot=(style.bright, style.dark))
