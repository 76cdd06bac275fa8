"""The layout `flyover`: the viewer goes around the relief while the runs grow on it; beside it losses and distances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape.render.film import Film
from landscape.render.film_relief import ReliefOfRuns
from landscape.render.film_stage import LEFT

Array = NDArray[np.float64]


class Flyover(Film):
    """The frames of a video: a shaded relief seen from a viewer who goes around it, and the runs growing on it.

    What lies behind a hill is hidden; the way of a run there is a thin dashed line. Parameters and attributes as
    :class:`landscape.render.Film`.

    Attributes
    ----------
    azimuths : (frames,) float64
        From where each frame is seen, degrees around the vertical axis.
    elevation : float
        Degrees above the plane.

    Examples
    --------
    >>> film = Flyover(landscape.load("surface.h5"))  # doctest: +SKIP
    >>> film.frame(0).shape  # doctest: +SKIP
    (1080, 1920, 3)
    """

    _map: ReliefOfRuns

    @property
    def azimuths(self) -> Array:
        """From where each frame is seen, degrees."""
        return self._map.azimuths

    @property
    def elevation(self) -> float:
        """Degrees above the plane."""
        return self._map.elevation

    def _landscape(self, shown: Any, right: float, top: float) -> ReliefOfRuns:
        return ReliefOfRuns(self, self.surface, shown, LEFT, right, top, self.steps)

    def _move(self, renderer: Any, frame: int) -> None:
        self._map.look(frame)
        super()._move(renderer, frame)
