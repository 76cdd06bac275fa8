"""From one eigenvalue density to the next: every eigenvalue moves straight to the one of the same rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from landscape.records import SpectralDensity

Array = NDArray[np.float64]
LEAST = 1e-12  # of the mass: less is rounding of cumulative sums
REACH = 6.0  # sigmas beyond which a kernel is nothing


class Morph:
    """Two densities and what lies between them.

    In between, quantiles are averaged: the optimal transport of one density into the other. An eigenvalue that both
    hold as their third largest moves as such, and is not faded out here and in there.

    Parameters
    ----------
    first, second : SpectralDensity

    Examples
    --------
    >>> import numpy as np
    >>> from landscape.records import SpectralDensity
    >>> one, two = (SpectralDensity(np.array([0.0, end]), np.array([0.5, 0.5]), n=2) for end in (1.0, 3.0))
    >>> nodes, weights = Morph(one, two).at(0.5)
    >>> nodes.tolist(), weights.tolist()
    ([0.0, 2.0], [0.5, 0.5])
    """

    def __init__(self, first: SpectralDensity, second: SpectralDensity) -> None:
        parts = [_sorted(first), _sorted(second)]
        ends = [np.cumsum(weights) / weights.sum() for _, weights in parts]
        levels = np.unique(np.concatenate([[0.0], *ends]))
        masses = np.diff(levels)
        middles = ((levels[1:] + levels[:-1]) / 2)[masses > LEAST]
        self.weights = masses[masses > LEAST] / masses[masses > LEAST].sum()
        self.start, self.end = (
            nodes[np.minimum(np.searchsorted(end, middles), len(nodes) - 1)]
            for (nodes, _), end in zip(parts, ends, strict=True)
        )
        self._above = [_resolved(one, above=True) for one in (first, second)]
        self._below = [_resolved(one, above=False) for one in (first, second)]

    def at(self, part: float) -> tuple[Array, Array]:
        """Nodes and weights at a part of the way, 0 to 1."""
        return (1 - part) * self.start + part * self.end, self.weights

    def resolved(self, part: float) -> Array:
        """Resolved eigenvalues, ascending: those that both ends have, counted from the outside; at an end all."""
        found = []
        for first, second in (self._above, self._below):
            both = min(len(first), len(second))
            rest = first[both:] if part <= 0 else second[both:] if part >= 1 else np.zeros(0)
            found += [(1 - part) * first[:both] + part * second[:both], rest]
        return np.sort(np.concatenate(found))


def smoothed(nodes: Array, weights: Array, x: Array, sigma: float) -> Array:
    """Sum of Gaussians of width sigma around nodes, at x, an even grid.

    Parameters
    ----------
    nodes, weights : (m,) float64
    x : (p,) float64
        Ascending, evenly spaced.
    sigma : float

    Returns
    -------
    (p,) float64
    """
    spacing = float(x[1] - x[0])
    reach = int(np.ceil(REACH * sigma / spacing)) + 1
    if 2 * reach + 1 >= len(x):
        kernel = np.exp(-0.5 * ((x[:, None] - nodes) / sigma) ** 2)
        return np.asarray(kernel @ weights / (sigma * np.sqrt(2 * np.pi)))
    middles = np.rint((nodes - x[0]) / spacing).astype(int)
    places = middles[:, None] + np.arange(-reach, reach + 1)
    bumps = np.exp(-0.5 * ((x[0] + spacing * places - nodes[:, None]) / sigma) ** 2) * weights[:, None]
    inside = (places >= 0) & (places < len(x))
    found = np.bincount(places[inside], bumps[inside], minlength=len(x))
    return np.asarray(found / (sigma * np.sqrt(2 * np.pi)))


def _sorted(density: SpectralDensity) -> tuple[Array, Array]:
    order = np.argsort(density.nodes, kind="stable")
    return density.nodes[order], density.weights[order]


def _resolved(density: SpectralDensity, above: bool) -> Array:
    """The resolved eigenvalues on one side of zero, from the outside in."""
    values = density.eigenvalues
    return values[values > 0][::-1] if above else values[values <= 0]
