"""Loss and metrics along a line, with what the choice of the data leaves open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from landscape.records.curve import Curve
from landscape.records.record import Array


@dataclass(frozen=True)
class Profile(Curve):
    """Loss at ``origin + s · direction``.

    Attributes
    ----------
    s, loss, metrics, samples, sample_weights, n, batchnorm, evaluations, seconds, provenance
        As of every curve: position in the unit of ``unit``, mean loss, metrics, and the loss of each part of the data.
    axis : str
        Name of the direction.
    axis_source : str
        Where it comes from; "" if unknown.
    unit : str
        What 1 means on the axis.
    slope, curvature : float
        First and second derivative of the loss along the direction at s = 0, NaN if unknown.
    anchor_names : (a,) text
        Points on the line that have a name.
    anchor_s, anchor_loss : (a,) float64
    parameters : str
        Which parameters the direction was restricted to, as they were chosen; "" means all.
    theta_sha256 : str
        Digest of the point at s = 0.

    Examples
    --------
    >>> line = Profile(s=np.array([-1.0, 0, 1]), loss=np.array([1.5, 0.5, 1.5]), samples=np.array(
    ...     [[1.4, 0.4, 1.4], [1.6, 0.6, 1.6]]), sample_weights=np.ones(2))
    >>> line.standard_error.round(3).tolist()
    [0.1, 0.1, 0.1]
    """

    figure: ClassVar[str] = "profile"

    axis: str = "direction_1"
    axis_source: str = ""
    unit: str = "distance in parameter space"
    slope: float = float("nan")
    curvature: float = float("nan")
    anchor_names: NDArray[Any] = field(default_factory=lambda: np.zeros(0, "U1"))
    anchor_s: Array = field(default_factory=lambda: np.zeros(0))
    anchor_loss: Array = field(default_factory=lambda: np.zeros(0))
    parameters: str = ""
    theta_sha256: str = ""

    @property
    def loss_at_origin(self) -> float:
        """Loss at s = 0, NaN if it was not computed."""
        places = np.concatenate([self.anchor_s, self.s])
        found = np.concatenate([self.anchor_loss, self.loss])[places == 0]
        return float(found[0]) if len(found) else float("nan")

    @property
    def model(self) -> Array:
        """Loss of the quadratic with the same value, slope and curvature at s = 0, ``(p,)``; NaN if one is unknown."""
        result: Array = self.loss_at_origin + self.slope * self.s + self.curvature * self.s**2 / 2
        return result
