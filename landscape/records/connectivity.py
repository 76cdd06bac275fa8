"""Barriers between all pairs of several minima."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.records.record import Array, Record


@dataclass(frozen=True)
class Connectivity(Record):
    """Which of several minima are joined by a path of low loss; ``ls.connectivity`` makes it.

    Attributes
    ----------
    point_names : (N,) text
    point_loss : (N,) float64
        With their own batch-norm statistics.
    point_metrics : dict of (N,) float64
    barriers : (N, N) float64
        Largest excess of the loss over the chord on the way from one to the other; symmetric, 0 on the diagonal.
    barrier_stderr : (N, N) float64
        Its standard error, from the choice of the data; NaN if unknown.
    distances : (N, N) float64
        In parameter space, after alignment if there was one.
    function_distances : (N, N) float64
        Root of the mean over the data of ‖f_i(x) - f_j(x)‖², f the output of the network; NaN if outputs are not seen.
    s : (p,) float64
        Share of the way from one to the other, 0 to 1.
    loss_between : (N, N, p) float64
        Loss along each way; ``loss_between[i, j]`` is ``loss_between[j, i]`` backwards.
    n : int
        Number of parameters.
    path : str
        "linear", "bezier", …
    alignment : str
        "" , "weights" or "activations": how the second of each pair was permuted to match the first.
    batchnorm : str
        As in :class:`Curve`.
    evaluations : int
    seconds : float
    provenance : dict

    Examples
    --------
    >>> found = Connectivity(point_names=np.array(["a", "b", "c"]), point_loss=np.zeros(3),
    ...     barriers=np.array([[0, 0.1, 2], [0.1, 0, 3], [2, 3, 0]]))
    >>> found.clusters(0.5).tolist()
    [0, 0, 1]
    """

    figure: ClassVar[str] = "connectivity"

    point_names: NDArray[Any]
    point_loss: Array
    barriers: Array
    barrier_stderr: Array = field(default_factory=lambda: np.zeros((0, 0)))
    point_metrics: Mapping[str, Array] = field(default_factory=dict)
    distances: Array = field(default_factory=lambda: np.zeros((0, 0)))
    function_distances: Array = field(default_factory=lambda: np.zeros((0, 0)))
    s: Array = field(default_factory=lambda: np.zeros(0))
    loss_between: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))
    n: int = 0
    path: str = "linear"
    alignment: str = ""
    batchnorm: str = "eval"
    evaluations: int = 0
    seconds: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)

    def clusters(self, barrier: float) -> NDArray[np.int64]:
        """Groups of minima that are joined by ways without a higher barrier, directly or over others (single linkage).

        Parameters
        ----------
        barrier : float
            The highest that still joins, at least 0, in units of the loss.

        Returns
        -------
        (N,) int64
            Number of each minimum's group, counted from 0 in the order of the minima.

        Raises
        ------
        InputError
        """
        if not barrier >= 0:
            raise InputError(f"barrier must be at least 0, not {barrier}")
        from scipy.sparse.csgraph import connected_components

        _, groups = connected_components(self.barriers <= barrier, directed=False)
        order = list(dict.fromkeys(groups.tolist()))
        return np.array([order.index(one) for one in groups.tolist()], np.int64)
