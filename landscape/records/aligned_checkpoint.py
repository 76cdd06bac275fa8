"""A checkpoint whose neurons have been put into the order of another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from landscape.records.checkpoint import Checkpoint

UNKNOWN = float("nan")


@dataclass(frozen=True)
class AlignedCheckpoint(Checkpoint):
    """The same function as a checkpoint, with its neurons in the order that matches another one; ``ls.align`` makes it.

    Attributes
    ----------
    theta, buffers, names, shapes, step, loss, learning_rate, momentum, second_moment
        As of every checkpoint, in the new order.
    permutations : dict of int64 arrays
        By space of the coupling graph, which is named after the first parameter and axis where it is found: ``new[i] =
        old[permutation[i]]``, ``(width,)``; for units inside of others, such as the features of each head of attention,
        ``(blocks, width)``, one row for each place where a block arrives.
    method : str
        "weights" or "activations".
    sweeps : int
        Over all spaces until nothing changed.
    value_before, value_after : float
        What was maximized: the inner product of both thetas, or the sum of correlations of matched units.
    distance_before, distance_after : float
        Euclidean distance of both thetas.
    deviation : float
        Largest change of an output on the data, as a share of the largest output.

    Examples
    --------
    >>> import numpy as np
    >>> AlignedCheckpoint(np.zeros(3), distance_before=2.0, distance_after=0.5).distance_after
    0.5
    """

    permutations: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    method: str = "weights"
    sweeps: int = 0
    value_before: float = UNKNOWN
    value_after: float = UNKNOWN
    distance_before: float = UNKNOWN
    distance_after: float = UNKNOWN
    deviation: float = UNKNOWN
