"""Gauss quadrature from the tridiagonal matrix of a Lanczos run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Quadrature:
    """Nodes and weights of the spectral measure of a start vector.

    Attributes
    ----------
    nodes : (m,) float64
        Ritz values, ascending.
    weights : (m,) float64
        Squared first components of the eigenvectors of T; they sum to 1.
    residuals : (m,) float64
        ``‖A y - θ y‖`` of the Ritz pairs: the last residual norm times the last components.
    """

    nodes: Array
    weights: Array
    residuals: Array


def gauss_vectors(alpha: Array, beta: Array) -> tuple[Quadrature, Array]:
    """The rule of :func:`gauss`, and the Ritz vectors of its nodes in the basis of the run, ``(m, m)``."""
    from scipy.linalg import eigh_tridiagonal

    nodes, vectors = eigh_tridiagonal(alpha, beta[:-1])
    weights = vectors[0] ** 2
    return Quadrature(nodes, weights / weights.sum(), beta[-1] * np.abs(vectors[-1])), vectors


def gauss(alpha: Array, beta: Array) -> Quadrature:
    """Gauss rule of a Lanczos run (Golub and Welsch, Math. Comp. 23 (1969) 221).

    Parameters
    ----------
    alpha : (m,) array
        Diagonal of T.
    beta : (m,) array
        Residual norms; the last one is not part of T.

    Returns
    -------
    Quadrature
    """
    return gauss_vectors(alpha, beta)[0]


def anti_gauss(alpha: Array, beta: Array) -> Quadrature:
    """The rule whose error is about that of the Gauss rule of one step less, with the opposite sign.

    The last off-diagonal element of T is multiplied by √2 (Laurie, Math. Comp. 65 (1996) 739). With fewer than two
    steps it is the Gauss rule itself.
    """
    if len(alpha) < 2:
        return gauss(alpha, beta)
    widened = beta.copy()
    widened[-2] *= np.sqrt(2)
    return gauss(alpha, widened)


def nearest(nodes: Array) -> Array:
    """Distance of each node to its nearest neighbour, ``(m,)``; infinite for a single one."""
    gaps = np.diff(nodes)
    return np.asarray(np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf)))
