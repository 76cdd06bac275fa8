"""Loss and metrics along a line, with what the choice of the data leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.records.record import Array, Record


@dataclass(frozen=True)
class Profile(Record):
    """Loss at ``origin + s · direction``.

    The data were cut into parts, and the loss of each part is known everywhere: how much these differ says how far the
    mean may be from the mean over all data of this kind (:meth:`band`). A point without a finite loss is a hole.

    Attributes
    ----------
    s : (p,) float64
        Position in the unit of ``unit``, ascending.
    loss : (p,) float64
        Mean over all data.
    metrics : dict of (p,) float64
        Of the objective, such as "accuracy"; with test data also "test_loss", "test_accuracy".
    samples : (m, p) float64
        Loss of each of m parts of the data.
    sample_weights : (m,) float64
        What each part counts in the mean: its number of samples, or the sum of their weights.
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
    n : int
        Number of parameters.
    parameters : str
        Which parameters the direction was restricted to, as they were chosen; "" means all.
    batchnorm : str
        What batch norm used: "eval", "recompute", "batch" or "none"; as in :class:`Surface`.
    theta_sha256 : str
        Digest of the point at s = 0.
    evaluations : int
        Points at which the loss was computed.
    seconds : float
    provenance : dict

    Examples
    --------
    >>> line = Profile(s=np.array([-1.0, 0, 1]), loss=np.array([1.5, 0.5, 1.5]), samples=np.array(
    ...     [[1.4, 0.4, 1.4], [1.6, 0.6, 1.6]]), sample_weights=np.ones(2))
    >>> line.standard_error.round(3).tolist()
    [0.1, 0.1, 0.1]
    """

    figure: ClassVar[str] = "profile"

    s: Array
    loss: Array
    metrics: Mapping[str, Array] = field(default_factory=dict)
    samples: Array = field(default_factory=lambda: np.zeros((0, 0)))
    sample_weights: Array = field(default_factory=lambda: np.zeros(0))
    axis: str = "direction_1"
    axis_source: str = ""
    unit: str = "distance in parameter space"
    slope: float = float("nan")
    curvature: float = float("nan")
    anchor_names: NDArray[Any] = field(default_factory=lambda: np.zeros(0, "U1"))
    anchor_s: Array = field(default_factory=lambda: np.zeros(0))
    anchor_loss: Array = field(default_factory=lambda: np.zeros(0))
    n: int = 0
    parameters: str = ""
    batchnorm: str = "eval"
    theta_sha256: str = ""
    evaluations: int = 0
    seconds: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def standard_error(self) -> Array:
        """Of the mean over the data, ``(p,)``, from the spread of the parts; NaN with fewer than two of them.

        The loss is the ratio of two sums over independent parts, Σ w l / Σ w, whose variance to first order is
        m/(m-1) Σ w² (l - L)² / (Σ w)² (Cochran, Sampling Techniques, 1977, section 6.5).
        """
        count = len(self.samples)
        if count < 2:
            return np.full(len(self.s), np.nan)
        with np.errstate(invalid="ignore", over="ignore"):
            apart = self.sample_weights[:, None] * (self.samples - self.loss)
            return np.asarray(np.sqrt(count / (count - 1) * (apart**2).sum(0)) / self.sample_weights.sum())

    def band(self, level: float = 0.95) -> tuple[Array, Array]:
        """Ends of the interval that holds the mean over all data of this kind, at each point by itself.

        Student's, with one degree of freedom less than there are parts: what a bootstrap over the parts gives as their
        number grows, without its dependence on a seed.

        Parameters
        ----------
        level : float
            Probability, between 0 and 1.

        Returns
        -------
        low, high : (p,) float64
            NaN if there are fewer than two parts.

        Raises
        ------
        InputError
        """
        if not 0 < level < 1:
            raise InputError(f"level must be between 0 and 1, not {level}")
        from scipy.stats import t

        reach = t.ppf(0.5 + level / 2, max(len(self.samples) - 1, 1)) * self.standard_error
        middle = np.where(np.isfinite(self.loss), self.loss, np.nan)
        return middle - reach, middle + reach

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

    @property
    def holes(self) -> int:
        """Number of points without a finite loss."""
        return int((~np.isfinite(self.loss)).sum())

    @property
    def lowest(self) -> tuple[float, float]:
        """s and loss of the lowest point; NaN if there is no finite one."""
        if self.holes == len(self.loss):
            return float("nan"), float("nan")
        place = int(np.nanargmin(np.where(np.isfinite(self.loss), self.loss, np.nan)))
        return float(self.s[place]), float(self.loss[place])
