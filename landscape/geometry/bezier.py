"""Bezier curves between two minima."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape._arguments import check_whole
from landscape.errors import InputError
from landscape.geometry.path import DEFAULT_NAMES, Path, end_names, evenly_between
from landscape.records.checkpoint import Checkpoint
from landscape.records.control_points import ControlPoints

if TYPE_CHECKING:
    from landscape.geometry.fitting import MakeOptimizer, Progress
    from landscape.objective import Objective

Array = NDArray[np.float64]

DEGREES = {2: "quadratic", 3: "cubic"}


class BezierPath(Path):
    """The Bezier curve from one point to another that its control points pull to their side.

    ``theta(t) = Σ_i C(d, i) tⁱ (1 - t)^(d-i) P_i`` with the ends as first and last P; with one control point the curve
    is quadratic, (1-t)² A + 2t(1-t) C + t² B.

    Parameters
    ----------
    a, b : Checkpoint, Objective, Trajectory (its last checkpoint) or (n,) vector
        Different points of one model, in whatever order of parameters.
    controls : (k, n) array, or k points
        One or more; :meth:`fit` finds them.
    names : (str, str)
        What the ends are called in figures.

    Raises
    ------
    InputError
        As :class:`LinearPath`; also if there is no control point, or one is of another model.

    Examples
    --------
    >>> curve = BezierPath(np.array([-1.0, 0.0]), np.array([1.0, 0.0]), [np.array([0.0, 1.0])])
    >>> curve.point(0.5).round(12).tolist(), round(curve.length, 6)
    ([0.0, 0.5], 2.295587)
    """

    kind = "bezier"
    kinds = ("bezier",)

    def __init__(self, a: Any, b: Any, controls: Any, *, names: Sequence[str] = DEFAULT_NAMES) -> None:
        super().__init__(a, b, names=names, controls=controls)
        if not len(self.controls):
            raise InputError("a Bezier curve needs a control point at least: give controls=[point], or use LinearPath")
        degree = len(self.controls) + 1
        self.source = f"{DEGREES.get(degree, f'degree {degree}')} Bezier curve {self.from_to}"

    @classmethod
    def fit(
        cls,
        objective: Objective,
        a: Any,
        b: Any,
        *,
        degree: int = 2,
        names: Sequence[str] = DEFAULT_NAMES,
        optimizer: MakeOptimizer | None = None,
        epochs: int = 60,
        batch: int = 64,
        seed: int = 0,
        batchnorm: str = "batch",
        progress: Progress | None = None,
    ) -> BezierPath:
        """Find control points for which the mean loss along the curve is low (collective).

        Each step takes a mini-batch and a point of the curve whose t is uniform in [0, 1], and moves the control points
        down the gradient of the loss there, while the ends stay (Garipov et al., NeurIPS 2018, equation 2). They start
        evenly on the straight line. The first rank trains, on one thread; the path is bitwise
        the same on any number of ranks.

        Parameters
        ----------
        objective : Objective
            Of the same model; its own theta plays no role, and it is unchanged.
        a, b : Checkpoint, Objective, Trajectory (its last checkpoint) or (n,) vector
        degree : int
            2 (one control point) or 3 (two), or more.
        names : (str, str)
            What the ends are called in figures.
        optimizer : callable, optional
            ``optimizer(parameters)`` → torch optimizer of the control points. Default: Adam with a learning rate of
            0.01 that falls linearly to zero.
        epochs : int
            Passes over the data. Default 60: enough for networks of the digits.
        batch : int
            Samples per step.
        seed : int
            Of the points and of the order of the samples.
        batchnorm : "batch" or "eval"
            Statistics of the mini-batch, as in training (the default, since those of the ends do not fit in between),
            or those linearly between the ends.
        progress : callable, optional
            ``progress(done, total, text)`` after each step, on the first rank.

        Returns
        -------
        BezierPath
            With the loss of every step in ``fit_loss``.

        Raises
        ------
        InputError
            If an argument is out of range or the ends are of another model.
        ComputeError
            If the loss becomes NaN or infinite: at which step.

        Examples
        --------
        >>> import landscape as ls, torch
        >>> data = torch.eye(2), torch.eye(2)
        >>> objective = ls.Objective(torch.nn.Linear(2, 2), torch.nn.MSELoss(), data)
        >>> curve = BezierPath.fit(objective, np.zeros(6), np.ones(6), epochs=3, batch=2)
        >>> curve.fit_loss.shape, curve.controls.shape
        ((3,), (1, 6))
        """
        from landscape.geometry.fitting import fitted

        check_whole("degree", degree, 2)
        start = cls(a, b, evenly_between(a, b, degree - 1, names), names=names)
        return fitted(start, objective, optimizer, epochs, batch, seed, batchnorm, progress)

    @classmethod
    def _from(cls, record: ControlPoints, a: Checkpoint, b: Checkpoint) -> BezierPath:
        return cls(a, b, record.controls, names=end_names(record))

    def weights(self, t: Array) -> Array:
        """Bernstein's polynomials."""
        return _bernstein(len(self.controls) + 1, t)

    def rates(self, t: Array) -> Array:
        """Their derivatives."""
        degree = len(self.controls) + 1
        lower = np.pad(_bernstein(degree - 1, t), ((0, 0), (1, 1)))
        return np.asarray(degree * (lower[:, :-1] - lower[:, 1:]))


def _bernstein(degree: int, t: Array) -> Array:
    return np.stack([comb(degree, i) * t**i * (1 - t) ** (degree - i) for i in range(degree + 1)], 1)
