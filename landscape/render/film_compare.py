"""The layout `compare`: several runs on their common landscape, each with panels of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from landscape.errors import InputError
from landscape.render import theme
from landscape.render.film import reached
from landscape.render.film_eigenvalues import largest, threshold_of, threshold_text, thresholds_in_reach
from landscape.render.film_map import MapOfRuns
from landscape.render.film_panels import (
    Curve,
    CurvePanel,
    distance_curves,
    loss_curves,
    pale,
    projected_curves,
    span_of,
)
from landscape.render.film_schedule import check_runs, schedule, sorted_densities, sorted_eigenvalues
from landscape.render.film_stage import BODY, HEIGHT, LEFT, MARGIN, SETTINGS, SMALL, Stage, step_text
from landscape.render.heights import heights
from landscape.render.numerals import count
from landscape.render.runs import run_style

if TYPE_CHECKING:
    from landscape.records import DensitySeries, EigenSeries, PathOnSurface, SpectralDensity, Surface

SHARE = 0.52  # of the width, for the map
SHOWN = 6  # runs with panels
EARLY = 0.95  # of all steps: a run that ends before is said to have ended
NAME, BETWEEN, BELOW, HEADING, GAP = 46.0, 14.0, 92.0, 30.0, 74.0  # pixels of a picture of 1080 lines


class CompareFilm(Stage):
    """The frames of a video: the landscape with all runs; beside it a row of panels for each, all with the same limits.

    Parameters
    ----------
    surface : Surface
        With at least two runs.
    densities
        Not shown in this layout; refused.
    eigenvalues : EigenSeries or sequence of them, optional
        Of one or more of the runs, for a third column: the largest eigenvalue and the threshold of the optimizer.
    frames, size, metric, log, title
        As for :class:`landscape.render.Film`.

    Raises
    ------
    InputError
        Fewer than two runs, or as :class:`landscape.render.Film`.

    Examples
    --------
    >>> film = CompareFilm(landscape.load("both.h5"))  # doctest: +SKIP
    """

    def __init__(
        self,
        surface: Surface,
        *,
        densities: DensitySeries | Sequence[tuple[int, SpectralDensity]] | None = None,
        eigenvalues: EigenSeries | Sequence[EigenSeries] | None = None,
        frames: int | None = None,
        size: tuple[int, int] = (1920, 1080),
        metric: str | None = None,
        log: bool | str = "auto",
        title: str | None = None,
    ) -> None:
        check_runs(surface)
        if len(surface.path_names) < 2:
            raise InputError(
                "the layout compare needs at least two runs, and the surface has one; the layout trajectory shows one"
            )
        if sorted_densities(densities, surface.paths):
            raise InputError(
                "the layout compare has no panel for densities; use the layout trajectory, or leave them out"
            )
        self.surface, self.runs = surface, surface.paths
        self.eigenvalues = sorted_eigenvalues(eigenvalues, self.runs, surface.n)
        super().__init__(size, schedule(self.runs, frames))
        with theme.applied(SETTINGS):
            self._build(title, heights(surface, metric, log))

    def _build(self, title: str | None, shown: Any) -> None:
        right = SHARE * self.width
        self._map = MapOfRuns(self, self.surface, shown, LEFT, right, HEIGHT - (55 if title else 0))
        left = right + 70
        self.title(title, right - LEFT - 40)
        self._counter = self.counter(left - 40)
        self._panels = self._rows(left, self.width - MARGIN - left, HEIGHT - 34 - 70)
        self._settle()
        self._map.prepare()
        for panel in self._panels:
            panel.prepare()
        self._keep()

    def _rows(self, left: float, width: float, top: float) -> list[CurvePanel]:
        """One row for each run: marker, name and what it has reached above its panels."""
        runs = self.runs[:SHOWN]
        columns = self._columns()
        across = (width - GAP * (len(columns) - 1)) / len(columns)
        height = (top - HEADING - BELOW) / len(runs) - NAME - BETWEEN
        self._values: list[Any] = []
        panels: list[CurvePanel] = []
        for index, run in enumerate(runs):
            bottom = top - HEADING - (index + 1) * (height + NAME + BETWEEN) + BETWEEN
            self._name(index, run, left, bottom + height + NAME / 2 + 2, width)
            for column in columns:
                place = left + len(panels) % len(columns) * (across + GAP)
                panels.append(self._panel(column, index, (place, bottom, across, height), last=run is runs[-1]))
        for place, column in enumerate(columns):
            words = column.heading + (" (log)" if panels[place].logarithmic else "")
            words = theme.shortened(words, SMALL, (across + min(GAP, MARGIN) - 20) / 100)
            self.text(left + place * (across + GAP), top, words, fontsize=SMALL, color=theme.QUIET, va="top")
        notes = [f"and {count(len(self.runs) - SHOWN)} more on the map"] if len(self.runs) > SHOWN else []
        notes += ["pale: other runs", "dashed: projected loss", *self._thresholds()]
        words = theme.shortened(" · ".join(notes), SMALL, (width + 30) / 100)
        self.text(left - 40, 14, words, fontsize=SMALL, color=theme.QUIET, va="bottom")
        return panels

    def _panel(self, column: _Column, index: int, box: tuple[float, float, float, float], last: bool) -> CurvePanel:
        """The quantity of a column for one run, over those of the others."""
        others = [curve for place, curves in enumerate(column.curves) for curve in curves if place != index]
        thin = [curve._replace(color=pale(curve.color, 0.45), width=1.1) for curve in others]
        still = [curve.values for curves in column.still for curve in curves]
        return CurvePanel(
            self.axes(*box), column.curves[index], "", span_of(self.runs), kind=column.kind,
            behind=[*thin, *column.still[index]], limits=np.concatenate([np.zeros(0), *still]), named=last,
        )  # fmt: skip

    def _name(self, index: int, run: PathOnSurface, left: float, middle: float, width: float) -> None:
        self.marker(run_style(index), left + 4, middle)
        longest = (
            f"ended at step {count(int(run.steps[-1]))} · loss 0.00123" if self._is_short(run) else "outside of the map"
        )
        room = (width - 48) / 100 - theme.text_width(longest, BODY)
        self.text(left + 28, middle, theme.shortened(run.name, BODY, room), va="center")
        self._values.append(self.text(left + width, middle, "", va="center", ha="right", animated=True))

    def _is_short(self, run: PathOnSurface) -> bool:
        """Whether a run ends long before the others."""
        return bool(run.steps[-1] < self.steps[0] + EARLY * (self.steps[-1] - self.steps[0]))

    def _columns(self) -> list[_Column]:
        losses, projected, distances = loss_curves(self.runs), projected_curves(self.runs), distance_curves(self.runs)
        found = [
            _Column("loss", "loss", [[one] for one in losses], [[one] for one in projected]),
            _Column("distance from the plane", "distance", [[one] for one in distances], [[] for _ in distances]),
        ]
        if self.eigenvalues:
            moving: list[list[Curve]] = [[] for _ in self.runs]
            still: list[list[Curve]] = [[] for _ in self.runs]
            reach = [float(np.nanmax(one.series.values)) for one in self.eigenvalues]
            for one in self.eigenvalues:
                place = one.place or 0
                style = run_style(place)
                values = largest(one.series)
                moving[place] = [Curve(one.series.steps, values, style.line, dot=(style.bright, style.dark))]
                still[place] = thresholds_in_reach([one], self.runs, max(reach))
            found.append(_Column("largest eigenvalue", "eigenvalue", moving, still))
        return found

    def _thresholds(self) -> list[str]:
        """What the optimizers bear, as far as it is known."""
        known = [(one, threshold_of(one, self.runs)) for one in self.eigenvalues]
        values = [f"{self.runs[one.place or 0].name} {threshold_text(v)}" for one, v in known if v is not None]
        return [f"stable below: {', '.join(values)}"] if values else []

    def _move(self, renderer: Any, frame: int) -> None:
        step = float(self.steps[frame])
        for panel in self._panels:
            panel.draw(renderer, step)
        self._map.draw(renderer, step)
        self._counter.set_text(step_text(step))
        self._counter.draw(renderer)
        for text, run in zip(self._values, self.runs, strict=False):
            words = reached(self.surface, run, step, self._panels[0].logarithmic)
            if run.steps[-1] < step and self._is_short(run) and words.startswith("loss"):
                words = f"ended at step {count(int(run.steps[-1]))} · {words}"
            text.set_text(words)
            text.draw(renderer)


class _Column(NamedTuple):
    """One quantity of all runs: heading, kind, and for each run the curves that move and those that do not."""

    heading: str
    kind: str
    curves: list[list[Curve]]
    still: list[list[Curve]]
