"""Where a logarithmic scale is right: what is computed for a picture, and all pictures, must agree on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A loss whose largest value is so many times the smallest is drawn on a logarithmic scale.
LOGARITHMIC_RANGE = 20


def is_logarithmic(values: NDArray[np.float64]) -> bool:
    """Whether a loss on a grid is drawn on a logarithmic scale.

    Parameters
    ----------
    values : array
        Only the finite ones count. A few zeros (a saturated loss) lie below the scale; where most are zero there is
        nothing to stretch.

    Examples
    --------
    >>> is_logarithmic(np.array([0.1, 3.0])), is_logarithmic(np.array([-0.1, 3.0]))
    (True, False)
    """
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    if (finite < 0).any() or len(positive) <= len(finite) / 2:
        return False
    return bool(positive.max() > LOGARITHMIC_RANGE * positive.min())


def is_spread(values: ArrayLike, factor: float) -> bool:
    """Whether values of a curve are positive and the largest is more than so many times the smallest.

    Parameters
    ----------
    values : array
        Only the finite ones count.
    factor : float

    Examples
    --------
    >>> is_spread([1.0, 6.0, np.nan], 5), is_spread([0.0, 6.0], 5)
    (True, False)
    """
    found = np.asarray(values, float)
    finite = found[np.isfinite(found)]
    return bool(len(finite) and finite.min() > 0 and finite.max() > factor * finite.min())
