"""Loss and metrics along a curve, with what the choice of the data leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from landscape.errors import InputError
from landscape.records.record import Array, Record


@dataclass(frozen=True)
class Curve(Record):
    """What a line and a path have in common.

    The data were cut into parts, and the loss of each part is known everywhere: how much these differ says how far the
    mean may be from the mean over all data of this kind (:meth:`band`). A point without a finite loss is a hole.

    Attributes
    ----------
    s : (p,) float64
        Position, ascending.
    loss : (p,) float64
        Mean over all data.
    metrics : dict of (p,) float64
        Of the objective, such as "accuracy"; with test data also "test_loss", "test_accuracy".
    samples : (m, p) float64
        Loss of each of m parts of the data.
    sample_weights : (m,) float64
        What each part counts in the mean: its number of samples, or the sum of their weights.
    n : int
        Number of parameters.
    batchnorm : str
        What batch norm used: "eval", "recompute", "batch" or "none"; as in :class:`Surface`.
    evaluations : int
        Points at which the loss was computed.
    seconds : float
    provenance : dict
    """

    s: Array
    loss: Array
    metrics: Mapping[str, Array] = field(default_factory=dict)
    samples: Array = field(default_factory=lambda: np.zeros((0, 0)))
    sample_weights: Array = field(default_factory=lambda: np.zeros(0))
    n: int = 0
    batchnorm: str = "eval"
    evaluations: int = 0
    seconds: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def standard_error(self) -> Array:
        """Of the mean over the data, ``(p,)``, from the spread of the parts; NaN with fewer than two of them."""
        if len(self.samples) < 2:
            return np.full(len(self.s), np.nan)
        return standard_error(self.samples, self.loss, self.sample_weights)

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
        reach = quantile(level, len(self.samples)) * self.standard_error
        middle = np.where(np.isfinite(self.loss), self.loss, np.nan)
        return middle - reach, middle + reach

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


def standard_error(parts: Array, mean: Array, weights: Array) -> Array:
    """Of means over the data, from the spread of parts of the data.

    A mean is the ratio of two sums over independent parts, Σ w l / Σ w, whose variance to first order is
    m/(m-1) Σ w² (l - L)² / (Σ w)² (Cochran, Sampling Techniques, 1977, section 6.5).

    Parameters
    ----------
    parts : (m, p) float64
        At least two parts.
    mean : (p,) float64
    weights : (m,) float64
        What each part counts in the mean.
    """
    count = len(parts)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = weights[:, None] * (parts - mean)
        return np.asarray(np.sqrt(count / (count - 1) * (apart**2).sum(0)) / weights.sum())


def quantile(level: float, parts: int) -> float:
    """How many standard errors an interval reaches to both sides (Student).

    Raises
    ------
    InputError
    """
    if not 0 < level < 1:
        raise InputError(f"level must be between 0 and 1, not {level}")
    from scipy.stats import t

    return float(t.ppf(0.5 + level / 2, max(parts - 1, 1)))
