"""Approximate eigenpairs in a basis: their order, and which of them a restart keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Fewest products (or blocks of them) between two restarts, where the basis allows; measured best on trained networks.
LEAST_ROOM = 5

WHICH = ("largest", "smallest", "magnitude", "both")
# The largest and the one smallest: one run finds them with hardly more products than it takes for the smallest alone.
OUTERMOST = "outermost"


@dataclass(frozen=True)
class RitzPairs:
    """Approximate eigenpairs in a basis Q, the most wanted first.

    Attributes
    ----------
    values : (m,) float64
    coefficients : (m, m) float64
        Orthonormal; ``Q @ coefficients[:, i]`` is the vector of ``values[i]``.
    residuals : (m,) float64
        ``‖Av - λv‖`` as it follows from the products that were computed, exact to the rounding of one product; with the
        error of the last :meth:`RestartedLanczos.check`.
    limits : (m,) float64
        Largest residual allowed: ``tol`` times ``|λ|``, or times a thousandth of the largest ``|λ|`` if that is more, λ
        without the known shift.
    bounds : (m,) float64
        The part of the residuals that more products can remove; the rest is rounding.
    active : (m,) bool
        False for pairs of an invariant subspace that was found and put aside.
    """

    values: Array
    coefficients: Array
    residuals: Array
    limits: Array
    bounds: Array
    active: NDArray[np.bool_]


def by_interest(values: Array, which: str) -> NDArray[np.intp]:
    """Order of eigenvalues by how much they are wanted.

    Parameters
    ----------
    values : (m,) array
    which : "largest", "smallest", "magnitude", "both" or "outermost"
        ``"both"`` takes the largest, the smallest, the second largest and so on; ``"outermost"`` the largest, the
        smallest, and then the other largest.

    Returns
    -------
    (m,) indices

    Examples
    --------
    >>> by_interest(np.array([3.0, -4.0, 1.0, 2.0]), "both").tolist()
    [0, 1, 3, 2]
    """
    ascending = np.argsort(values, kind="stable")
    if which == "smallest":
        return ascending
    descending = np.argsort(-values, kind="stable")
    if which == "largest":
        return descending
    if which == "magnitude":
        return np.argsort(-np.abs(values), kind="stable")
    if which == OUTERMOST:
        return np.concatenate([descending[:1], descending[1:][-1:], descending[1:-1]])
    order = np.empty_like(ascending)
    high = -(-len(values) // 2)
    # Both halves of one order, so that equal values are not taken twice.
    order[0::2], order[1::2] = descending[:high], descending[::-1][: len(values) - high]
    return order


def kept_at_restart(values: Array, found: NDArray[np.bool_], low: int, high: int, block: int = 1) -> tuple[int, int]:
    """How many Ritz vectors to keep at both ends of the spectrum.

    What is kept does not slow down what is sought: the convergence of the outermost wanted pair that is not yet found
    is about ``exp(-2 p √γ)`` in the p products up to the next restart, with γ its distance from the values that are not
    kept, in units of their width. The choice maximizes ``p √γ`` (Yamazaki, Bai, Simon, Wang, Wu, ACM Trans. Math.
    Softw. 37 (2010) 27). Outliers at the unwanted end are thus kept rather than suppressed again in every cycle:
    measured on trained networks, half of the products that ARPACK spends on the smallest eigenvalues.

    Parameters
    ----------
    values : (m,) float64
        Ritz values, ascending.
    found : (m,) bool
        Those that have converged.
    low, high : int
        How many are wanted at the low and at the high end; ``low + high < m``.
    block : int
        Vectors that are multiplied together; p is counted in blocks.

    Returns
    -------
    low, high : int
        At least as many.

    Examples
    --------
    >>> kept_at_restart(np.array([0, 0.1, 0.3, 0.4, 0.6, 0.7, 0.8, 5, 9]), np.zeros(9, bool), 1, 0)
    (2, 2)
    """
    total = len(values)
    room = max(1, min(total - low - high, max(LEAST_ROOM * block, (total - low - high) // 4)))
    lows, highs = np.meshgrid(np.arange(low, total), np.arange(high, total), indexing="ij")
    fits = lows + highs <= total - room
    lows, highs = lows[fits], highs[fits]
    bottom, top = values[lows], values[total - 1 - highs]
    width = np.maximum(top - bottom, np.finfo(float).tiny)
    gap = np.full(len(lows), np.inf)
    below, above = np.flatnonzero(~found[:low]), np.flatnonzero(~found[total - high :])
    if len(below):
        gap = np.minimum(gap, (bottom - values[below[0]]) / width)
    if len(above):
        gap = np.minimum(gap, (values[total - high + above[-1]] - top) / width)
    if not np.isfinite(gap).all():
        gap = np.ones(len(lows))
    best = int(np.argmax((total - lows - highs) * np.sqrt(np.maximum(gap, 0))))
    return int(lows[best]), int(highs[best])
