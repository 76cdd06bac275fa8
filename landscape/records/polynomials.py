"""Polynomials that are orthonormal in the weights of a discrete measure."""

from __future__ import annotations

import numpy as np

from landscape.records.record import Array

# What is left of a power of the nodes after this relative loss is nothing but rounding.
NOTHING_NEW = 1e-12


def polynomials(nodes: Array, weights: Array, degree: int) -> Array:
    """Orthonormal polynomials from the constant on, by the Lanczos method on the diagonal of the nodes.

    Parameters
    ----------
    nodes, weights : (m,) float64
        The weights are not negative; zero ones are allowed, and there the polynomials count as zero.
    degree : int

    Returns
    -------
    (d, m) float64
        With d at most ``degree + 1`` and no more than the positive weights.

    Examples
    --------
    >>> polynomials(np.array([-1.0, 1.0]), np.array([0.5, 0.5]), 1).round(12).tolist()
    [[1.0, 1.0], [-1.0, 1.0]]
    """
    root = np.sqrt(weights / weights.sum())
    rows = [root]
    for _ in range(degree):
        fresh = nodes * rows[-1]
        size = np.linalg.norm(fresh)
        for _ in range(2):  # twice is enough
            fresh = fresh - np.array(rows).T @ (np.array(rows) @ fresh)
        if np.linalg.norm(fresh) <= NOTHING_NEW * size:
            break
        rows.append(fresh / np.linalg.norm(fresh))
    values = np.zeros((len(rows), len(nodes)))
    positive = root > 0
    values[:, positive] = np.array(rows)[:, positive] / root[positive]
    return values
