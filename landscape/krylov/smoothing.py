"""Less noise and finer steps for the part of a density that has not converged, from what is known about both.

A Gaussian probe shows a node that stands for c eigenvalues as n·ω, χ² distributed with c degrees of freedom. From the
converged outliers, where c = 1, to the peak of the density c grows: where Ritz values are sparser than eigenvalues,
they get sparser with depth (Kuijlaars, SIAM Review 48 (2006) 3). So single counts may borrow strength from their
neighbours. And where a node stands for several eigenvalues, these lie all over its cell, not in one place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landscape.krylov.quadrature import Quadrature, nearest

Array = NDArray[np.float64]

# Nodes: width of the window in which the logarithm of a count is taken as linear. Measured on exact spectra (n ≈ 2600)
# of nine trained networks: 2 and 3 differ by less than 5 %, 1 smooths too little, 5 blurs the edge of the peak.
WINDOW = 2.0
# Counts above this are known to √(2/60) = 18 % by themselves.
PRECISE = 60.0
# A block of counts that is more uneven than its noise, with this probability, has another shape than assumed.
SIGNIFICANCE = 0.02
# Below this mean the noise of a count is too far from normal for that test.
TESTABLE = 4.0
# A node between two clusters has next to no weight: χ² with one degree of freedom is below this in 0.08 % of the cases.
EMPTY = 1e-6
# Between clusters that no node lies between, the gap is so many times those beside it.
APART = 5.0
# A heavier node is a peak at one place: zero, for a Hessian.
PEAK = 0.1
# A node with a smaller residual, in units of the distance to its neighbours, is one place, however many eigenvalues.
ONE_PLACE = 0.05
# How far into the gap on one side, in units of the gap on the other.
REACH = 1.0
# Into how many places the mass of a node is spread at the most, and from how many eigenvalues on.
PLACES = 6
SEVERAL = 1.5


def smooth_counts(nodes: Array, counts: Array, resolved: NDArray[np.bool_]) -> Array:
    """Counts of eigenvalues per node with less noise, their sum unchanged.

    In each cluster of nodes, on each side of its heaviest node, the counts of nodes that are not resolved are made
    monotone towards it (isotonic regression: means of neighbours that are out of order), and small ones are smoothed by
    a local log-linear fit. A side stays as it is where that contradicts the data by more than their noise.

    Parameters
    ----------
    nodes : (m,) float64
        Ascending.
    counts : (m,) float64
        n times the weights.
    resolved : (m,) bool

    Returns
    -------
    (m,) float64
    """
    result = counts.copy()
    for cluster in _clusters(nodes, counts, np.flatnonzero(~resolved)):
        if len(cluster) < 3:
            continue
        y = counts[cluster]
        peak = int(np.argmax(y))
        z = y.copy()
        z[:peak] = _rising(y[:peak])
        z[peak + 1 :] = _rising(y[peak + 1 :][::-1])[::-1]
        # No node stands for less than one eigenvalue; the peak pays for what that adds.
        z[peak] += y.sum() - z.sum()
        if z[peak] >= 0.5 * y[peak]:
            result[cluster] = z
    return result


def _clusters(nodes: Array, counts: Array, free: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices of free nodes in groups between which there are no eigenvalues."""
    empty = counts[free] < EMPTY
    gaps = np.diff(nodes[free])
    before, after = np.insert(gaps, 0, 0.0)[:-1], np.append(gaps, 0.0)[1:]
    apart = gaps > APART * np.maximum(before, after)
    ends = np.flatnonzero(apart | empty[1:] | empty[:-1]) + 1
    return [part for part in np.split(free, ends) if not (counts[part] < EMPTY).any()]


def spread_out(
    rule: Quadrature, counts: Array, resolved: NDArray[np.bool_], n: int
) -> tuple[Quadrature, NDArray[np.int64]]:
    """Put the mass of each coarse node on several places in its cell.

    At a node of a Gauss rule half of its weight lies to the left; a monotone cubic through these points of the
    distribution (Fritsch, Carlson, SIAM J. Numer. Anal. 17 (1980) 238) says where in the cell the rest is.

    Parameters
    ----------
    rule : Quadrature
    counts : (m,) float64
        Eigenvalues that each node stands for.
    resolved : (m,) bool
    n : int
        Number of eigenvalues.

    Returns
    -------
    Quadrature
        With at least as many nodes.
    (m',) int64
        Which of the given nodes each one comes from.
    """
    from scipy.interpolate import PchipInterpolator

    m = len(rule.nodes)
    one_place = (
        resolved | (counts > PEAK * n) | (counts <= SEVERAL) | (rule.residuals < ONE_PLACE * nearest(rule.nodes))
    )
    one_place[[0, -1]] = True
    if one_place.all():
        return Quadrature(rule.nodes, counts / counts.sum(), rule.residuals), np.arange(m)
    places = np.where(one_place, 1, np.minimum(PLACES, np.ceil(counts - 0.25))).astype(int)
    owner = np.repeat(np.arange(m), places)
    middle = np.cumsum(counts) - counts / 2
    position = np.concatenate([(np.arange(count) + 0.5) / count - 0.5 for count in places])
    # Nodes without any weight to speak of do not move the distribution on.
    knots = np.append(True, np.diff(middle) > np.finfo(float).eps * middle[-1])
    inverse = PchipInterpolator(middle[knots], rule.nodes[knots])
    nodes = inverse(np.clip(middle[owner] + counts[owner] * position, middle[0], middle[-1]))
    gaps = np.diff(rule.nodes)
    left, right = np.insert(gaps, 0, 0.0), np.append(gaps, 0.0)
    # Half-way to a neighbour, but not far into an empty interval, such as the one between the bulk and an outlier.
    low, high = rule.nodes - np.minimum(left / 2, REACH * right), rule.nodes + np.minimum(right / 2, REACH * left)
    nodes = np.where(one_place[owner], rule.nodes[owner], np.clip(nodes, low[owner], high[owner]))
    weights = counts[owner] / places[owner]
    return Quadrature(nodes, weights / weights.sum(), rule.residuals[owner]), owner


def _rising(y: Array) -> Array:
    """Counts from a tail to the peak, made monotone and smooth; unchanged if their unevenness is no noise."""
    from scipy.optimize import isotonic_regression
    from scipy.special import chdtrc

    if len(y) < 2:
        return y
    fit = isotonic_regression(y)
    for start, stop in zip(fit.blocks[:-1], fit.blocks[1:], strict=True):
        level, length = fit.x[start], stop - start
        dispersion = float(np.sum((y[start:stop] - level) ** 2) / (2 * level)) if level > 0 else 0.0
        if level > TESTABLE and chdtrc(length - 1 or 1, dispersion) < SIGNIFICANCE:
            return y
    rising = np.maximum(fit.x, 1.0)
    if len(y) > 3:
        rising = np.where(rising > PRECISE, rising, local_level(rising))
    return np.asarray(np.maximum(rising * (y.sum() / rising.sum()), 1.0))


def local_level(counts: Array) -> Array:
    """Local log-linear fit of positive counts, each with the same relative weight, ``(m,)``, by Newton's method."""
    distance = np.subtract.outer(np.arange(len(counts)), np.arange(len(counts))).T.astype(float)
    window = np.exp(-0.5 * (distance / WINDOW) ** 2)
    window[window < 1e-3] = 0
    level, slope = np.log(window @ counts / window.sum(1)), np.zeros(len(counts))
    for _ in range(30):
        mean = np.exp(np.clip(level[:, None] + slope[:, None] * distance, -5, 30))
        excess = window * (counts / mean - 1)
        gradient = excess.sum(1), (excess * distance).sum(1)
        # The Hessian of the expected score is that of the window itself.
        a, b, c = window.sum(1), (window * distance).sum(1), (window * distance**2).sum(1)
        determinant = a * c - b * b
        steps = (c * gradient[0] - b * gradient[1]) / determinant, (a * gradient[1] - b * gradient[0]) / determinant
        level, slope = level + np.clip(steps[0], -1, 1), slope + np.clip(steps[1], -1, 1)
        if max(np.abs(steps[0]).max(), np.abs(steps[1]).max()) < 1e-6:
            break
    return np.maximum(np.exp(level), 1.0)
