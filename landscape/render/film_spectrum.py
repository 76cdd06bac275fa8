"""The layout `spectrum`: the eigenvalue density over the training, as a curve that changes and as a map of steps."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import IdentityTransform
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render import theme
from landscape.render.density_figure import FLOOR, OPERATORS
from landscape.render.film_density import quality
from landscape.render.film_panels import CurvePanel
from landscape.render.film_schedule import Moment, frame_count, sorted_densities, sorted_eigenvalues
from landscape.render.film_spectrum_side import side_curves
from landscape.render.film_stage import BODY, HEIGHT, LEFT, MARGIN, SETTINGS, SMALL, Stage, step_text
from landscape.render.morphing import Morph, smoothed
from landscape.render.numerals import count, number
from landscape.render.runs import run_style
from landscape.render.series_figure import DENSITY

if TYPE_CHECKING:
    from landscape.records import DensitySeries, EigenSeries, SpectralDensity, Surface

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
RIGHT_COLUMN = 500  # pixels of a picture of 1080 lines
CURVE, MAP, BOTTOM, BETWEEN = 420.0, 330.0, 110.0, 30.0
PALE = 0.72  # how far the part of the map that is still to come is mixed with white
LEVEL = 0.95  # of the band
AREA, BAND = 0.12, 0.45  # how opaque what lies under the curve is, and the band around it
LEGEND = 290.0  # pixels of a picture of 1080 lines that it is wide


class SpectrumFilm(Stage):
    """The frames of a video: density with band and resolved eigenvalues, its map over the steps, loss and extremes.

    At a measured step everything is as it was measured; in between, quantiles move straight (optimal transport), and
    the heading says so. Limits and sigma are the same at all steps.

    Parameters
    ----------
    surface : Surface, optional
        For the loss at all checkpoints, and for the stability threshold of the optimizer.
    densities : DensitySeries or list of (int, SpectralDensity)
        Of one run.
    eigenvalues : EigenSeries, optional
        Of the same run: the panel then shows its largest eigenvalues and not those of the densities.
    frames : int, optional
        How many. Default: one per density, but at least 150 and at most 1800.
    size : (int, int)
        Width and height in pixels, both even.
    metric, log
        Not used: there is no landscape.
    title : str, optional
        Written above.

    Raises
    ------
    InputError
        No density, those of several runs or networks, two at one step, or an impossible size.

    Examples
    --------
    >>> film = SpectrumFilm(densities=landscape.load("spectra.h5"))  # doctest: +SKIP
    """

    def __init__(
        self,
        surface: Surface | None = None,
        *,
        densities: DensitySeries | Sequence[tuple[int, SpectralDensity]] | None = None,
        eigenvalues: EigenSeries | Sequence[EigenSeries] | None = None,
        frames: int | None = None,
        size: tuple[int, int] = (1920, 1080),
        metric: str | None = None,
        log: bool | str = "auto",
        title: str | None = None,
    ) -> None:
        self.moments = moments_of(surface, densities)
        self.runs = surface.paths if surface is not None else ()
        self.eigenvalues = sorted_eigenvalues(eigenvalues, self.runs, self.moments[0].density.n)
        self.style = run_style(self.moments[0].place or 0)
        at = np.array([moment.step for moment in self.moments], float)
        super().__init__(size, spread_over(at, frame_count(len(at), frames)))
        self._at = at
        with theme.applied(SETTINGS):
            self._measure()
            self._build(title, side_curves(surface, densities, self.moments, self.eigenvalues))

    @staticmethod
    def length(
        surface: Surface | None,
        *,
        densities: DensitySeries | Sequence[tuple[int, SpectralDensity]] | None = None,
        frames: int | None = None,
    ) -> int:
        """How many frames a film of these densities has."""
        return frame_count(len(moments_of(surface, densities)), frames)

    def _measure(self) -> None:
        """The curve and the band at each moment, on the columns of pixels."""
        records = [moment.density for moment in self.moments]
        self.sigma = max(record.default_sigma for record in records)
        low, high = min(record.lambda_min for record in records), max(record.lambda_max for record in records)
        margin = max(4 * self.sigma, 0.02 * (high - low))
        width = round(self._across * self.size[1] / HEIGHT)
        edges = np.linspace(low - margin, high + margin, width + 1)
        self.x = (edges[1:] + edges[:-1]) / 2
        self.limits = float(edges[0]), float(edges[-1])
        self.one = [1 / (record.n * self.sigma * sqrt(2 * pi)) for record in records]
        self.floor = FLOOR * min(self.one)
        self.curves = np.stack([record.pdf(self.x, self.sigma) for record in records])
        bands = np.stack([np.stack(record.pdf_band(self.x, self.sigma, LEVEL)) for record in records], axis=1)
        bands = np.where(np.isfinite(bands), bands, self.curves)
        least = self.floor / 10  # zero has no logarithm
        self._down, self._up = np.log(np.maximum(bands, least) / np.maximum(self.curves, least))
        self.top = 2.5 * float(bands.max())
        self._morphs: dict[int, Morph] = {}

    @property
    def _across(self) -> float:
        """Width of the two large panels in pixels of a picture of 1080 lines."""
        return self.width - RIGHT_COLUMN - MARGIN - LEFT - 90

    def _build(self, title: str | None, sides: list[dict[str, Any]]) -> None:
        """Draw everything that stands still, and prepare what moves."""
        left, right = LEFT + 30.0, self.width - RIGHT_COLUMN - MARGIN
        self.title(title, right - LEFT - 60)
        grown = 0.0 if title else 55.0
        bottom = BOTTOM + MAP + BETWEEN
        self._curve_axes = self.axes(left, bottom, self._across, CURVE + grown)
        self._map_axes = self.axes(left, BOTTOM, self._across, MAP)
        self._dress_curve()
        self._dress_map()
        self._strip(left + self._across + 14, bottom, CURVE + grown)
        top = bottom + CURVE + grown
        self._heading = self.text(left, top + 46, "", va="baseline", animated=True)
        self._quality = self.text(left, top + 16, "", va="baseline", fontsize=SMALL, color=theme.QUIET, animated=True)
        self._legend(left + self._across, top + 46)
        column = right + 60
        self._counter = self.counter(column - 30)
        top = self._facts(column, RIGHT_COLUMN - 60, HEIGHT - 34 - 74)
        self._panels = self._stack(sides, column, RIGHT_COLUMN - 60, top)
        self._settle()
        for panel in self._panels:
            panel.prepare()
        self._prepare_curve()
        self._prepare_map()
        self._keep()

    def _dress_curve(self) -> None:
        axes = self._curve_axes
        axes.set_xlim(*self.limits)
        axes.set_yscale("log")
        axes.set_ylim(self.floor, self.top)
        axes.yaxis.set_major_locator(LogLocator(numticks=7))
        axes.yaxis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=12))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.set_ylabel("share of eigenvalues per unit of λ", labelpad=6)
        axes.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 2, 5, 10]))
        axes.tick_params(axis="x", labelbottom=False)
        if self.limits[0] < 0 < self.limits[1]:
            axes.axvline(0, color=theme.FAINT, linewidth=1.0, zorder=1)
        if len(set(self.one)) == 1:
            axes.axhline(self.one[0], color=theme.FAINT, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1)

    def _dress_map(self) -> None:
        axes = self._map_axes
        axes.spines[["top", "right"]].set_visible(True)
        axes.set_xlim(*self.limits)
        first, last = self._at[0], self._at[-1]
        axes.set_ylim(*((last, first) if last > first else (first + 0.5, first - 0.5)))
        axes.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
        axes.set_ylabel("step", labelpad=6)
        axes.set_xlabel(f"eigenvalue λ  (loss per parameter²; σ = {number(self.sigma, 2)} at all steps)", labelpad=4)

    def _strip(self, left: float, bottom: float, height: float) -> None:
        """The colours of the map along the axis of the curve, which is theirs, too."""
        strip = self.axes(left, bottom, 14, height)
        strip.imshow(np.linspace(1, 0, 256)[:, None], aspect="auto", cmap=DENSITY, vmin=0, vmax=1)
        strip.set_axis_off()
        words = "colours of the map below"
        look: dict[str, Any] = {"fontsize": SMALL, "color": theme.QUIET, "rotation": 90, "va": "center", "ha": "left"}
        self.text(left + 22, bottom + height / 2, words, **look)

    def _legend(self, right: float, bottom: float) -> None:
        colors = theme.PALETTE
        handles = [
            (Polygon(np.zeros((1, 2)), facecolor=colors[0], alpha=BAND, linewidth=0), f"{100 * LEVEL:g} % band"),
            (Line2D([], [], color=colors[1], linewidth=1.6, marker="o", markersize=5), "resolved eigenvalue"),
            (Line2D([], [], color=theme.QUIET, linewidth=1.4, linestyle=(0, (1, 2))), "height of one eigenvalue"),
        ]
        self.figure.legend(
            [handle for handle, _ in handles], [text for _, text in handles], loc="lower right", ncols=1,
            bbox_to_anchor=(right / self.width, (bottom - 100) / HEIGHT), borderaxespad=0, borderpad=0, fontsize=SMALL,
            handletextpad=0.6, labelspacing=0.35,
        )  # fmt: skip

    def _facts(self, left: float, width: float, top: float) -> float:
        """Rows of a name and a place for a value; returns where they end."""
        moment = self.moments[0]
        names = ["measured at step", "largest eigenvalue", "smallest eigenvalue", "trace", "resolved eigenvalues"]
        if moment.run:
            if moment.place is not None:
                self.marker(self.style, left - 14, top - 20)
            words = theme.shortened(moment.run, BODY, width / 100)
            self.text(left + (14 if moment.place is not None else -30), top - 20, words, va="center")
            top -= 48
        self._rows = []
        for index, name in enumerate(names):
            middle = top - 34 * (index + 0.5)
            self.text(left - 30, middle, name, va="center", color=theme.QUIET)
            self._rows.append(self.text(left + width, middle, "", va="center", ha="right", animated=True))
        return top - 34 * len(names) - 10

    def _stack(self, sides: list[dict[str, Any]], left: float, width: float, top: float) -> list[CurvePanel]:
        below, heading = 72.0, 52.0
        height = (top - BOTTOM + below - len(sides) * (below + heading)) / max(len(sides), 1)
        panels = []
        for index, side in enumerate(sides):
            box = left, top - (index + 1) * (heading + height) - index * below, width, height
            panels.append(CurvePanel(self.axes(*box), span=(self._at[0], self._at[-1]), **side))
        return panels

    def _prepare_curve(self) -> None:
        axes, color = self._curve_axes, theme.PALETTE[0]
        self._columns = axes.transData.transform(np.column_stack([self.x, np.full(len(self.x), self.floor)]))[:, 0]
        box = axes.bbox
        self._up_per_log = float(box.height) / float(np.log(self.top / self.floor))
        self._area = Polygon(np.zeros((1, 2)), closed=True, facecolor=color, alpha=AREA, linewidth=0)
        self._band = Polygon(np.zeros((1, 2)), closed=True, facecolor=color, alpha=BAND, linewidth=0)
        self._line = Line2D([], [], color=color, linewidth=2.6)
        self._stems = LineCollection([], colors=theme.PALETTE[1], linewidths=1.3)
        self._heads = Line2D([], [], color=theme.PALETTE[1], linestyle="none", marker="o", markersize=5)
        for artist in (self._area, self._band, self._line, self._stems, self._heads):
            artist.set_figure(self.figure)
            artist.set_transform(IdentityTransform())
            artist.set_clip_box(box)

    def _prepare_map(self) -> None:
        """Paint the map into the canvas, paler; keep it in full colour for the rows that are done."""
        buffer = np.asarray(self._canvas.buffer_rgba())
        box, height = self._map_axes.bbox, self.size[1]
        # Within the frame of the axes.
        first, last = int(np.ceil(height - box.y1)) + 1, int(np.floor(height - box.y0))
        left, right = int(np.ceil(box.x0)) + 1, int(np.floor(box.x1)) - 1
        self._place = first, last, left, right
        rows = (np.arange(first, last) + 0.5 - (height - box.y1)) / box.height
        low, high = self._map_axes.get_ylim()[::-1]
        steps = low + rows * (high - low)
        moments = np.searchsorted((self._at[1:] + self._at[:-1]) / 2, steps)
        columns = np.clip(
            ((np.arange(left, right) + 0.5 - box.x0) / box.width * len(self.x)).astype(int), 0, len(self.x) - 1
        )
        heights = np.log(np.maximum(self.curves[:, columns], self.floor) / self.floor) / np.log(self.top / self.floor)
        colors = (255 * DENSITY(heights)).round().astype(np.uint8)
        colors[self.curves[:, columns] <= self.floor] = 255
        self._full: Image = colors[moments]
        pale = PALE * 255 + (1 - PALE) * self._full[..., :3].astype(float)
        buffer[first:last, left:right, :3] = pale.round().astype(np.uint8)
        self._now = Line2D([], [], color=theme.INK, linewidth=1.4)
        self._now.set_figure(self.figure)
        self._now.set_transform(IdentityTransform())

    def _move(self, renderer: Any, frame: int) -> None:
        step = float(self.steps[frame])
        index = min(max(int(np.searchsorted(self._at, step, side="right")) - 1, 0), len(self._at) - 1)
        part = 0.0
        if index + 1 < len(self._at):
            part = (step - self._at[index]) / (self._at[index + 1] - self._at[index])
        self._draw_map(renderer, step)
        self._draw_curve(renderer, index, part)
        self._write(renderer, step, self.moments[index])
        for panel in self._panels:
            panel.draw(renderer, step)

    def _draw_map(self, renderer: Any, step: float) -> None:
        first, last, left, right = self._place
        up = float(self._map_axes.transData.transform((self.limits[0], step))[1])
        row = int(np.clip(round(self.size[1] - up), first, last))
        np.asarray(self._canvas.buffer_rgba())[first:row, left:right] = self._full[: row - first]
        self._now.set_data([left, right], [up, up])
        self._now.draw(renderer)

    def _draw_curve(self, renderer: Any, index: int, part: float) -> None:
        """The density at a part of the way from one moment to the next."""
        following = min(index + 1, len(self._at) - 1)
        if index not in self._morphs:
            self._morphs = {index: Morph(self.moments[index].density, self.moments[following].density)}
        morph = self._morphs[index]
        curve = self.curves[index] if part == 0 else smoothed(*morph.at(part), self.x, self.sigma)
        logs = np.log(np.maximum(curve, self.floor / 10) / self.floor)
        down = (1 - part) * self._down[index] + part * self._down[following]
        up = (1 - part) * self._up[index] + part * self._up[following]
        bottom = float(self._curve_axes.bbox.y0)

        def outline(values: Array) -> Array:
            return np.column_stack([self._columns, bottom + self._up_per_log * np.maximum(values, -0.5)])

        middle = outline(logs)
        self._area.set_xy(np.concatenate([middle, [[middle[-1, 0], bottom], [middle[0, 0], bottom]]]))
        self._band.set_xy(np.concatenate([outline(logs + up), outline(logs + down)[::-1]]))
        self._line.set_data(*middle.T)
        one = (1 - part) * self.one[index] + part * self.one[following]
        top = bottom + self._up_per_log * float(np.log(one / self.floor))
        values = morph.resolved(part)
        low, high = self.limits
        box = self._curve_axes.bbox
        places = box.x0 + (values - low) / (high - low) * box.width
        self._stems.set_segments([np.array([[place, bottom], [place, top]]) for place in places])
        self._heads.set_data(places, np.full(len(places), top))
        for artist in (self._area, self._band, self._line, self._stems, self._heads):
            artist.draw(renderer)

    def _write(self, renderer: Any, step: float, moment: Moment) -> None:
        density = moment.density
        name = OPERATORS.get(density.operator, density.operator)
        self._counter.set_text(step_text(step))
        room = (self._across - LEGEND) / 100
        heading = f"{name}, last measured at step {count(moment.step)}"
        self._heading.set_text(theme.shortened(heading, BODY, room))
        said = f"{quality(density)} · in between, eigenvalues move by rank"
        self._quality.set_text(theme.shortened(said, SMALL, room))
        trace = number(density.trace)
        if np.isfinite(density.trace_stderr):
            trace += f" ± {number(density.trace_stderr, 1)}"
        values = [
            count(moment.step),
            f"{'' if density.ends_resolved[1] else '≥ '}{number(density.lambda_max)}",
            f"{'' if density.ends_resolved[0] else '≤ '}{number(density.lambda_min)}",
            trace if np.isfinite(density.trace) else "not known",
            count(int(density.resolved.sum())),
        ]
        for text, words in zip(self._rows, values, strict=True):
            text.set_text(words)
        for text in (self._counter, self._heading, self._quality, *self._rows):
            text.draw(renderer)


def moments_of(
    surface: Surface | None, densities: DensitySeries | Sequence[tuple[int, SpectralDensity]] | None
) -> tuple[Moment, ...]:
    """The densities of one run, ascending in the step.

    Raises
    ------
    InputError
        None, or of several runs or networks.
    """
    found = sorted_densities(densities, surface.paths if surface is not None else ())
    if not found:
        raise InputError(
            "the layout spectrum needs eigenvalue densities; landscape spectrum run.h5 --every 10 computes them along "
            "a run"
        )
    names = sorted({moment.run for moment in found})
    if len(names) > 1:
        raise InputError(f"the layout spectrum shows one run, but the densities belong to {', '.join(names)}")
    sizes = {moment.density.n for moment in found}
    if surface is not None and surface.n:
        sizes.add(surface.n)
    if len(sizes) > 1:
        raise InputError(
            f"the densities belong to networks of different sizes: {', '.join(map(str, sorted(sizes)))} parameters"
        )
    operators = {moment.density.operator for moment in found}
    if len(operators) > 1:
        raise InputError(f"the densities belong to different operators: {', '.join(sorted(operators))}")
    return found


def spread_over(at: Array, frames: int) -> Array:
    """The step of each frame: as many frames from each moment to the next."""
    if frames == 1 or len(at) == 1:
        return np.full(frames, at[-1])
    place = np.arange(frames) * (len(at) - 1) / (frames - 1)
    return np.interp(place, np.arange(len(at)), at)
