"""The layout `trajectory`: runs walk over their landscape; beside it losses, distances, eigenvalues, density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape.render import theme
from landscape.render.film_density import DensityPanel
from landscape.render.film_eigenvalues import eigenvalue_curves, eigenvalue_heading
from landscape.render.film_map import MapOfRuns
from landscape.render.film_panels import CurvePanel, distance_curves, loss_curves, projected_curves, span_of
from landscape.render.film_schedule import (
    along,
    check_runs,
    schedule,
    sorted_densities,
    sorted_eigenvalues,
)
from landscape.render.film_stage import BODY, HEIGHT, LEFT, MARGIN, SETTINGS, SMALL, Stage, step_text
from landscape.render.heights import heights
from landscape.render.numerals import number
from landscape.render.plane_map import within
from landscape.render.runs import run_style

if TYPE_CHECKING:
    from landscape.records import DensitySeries, EigenSeries, PathOnSurface, SpectralDensity, Surface

Array = NDArray[np.float64]
RIGHT_COLUMN, ROW = 540, 40  # pixels of a picture of 1080 lines
NAMED = 6  # runs in the list
BETWEEN, BELOW, HEADING = 22.0, 68.0, 42.0  # under a panel that shares its steps, under one with its own axis, above


class Film(Stage):
    """The frames of a video: the landscape with the moving runs, their losses, their distance from the plane.

    Parameters
    ----------
    surface : Surface
        With at least one run, and at least two points along each axis.
    densities : DensitySeries or list of (int, SpectralDensity), optional
        Eigenvalue densities at steps of the runs; a panel shows the last one so far. Of several runs, ``"run"`` in the
        provenance of a density names the one that it belongs to.
    eigenvalues : EigenSeries or sequence of them, optional
        Extreme eigenvalues along runs, for a panel with the stability threshold of the recorded optimizer.
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
        densities: DensitySeries | Sequence[tuple[int, SpectralDensity]] | None = None,
        eigenvalues: EigenSeries | Sequence[EigenSeries] | None = None,
        frames: int | None = None,
        size: tuple[int, int] = (1920, 1080),
        metric: str | None = None,
        log: bool | str = "auto",
        title: str | None = None,
    ) -> None:
        check_runs(surface)
        self.surface = surface
        self.runs = surface.paths
        self.densities = sorted_densities(densities, self.runs)
        self.eigenvalues = sorted_eigenvalues(eigenvalues, self.runs, surface.n)
        super().__init__(size, schedule(self.runs, frames))
        with theme.applied(SETTINGS):
            self._build(title, heights(surface, metric, log))

    def position(self, k: int) -> Array:
        """Where the runs are in frame number `k`, (runs, 2), in the unit of the surface's axes."""
        step = float(self.steps[self._number(k)])
        return np.array([along(run, run.coordinates, step) for run in self.runs])

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Column and row where a point of the plane appears; whole numbers are the middles of pixels."""
        return self._map.pixel(x, y)

    @property
    def map_box(self) -> tuple[int, int, int, int]:
        """The map within a frame: first column, first row, last column, last row."""
        return self._map.corners

    def _build(self, title: str | None, shown: Any) -> None:
        """Draw everything that stands still, and prepare what moves."""
        right = self.width - RIGHT_COLUMN - MARGIN
        self.title(title, right - LEFT - 60)
        self._map = self._landscape(shown, right, HEIGHT - (55 if title else 0))
        left = right + 60
        self._counter = self.counter(left - 60)
        top = self._list_runs(left, RIGHT_COLUMN - 60, HEIGHT - 34 - 74)
        self._panels = self._stack(left, RIGHT_COLUMN - 60, top)
        self._settle()
        for part in (self._map, *self._panels):
            part.prepare()
        self._keep()

    def _landscape(self, shown: Any, right: float, top: float) -> Any:
        """What the runs walk on, left of the column."""
        return MapOfRuns(self, self.surface, shown, LEFT, right, top)

    def _list_runs(self, left: float, width: float, top: float) -> float:
        """Markers and names, and places for what each run has reached; returns where the list ends."""
        self._values: list[Any] = []
        for index, run in enumerate(self.runs[:NAMED]):
            middle = top - ROW * (index + 0.5)
            self.marker(run_style(index), left - 45, middle)
            self.text(left - 20, middle, theme.shortened(run.name, BODY, (width - 210) / 100), va="center")
            self._values.append(self.text(left + width, middle, "", va="center", ha="right", animated=True))
        rows = len(self.runs[:NAMED])
        if len(self.runs) > NAMED:
            words = f"and {len(self.runs) - NAMED} more"
            self.text(left - 20, top - ROW * (NAMED + 0.4), words, fontsize=SMALL, va="center")
            rows += 1
        return top - ROW * rows

    def _stack(self, left: float, width: float, top: float) -> list[CurvePanel | DensityPanel]:
        """The panels, one below the other; those over the steps share the axis of the lowest of them."""
        curves = 2 + bool(self.eigenvalues)
        below = [BETWEEN] * (curves - 1) + [BELOW] + [BELOW] * bool(self.densities)
        above = [HEADING] * curves + [HEADING + 24] * bool(self.densities)
        weights = np.array([1.0] * curves + [1.2] * bool(self.densities))
        sizes = (top - 10 - sum(below) - sum(above)) * weights / weights.sum()
        places = top - np.cumsum(np.add(above, sizes) + np.concatenate([[0], below[:-1]]))
        boxes = [(left, float(place), width, float(size)) for place, size in zip(places, sizes, strict=True)]
        span = span_of(self.runs)
        self._losses = CurvePanel(
            self.axes(*boxes[0]), loss_curves(self.runs), "loss, dashed: projected", span, kind="loss",
            behind=projected_curves(self.runs), named=False,
        )  # fmt: skip
        panels: list[CurvePanel | DensityPanel] = [
            self._losses,
            CurvePanel(
                self.axes(*boxes[1]), distance_curves(self.runs), "distance from the plane", span, kind="distance",
                named=not self.eigenvalues,
            ),
        ]  # fmt: skip
        if self.eigenvalues:
            found, thresholds = eigenvalue_curves(self.eigenvalues, self.runs)
            heading, remarks = eigenvalue_heading(self.eigenvalues, thresholds, self.runs)
            panels.append(
                CurvePanel(
                    self.axes(*boxes[2]), found, heading, span, kind="eigenvalue", behind=thresholds, remarks=remarks
                )
            )
        if self.densities:
            panels.append(DensityPanel(self.axes(*boxes[-1]), self.densities, SMALL))
        return panels

    def _move(self, renderer: Any, frame: int) -> None:
        step = float(self.steps[frame])
        for panel in self._panels:
            panel.draw(renderer, step)
        self._map.draw(renderer, step)
        self._counter.set_text(step_text(step))
        self._counter.draw(renderer)
        for text, run in zip(self._values, self.runs, strict=False):
            text.set_text(reached(self.surface, run, step, self._losses.logarithmic))
            text.draw(renderer)


def reached(surface: Surface, run: PathOnSurface, step: float, logarithmic: bool) -> str:
    """The loss of a run where its dot is, or why there is none; between checkpoints as straight as it is drawn."""
    if not within(surface, along(run, run.coordinates, step)[None])[0]:
        return "outside of the map"
    values = np.asarray(run.loss, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = float(np.exp(along(run, np.log(values), step)) if logarithmic else along(run, values, step))
    return f"loss {number(loss, zeros=True)}" if np.isfinite(loss) else "loss not finite"
