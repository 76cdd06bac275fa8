"""How much of a random walk its principal components explain: what a plot of a run has to be compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landscape.errors import InputError
from landscape.geometry.products import eigh

Array = NDArray[np.float64]


def random_walk_shares(lengths: Sequence[ArrayLike], starts: ArrayLike | None = None) -> Array:
    """Share of the variance along each principal component if the runs were random walks in high dimension.

    Increments of such a walk are orthogonal to each other, so that two of its points, relative to its start, have the
    inner product ``min(S_i, S_j)``, where ``S`` is the sum of the squared steps so far; points of different walks have
    0, and their starts are what they are. A long walk whose steps are equally long tends to 6/(π k)², that is 0.61,
    0.15, 0.07 … (Antognini, Sohl-Dickstein, NeurIPS 2018, section 2.2); one whose steps shrink, to more.

    Parameters
    ----------
    lengths : sequence of (t,) arrays
        Sum of the squared steps up to each checkpoint, ascending, one array per run, in any common unit.
    starts : (r, r) array, optional
        Inner products of the runs' first points, from any common origin, in the same unit; default: all at one point.

    Returns
    -------
    (T,) float64, descending, with the sum 1

    Raises
    ------
    InputError
        If nothing moves.

    Examples
    --------
    >>> random_walk_shares([range(200)])[:2].round(2).tolist()
    [0.61, 0.15]
    """
    elapsed = [sums - sums.min(initial=np.inf) for sums in (np.asarray(one, float) for one in lengths)]
    owner = np.repeat(np.arange(len(elapsed)), [len(one) for one in elapsed])
    gram = np.zeros((len(owner), len(owner))) if starts is None else np.asarray(starts, float)[np.ix_(owner, owner)]
    begin = 0
    for one in elapsed:
        stop = begin + len(one)
        gram[begin:stop, begin:stop] += np.minimum.outer(one, one)
        begin = stop
    if not gram.any():
        raise InputError("a random walk needs at least two different points")
    values = eigh(centred(gram))[0][::-1].clip(min=0)
    return values / values.sum()


def shares_of_such_walks(gram: Array, counts: Sequence[int]) -> Array:
    """Shares of random walks that start where some runs do and take steps of the same lengths; (T,) float64.

    Parameters
    ----------
    gram : (T, T) array
        Inner products of the checkpoints of all runs, one run after the other, from any common origin.
    counts : sequence of int
        Checkpoints of each run.
    """
    squares = gram.diagonal()
    steps = (squares[1:] + squares[:-1] - 2 * gram.diagonal(1)).clip(min=0)
    sums = np.concatenate([[0.0], np.cumsum(steps)])
    ends = np.cumsum(counts)
    firsts = ends[np.asarray(counts) > 0] - np.asarray(counts)[np.asarray(counts) > 0]
    lengths = [sums[first:end] for first, end in zip(firsts, [*firsts[1:], len(gram)], strict=True)]
    return random_walk_shares(lengths, gram[np.ix_(firsts, firsts)])


def centred(gram: Array) -> Array:
    """Return the inner products of points relative to their mean, (T, T)."""
    rows = gram.mean(0)
    result: Array = gram - rows - rows[:, None] + rows.mean()
    return result
