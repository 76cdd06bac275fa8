"""The eigenvalue axis of maps of densities: where they are evaluated, where cells end, and its ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from landscape.render.numerals import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
SCALES = ("linear", "symlog")


def positions(low: float, high: float, sigma: float, scale: str, count: int) -> Array:
    """Where densities are evaluated, ascending, even on the scale of the axis.

    Parameters
    ----------
    low, high : float
        The smallest and the largest eigenvalue; the axis reaches a little farther.
    sigma : float
        Kernel width, and half the width of what is linear on a symmetric logarithmic scale.
    scale : str
        "linear" or "symlog".
    count : int

    Returns
    -------
    (count,) float64
    """
    margin = max(4 * sigma, 0.02 * (high - low))
    low, high = low - margin, high + margin
    if scale == "linear":
        return np.linspace(low, high, count)
    return np.sinh(np.linspace(np.arcsinh(low / sigma), np.arcsinh(high / sigma), count)) * sigma


def cell_edges(places: ArrayLike, sigma: float = 1.0, scale: str = "linear") -> Array:
    """Half-way between neighbours on the scale of the axis, and as far beyond the ends.

    Examples
    --------
    >>> cell_edges([0, 1, 3]).tolist(), cell_edges([5]).tolist()
    ([-0.5, 0.5, 2.0, 4.0], [4.5, 5.5])
    """
    places = np.asarray(places, float)
    if scale != "linear":
        return np.asarray(np.sinh(cell_edges(np.arcsinh(places / sigma))) * sigma)
    if len(places) == 1:
        return places[0] + np.array([-0.5, 0.5])
    middle = (places[1:] + places[:-1]) / 2
    return np.concatenate([[2 * places[0] - middle[0]], middle, [2 * places[-1] - middle[-1]]])


def symmetric_ticks(low: float, high: float, sigma: float) -> tuple[Array, Array]:
    """Powers of ten of both signs from sigma on, with zero; and what lies between them.

    Examples
    --------
    >>> symmetric_ticks(-0.5, 20, 0.05)[0].tolist()
    [-0.1, 0.0, 0.1, 1.0, 10.0]
    """
    farthest = max(abs(low), abs(high))
    decades = 10.0 ** np.arange(np.ceil(np.log10(sigma)), np.log10(farthest) + 1)
    between = np.outer(10.0 ** np.arange(np.floor(np.log10(sigma)), np.log10(farthest) + 1), np.arange(2, 10)).ravel()
    between = between[between > sigma]
    major = np.concatenate([-decades[::-1], [0.0], decades])
    minor = np.concatenate([-between[::-1], between])
    return tuple(ticks[(ticks >= low) & (ticks <= high)] for ticks in (major, minor))  # type: ignore[return-value]


def eigenvalue_axis(axes: Axes, which: str, limits: tuple[float, float], sigma: float, scale: str) -> None:
    """Give an axis the scale, limits and ticks of eigenvalues.

    Parameters
    ----------
    axes : Axes
    which : str
        "x" or "y".
    limits : (float, float)
    sigma : float
    scale : str
        "linear" or "symlog".
    """
    axis: Any = getattr(axes, f"{which}axis")
    if scale == "symlog":
        # asinh: as symlog, but without the kink where the two halves meet
        getattr(axes, f"set_{which}scale")("asinh", linear_width=sigma)
        major, minor = symmetric_ticks(*limits, sigma)
        axis.set_major_locator(FixedLocator(major.tolist()))
        axis.set_minor_locator(FixedLocator(minor.tolist()))
    else:
        axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 3)))
    axis.set_minor_formatter(NullFormatter())
    getattr(axes, f"set_{which}lim")(*limits)
