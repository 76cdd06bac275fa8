"""How much of a random walk its principal components explain: what a plot of a run has to be compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landscape.errors import InputError

Array = NDArray[np.float64]


def random_walk_shares(steps: Sequence[ArrayLike]) -> Array:
    """Share of the variance along each principal component if the runs were random walks in high dimension.

    Increments of such a walk are orthogonal to each other, so that two of its points have the inner product
    ``min(step_i, step_j)``, and points of different walks from the same start have 0: the components follow from the
    steps alone. A long walk tends to 6/(π k)², that is 0.61, 0.15, 0.07 … (Antognini, Sohl-Dickstein, NeurIPS 2018,
    section 2.2).

    Parameters
    ----------
    steps : sequence of (t,) arrays
        Optimizer steps of the checkpoints, one array per run; all runs begin at the same point.

    Returns
    -------
    (T,) float64, descending, with the sum 1

    Raises
    ------
    InputError
        If there are not two different steps.

    Examples
    --------
    >>> random_walk_shares([range(200)])[:2].round(2).tolist()
    [0.61, 0.15]
    """
    elapsed = [times - times.min(initial=np.inf) for times in (np.asarray(one, float) for one in steps)]
    total = sum(len(one) for one in elapsed)
    gram = np.zeros((total, total))
    start = 0
    for one in elapsed:
        stop = start + len(one)
        gram[start:stop, start:stop] = np.minimum.outer(one, one)
        start = stop
    if not gram.any():
        raise InputError("a random walk needs at least two different steps")
    values = np.linalg.eigvalsh(centred(gram))[::-1].clip(min=0)
    return values / values.sum()


def centred(gram: Array) -> Array:
    """Return the inner products of points relative to their mean, (T, T)."""
    rows = gram.mean(0)
    result: Array = gram - rows - rows[:, None] + rows.mean()
    return result
