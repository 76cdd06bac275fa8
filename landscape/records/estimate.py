"""Numbers that were estimated from random products, with their standard errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape.errors import InputError
from landscape.records.record import Array


@dataclass(frozen=True)
class Estimate:
    """A number of an operator, such as its trace.

    Attributes
    ----------
    value : float
        In units of the operator, for a Hessian loss per parameter².
    stderr : float
        Standard error of the value, from the spread of its samples, for XTrace with their covariance; rounding alone
        where all was computed.
    products : int
        Operator applications spent.
    method : str
        "hutchinson", "hutch++", "xtrace", or "exact" where no more than n products were needed.
    operator : str
    n : int
    samples : int
        How many samples the standard error comes from; 0 where it is rounding.
    seconds : float
        Wall time.

    Examples
    --------
    >>> estimate = Estimate(2.0, 0.5, products=30, method="xtrace", operator="hessian", n=100, samples=15)
    >>> [round(limit, 2) for limit in estimate.interval(0.95)]
    [0.93, 3.07]
    """

    value: float
    stderr: float
    products: int
    method: str
    operator: str
    n: int
    samples: int = 0
    seconds: float = 0.0

    def __float__(self) -> float:
        return self.value

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval: Student's for the number of samples."""
        from scipy.special import ndtri, stdtrit

        if not 0 < level < 1:
            raise InputError(f"level must lie between 0 and 1, such as 0.95, not {level}")
        upper = 0.5 + level / 2
        quantile = stdtrit(self.samples - 1, upper) if self.samples > 1 else ndtri(upper)
        width = float(quantile) * self.stderr
        return self.value - width, self.value + width


@dataclass(frozen=True)
class DiagonalEstimate:
    """The diagonal of an operator.

    Attributes
    ----------
    values, stderr : (n,) float64
        In the order of theta, in units of the operator.
    products : int
    method : str
        "hutchinson", "xdiag" or "exact".
    operator : str
    seconds : float
    """

    values: Array
    stderr: Array
    products: int
    method: str
    operator: str
    seconds: float = 0.0

    @property
    def trace(self) -> float:
        """Sum of the values."""
        return float(np.sum(self.values))
