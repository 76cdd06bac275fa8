"""Which nodes of one long Lanczos run are converged eigenvalues, and the exact weights that they then carry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape.krylov.quadrature import Quadrature, gauss, gauss_vectors, nearest

Array = NDArray[np.float64]

# The four bounds were measured on exact spectra of trained networks (n ≈ 2500).
RESIDUAL = 1e-2  # of the distance from the median
GAP = 0.1  # of the distance to the nearest node: beyond, an eigenvalue between the two may still be missing
HEAVIEST = 20.0  # n·ω of a simple eigenvalue is χ² with one degree of freedom: 20 has probability 8e-6
NEAREST = 2.5e-3  # of the largest distance from the median
LEAST_BULK = 1e-3  # below this unresolved mass there is nothing to carry the rest
# Probability, under the hypothesis that every resolved eigenvalue is simple, below which it is given up.
SIGNIFICANCE = 1e-4


@dataclass(frozen=True)
class Deflation:
    """Weights of the nodes after the resolved ones got theirs.

    Attributes
    ----------
    weights : (m,) float64
        1/n for resolved nodes, the rest in proportion to the quadrature; they sum to 1.
    resolved : (m,) bool
    """

    weights: Array
    resolved: NDArray[np.bool_]


def deflate(rule: Quadrature, n: int, exhausted: bool = False) -> Deflation:
    """Give every converged eigenvalue its exact weight 1/n.

    The weight of an eigenvalue in the measure of one Gaussian start vector fluctuates by 100 %, its position does not:
    the few large eigenvalues, once converged, are better counted than weighed. A node counts as resolved if its
    residual is small against its distance from the median c of the measure and against the gap to its neighbours, its
    weight is that of a simple eigenvalue, and it is not in the bulk. Distances are taken from c, so that a shift of the
    whole spectrum (weight decay) changes nothing.

    The quadrature's own weights are kept where counting would be wrong: nothing is left to carry the rest of the mass,
    or the weights of the resolved nodes are too large for simple eigenvalues (their n·ω sum to χ² with k degrees of
    freedom), as for multiple eigenvalues.

    Parameters
    ----------
    rule : Quadrature
    n : int
        Number of eigenvalues.
    exhausted : bool
        The run ended in an invariant subspace: every node is an eigenvalue, of unknown multiplicity unless there are n.

    Returns
    -------
    Deflation
    """
    nodes, weights = rule.nodes, rule.weights
    nothing = np.zeros(len(nodes), bool)
    if len(nodes) == n:
        return Deflation(np.full(n, 1 / n), ~nothing)
    resolved = acceptable(rule, n, exhausted)
    k = int(resolved.sum())
    rest = float(weights[~resolved].sum())
    if k == 0 or k >= n or rest < LEAST_BULK or not _simple(n * weights[resolved]):
        return Deflation(weights.copy(), nothing)
    return Deflation(np.where(resolved, 1 / n, weights * (1 - k / n) / rest), resolved)


def resolved_pairs(
    alpha: Array, beta: Array, n: int, exhausted: bool = False
) -> tuple[Quadrature, NDArray[np.int64], Array]:
    """The rule that a density is made of, which of its nodes are resolved, and the Ritz vectors of all.

    Parameters
    ----------
    alpha, beta : (m,) float64
        Of the run.
    n : int
        Number of eigenvalues.
    exhausted : bool
        The run ended in an invariant subspace.

    Returns
    -------
    Quadrature
    (k,) int64
    (m, nodes) float64
        In the basis of the run.
    """
    rule, vectors = gauss_vectors(*((alpha, beta) if exhausted else peaked(alpha, beta)))
    return rule, np.flatnonzero(deflate(rule, n, exhausted).resolved), vectors


def peaked(alpha: Array, beta: Array) -> tuple[Array, Array]:
    """The recurrence with or without its last step, whichever has the heavier node.

    Nodes of a nearly symmetric density straddle its peak in every second step and split its mass between two places
    far from it; with one step less a node sits on the peak.

    Parameters
    ----------
    alpha, beta : (m,) arrays

    Returns
    -------
    alpha, beta : (m,) or (m - 1,) arrays
    """
    if len(alpha) < 3:
        return alpha, beta
    whole, shorter = gauss(alpha, beta), gauss(alpha[:-1], beta[:-1])
    return (alpha[:-1], beta[:-1]) if shorter.weights.max() > whole.weights.max() else (alpha, beta)


def acceptable(rule: Quadrature, n: int, exhausted: bool = False) -> NDArray[np.bool_]:
    """Nodes that pass the four tests of :func:`deflate`, ``(m,)`` bool."""
    nodes, weights = rule.nodes, rule.weights
    light = n * weights <= HEAVIEST
    if exhausted:
        # Every node is an eigenvalue; only those that are too heavy to be simple may carry the rest of the mass.
        return np.asarray(light)
    cumulative = np.cumsum(weights)
    centre = nodes[min(int(np.searchsorted(cumulative, 0.5 * cumulative[-1])), len(nodes) - 1)]
    distance = np.abs(nodes - centre)
    return np.asarray(
        light
        & (rule.residuals < RESIDUAL * distance)
        & (rule.residuals < GAP * nearest(nodes))
        & (distance >= NEAREST * distance.max())
    )


def _simple(scaled: Array) -> bool:
    """Whether n·ω of all resolved nodes together are plausible for simple eigenvalues."""
    from scipy.special import chdtrc  # scipy.stats takes a second to import

    return bool(chdtrc(len(scaled), scaled.sum()) >= SIGNIFICANCE)
