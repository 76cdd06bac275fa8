"""How far a density can be from the true one, predicted from the run itself."""

from __future__ import annotations

from functools import cached_property
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from landscape.records.polynomials import polynomials
from landscape.records.record import Array, Record

# The level of the predicted error, and how many other start vectors are simulated for it.
ERROR_LEVEL = 0.9
SIMULATIONS = 200
# A simulated node stands for at least this many eigenvalues: less has no meaning, and 0 no Gamma distribution.
LEAST_COUNT = 0.5
# Of the width of a peak that is error. Measured on nine trained networks with 16 seeds and 20, 40, 90, 150 products, so
# that 90 % of the runs stay below the predicted error.
PLACE_FACTOR = 0.7


class ErrorModel(Record):
    """The predicted error of a :class:`SpectralDensity`, which has these attributes."""

    nodes: Array
    weights: Array
    n: int
    resolved: NDArray[np.bool_]
    residuals: Array
    probe: NDArray[np.int64]
    cell: NDArray[np.int64]
    companion_nodes: Array
    companion_weights: Array
    complement_probes: int
    complement_degree: int
    noise_floor: float

    @property
    def probes(self) -> int:
        """Number of random start vectors."""
        return len(np.unique(self.probe))

    @property
    def spread(self) -> float:
        """``mean |λ - median λ|``, the unit of :attr:`error`."""
        return float(self.weights @ np.abs(self.nodes - weighted_median(self.nodes, self.weights)))

    def predicted_error(self) -> float:
        """Wasserstein-1 distance to the true density, in units of :attr:`spread`, that nine runs in ten stay below.

        The parts of :meth:`error_parts`, the first two added in quadrature, plus the third.
        """
        parts = self.error_parts()
        return float(np.hypot(parts["probe"], parts["quadrature"]) + parts["rounding"])

    def error_parts(self) -> dict[str, float]:
        """Where the predicted error comes from, in units of :attr:`spread`.

        ``"probe"``: the random start vector, whose weights are Dirichlet distributed around the shares of the
        eigenvalues; the nine tenths quantile of the distance of simulated weights. ``"quadrature"``: too few nodes;
        the distance to the companion rule, and how far the mass that is kept at one place can lie from it.
        ``"rounding"``: the noise floor.
        """
        spread = self.spread
        if spread == 0:
            # One node: all eigenvalues are equal, or nothing is known yet.
            known = bool(np.all(self.residuals <= 4 * self.noise_floor))
            return {"probe": 0.0, "quadrature": 0.0 if known else 1.0, "rounding": 0.0}
        quadrature = PLACE_FACTOR * self._width_of_places()
        if len(self.companion_nodes):
            companion = distance(self.nodes, self.weights, self.companion_nodes, self.companion_weights)
            quadrature = float(np.hypot(quadrature, companion))
        probe = float(np.quantile(self._simulated_distances(), ERROR_LEVEL))
        parts = {"probe": probe, "quadrature": quadrature, "rounding": self.noise_floor}
        return {name: part / spread for name, part in parts.items()}

    def _width_of_places(self) -> float:
        """Mass times possible distance of cells that are kept at one place though not converged, in units of λ.

        The peak of the density, above all: a node cannot tell many eigenvalues in one place from ones around it. They
        lie within a quarter of the gaps to both neighbours on average, and within the residual, and the smaller that
        is against the gaps, the more of them are at the node.
        """
        total = 0.0
        for probe in np.unique(self.probe):
            mine = np.flatnonzero(~self.resolved & (self.probe == probe))
            if len(mine) < 2:
                continue
            cells, counts = np.unique(self.cell[mine], return_counts=True)
            alone = mine[np.isin(self.cell[mine], cells[counts == 1])]
            nodes, _ = self._cells(np.flatnonzero(self.probe == probe))
            gaps = np.concatenate([[0.0], np.diff(nodes), [0.0]])
            where = np.clip(np.searchsorted(nodes, self.nodes[alone]), 0, len(nodes) - 1)
            left, right = gaps[where], gaps[where + 1]
            nearest = np.minimum(np.where(left > 0, left, np.inf), np.where(right > 0, right, np.inf))
            residuals = np.nan_to_num(self.residuals[alone])
            width = np.minimum(residuals, (left + right) / 4) * np.minimum(1.0, residuals / nearest)
            total += float(np.sum((self.weights[alone] * width) ** 2))
        return sqrt(total)

    def _simulated_distances(self) -> Array:
        """W1 between these weights and ones that other start vectors would have given, ``(SIMULATIONS,)``."""
        mass, _ = self._bulk()
        bulk = np.flatnonzero(~self.resolved)
        if mass <= 0 or len(bulk) < 2:
            return np.zeros(1)
        bulk = bulk[np.argsort(self.nodes[bulk], kind="stable")]
        nodes, share = self.nodes[bulk], self.weights[bulk] / mass
        # The weight of c eigenvalues in one Gaussian vector is χ² with c degrees of freedom, Gamma with shape c/2.
        shape = np.maximum(self.n * self.weights[bulk] * self.probes, LEAST_COUNT) / 2
        weights = np.random.default_rng(0).gamma(shape, size=(SIMULATIONS, len(bulk)))
        weights /= np.maximum(weights.sum(1, keepdims=True), np.finfo(float).tiny)
        weights -= share
        if self.complement_probes:
            # Of what the known functions see of the noise of one vector, the mean over all vectors is left: other
            # simulations are the other vectors.
            functions = self._matched[:, bulk]
            seen = weights @ functions.T
            others = sum(np.roll(seen, shift, 0) for shift in range(self.complement_probes + 1))
            weights += (others / (self.complement_probes + 1) - seen) @ (functions * share)
        deviation = np.abs(np.cumsum(weights, 1))[:, :-1]
        return mass * (deviation @ np.diff(nodes))

    def _bulk(self) -> tuple[float, int]:
        """Mass and number of the eigenvalues that are not resolved."""
        resolved = int(self.resolved.sum())
        if resolved >= self.n:
            return 0.0, 0
        return float(self.weights[~self.resolved].sum()), max(self.n - resolved, 1)

    @cached_property
    def _matched(self) -> Array:
        """The polynomials without the constant, orthonormal in the weights of the unresolved nodes, ``(d, m)``."""
        if not self.complement_probes:
            return np.zeros((0, len(self.nodes)))
        return polynomials(self.nodes, np.where(self.resolved, 0.0, self.weights), self.complement_degree)[1:]

    def _cells(self, mine: NDArray[np.int64]) -> tuple[Array, Array]:
        """Nodes and weights of the Gauss rule that these nodes, ascending, were spread from."""
        _, first, owner = np.unique(self.cell[mine], return_index=True, return_inverse=True)
        weights = np.bincount(owner, self.weights[mine])
        nodes = np.bincount(owner, self.weights[mine] * self.nodes[mine]) / np.where(weights > 0, weights, 1)
        nodes = np.asarray(np.where(weights > 0, nodes, self.nodes[mine][first]), float)
        order = np.argsort(nodes, kind="stable")
        return nodes[order], np.asarray(weights, float)[order]


def distance(nodes: Array, weights: Array, other_nodes: Array, other_weights: Array) -> float:
    """Wasserstein-1 distance of two discrete measures of the same mass, in units of the nodes."""
    where = np.concatenate([nodes, other_nodes])
    order = np.argsort(where, kind="stable")
    difference = np.cumsum(np.concatenate([weights, -other_weights])[order])[:-1]
    return float(np.abs(difference) @ np.diff(where[order]))


def weighted_median(nodes: Array, weights: Array) -> float:
    """Smallest node at which half of the weight is reached.

    Parameters
    ----------
    nodes, weights : (m,) float64

    Returns
    -------
    float, in units of the nodes
    """
    order = np.argsort(nodes, kind="stable")
    total = np.cumsum(weights[order])
    return float(nodes[order][min(int(np.searchsorted(total, 0.5 * total[-1])), len(nodes) - 1)])
