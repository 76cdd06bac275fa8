"""What the moments of short runs add to the counts of a long one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from landscape.krylov import Quadrature
from landscape.krylov.quadrature import nearest
from landscape.records.polynomials import polynomials

Array = NDArray[np.float64]

# One count changes by this factor at the most: where moments ask for more, it is their noise that asks.
MOST_CHANGE = 4.0
# A node with a smaller residual, in units of the distance to its neighbours, is at an eigenvalue.
SEEN = 0.5


def match_moments(
    rule: Quadrature,
    counts: Array,
    smooth: Array,
    resolved: NDArray[np.bool_],
    others: Sequence[Quadrature],
    degree: int,
) -> Array:
    """Counts of eigenvalues per node whose first moments are the mean of several start vectors'.

    The smooth counts of nodes that are not resolved change by a common polynomial factor: the least change in the norm
    that the noise of counts has.

    Parameters
    ----------
    rule : Quadrature
        Of the long run.
    counts : (m,) float64
        Of its nodes.
    smooth : (m,) float64
        The same with less noise.
    resolved : (m,) bool
    others : sequence of Quadrature
        Of the short runs, in the complement of the resolved nodes.
    degree : int
        How many moments they know: twice their products less one.

    Returns
    -------
    (m,) float64, with the same sum over the nodes that are not resolved.
    """
    free = ~resolved
    # Where there is an eigenvalue, whatever its weight in one vector, there must be something to change.
    seen = rule.residuals < SEEN * nearest(rule.nodes)
    share = np.where(seen, np.maximum(smooth, 1.0), smooth)[free]
    share /= share.sum()
    mass, x = counts[free].sum(), rule.nodes[free]
    everywhere = np.concatenate([x, x, *(other.nodes for other in others)])
    parts = [share, counts[free] / mass, *(other.weights for other in others)]
    # Orthonormal in the mean of all, so that none grows outside the nodes of one run.
    basis = polynomials(everywhere, np.concatenate(parts) / len(parts), min(degree, len(x) - 2))
    here = basis[:, : len(x)]
    wanted = basis[:, len(x) :] @ np.concatenate(parts[1:]) / len(parts[1:]) - here @ share
    wanted[0] = 0.0
    factor = 1 + np.linalg.lstsq((here * share) @ here.T, wanted, rcond=1e-10)[0] @ here
    changed = share * np.clip(factor, 1 / MOST_CHANGE, MOST_CHANGE)
    result = smooth.copy()
    result[free] = mass * changed / changed.sum()
    return result
