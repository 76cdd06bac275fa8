"""Polygonal chains between two minima, trained or relaxed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from landscape._arguments import check_whole
from landscape.errors import InputError
from landscape.geometry.path import DEFAULT_NAMES, LinearPath, Path, end_names, evenly_between
from landscape.records.checkpoint import Checkpoint
from landscape.records.control_points import ControlPoints

if TYPE_CHECKING:
    from landscape.geometry.fitting import MakeOptimizer, Progress
    from landscape.objective import Objective

Array = NDArray[np.float64]


class PolygonalPath(Path):
    """Straight pieces from one point to another, over corners.

    Parameters
    ----------
    a, b : Checkpoint, Objective, Trajectory (its last checkpoint) or (n,) vector
        Different points of one model, in whatever order of parameters.
    controls : (k, n) array, or k points
        The corners, one or more; :meth:`fit` and :meth:`elastic_band` find them.
    names : (str, str)
        What the ends are called in figures.

    Raises
    ------
    InputError
        As :class:`LinearPath`; also if there is no corner, or one is of another model.

    Examples
    --------
    >>> chain = PolygonalPath(np.zeros(2), np.array([3.0, 4.0]), [np.array([3.0, 0.0])])
    >>> chain.length, chain.point(3 / 7).round(12).tolist(), chain.tangent(0.9).round(12).tolist()
    (7.0, [3.0, 0.0], [0.0, 1.0])
    """

    kind = "polygon"
    kinds = ("polygon", "band")

    def __init__(self, a: Any, b: Any, controls: Any, *, names: Sequence[str] = DEFAULT_NAMES) -> None:
        super().__init__(a, b, names=names, controls=controls)
        if not len(self.controls):
            raise InputError("a polygonal chain needs a corner at least: give controls=[point], or use LinearPath")
        called = [self.names[0], *(f"corner {index + 1}" for index in range(len(self.controls))), self.names[1]]
        for (first, one), (second, other) in pairwise(zip(called, self.anchors(), strict=True)):
            if np.array_equal(one, other):
                raise InputError(f"{first} and {second} of the chain are the same point: leave one of them out")
        corners = f"{len(self.controls)} corner{'s' if len(self.controls) > 1 else ''}"
        self.source = f"polygonal chain with {corners} {self.from_to}"

    @classmethod
    def fit(
        cls,
        objective: Objective,
        a: Any,
        b: Any,
        *,
        bends: int = 1,
        names: Sequence[str] = DEFAULT_NAMES,
        optimizer: MakeOptimizer | None = None,
        epochs: int = 60,
        batch: int = 64,
        seed: int = 0,
        batchnorm: str = "batch",
        progress: Progress | None = None,
    ) -> PolygonalPath:
        """Find corners for which the mean loss along the chain is low (collective).

        As :meth:`BezierPath.fit`; every piece of the chain gets the same share of the steps.

        Parameters
        ----------
        objective : Objective
            Of the same model; its own theta plays no role, and it is unchanged.
        a, b : Checkpoint, Objective, Trajectory (its last checkpoint) or (n,) vector
        bends : int
            Number of corners.
        names, optimizer, epochs, batch, seed, batchnorm, progress
            As for :meth:`BezierPath.fit`.

        Returns
        -------
        PolygonalPath
            With the loss of every step in ``fit_loss``.

        Raises
        ------
        InputError, ComputeError
            As :meth:`BezierPath.fit`.
        """
        from landscape.geometry.fitting import fitted

        check_whole("bends", bends, 1)
        start = cls(a, b, evenly_between(a, b, bends, names), names=names)
        return fitted(start, objective, optimizer, epochs, batch, seed, batchnorm, progress)

    @classmethod
    def elastic_band(
        cls,
        objective: Objective,
        a: Any,
        b: Any,
        *,
        images: int = 9,
        spring: float | None = None,
        climb: bool = False,
        start: Path | None = None,
        tol: float = 0.01,
        steps: int = 500,
        names: Sequence[str] = DEFAULT_NAMES,
        batchnorm: str = "batch",
        progress: Progress | None = None,
    ) -> PolygonalPath:
        """The path of least loss from one point to another, as a nudged elastic band (collective).

        Images on the way slide down the gradient of the loss over all data, of which only what is perpendicular to the
        band counts, and stay apart by springs along it, or at equal distances: the formulas of Henkelman and Jónsson,
        J. Chem. Phys. 113, 9978 (2000), used for networks by Draxler et al., ICML 2018. The images of a relaxed band
        lie in a valley, or on the saddle between two. They are tasks for the ranks; the path is bitwise the same on any
        number of them.

        Parameters
        ----------
        objective : Objective
            Of the same model; its own theta plays no role, and it is unchanged.
        a, b : Checkpoint, Objective, Trajectory (its last checkpoint) or (n,) vector
        images : int
            Points between the ends.
        spring : float, optional
            Stiffness, in units of loss per squared distance. Default: infinite, which means that the images are put at
            equal distances after each step, as by Draxler et al.
        climb : bool
            Let the image of the highest loss climb up along the band, to the saddle itself (Henkelman, Uberuaga and
            Jónsson, J. Chem. Phys. 113, 9901, 2000).
        start : Path, optional
            Where the images lie at first, evenly; default: the straight line.
        tol : float
            Largest force across the band on any image at the end, relative to the largest gradient at the start.
            Default 0.01: between two perceptrons of the digits it leaves a barrier of 0.01 of one of 0.9, after 72
            steps; 0.005 leaves none, after twice as many.
        steps : int
            At most.
        names : (str, str)
            What the ends are called in figures.
        batchnorm : "batch" or "eval"
            Statistics of each micro-batch, or those linearly between the ends.
        progress : callable, optional
            ``progress(done, most, text)`` after each step, on the first rank.

        Returns
        -------
        PolygonalPath
            Of the kind "band", with the highest loss of the images before each step, and at the end, in ``fit_loss``;
            ``provenance["converged"]`` says whether the force came below ``tol``.

        Raises
        ------
        InputError
            If an argument is out of range or the ends are of another model.
        ComputeError
            If a loss becomes NaN or infinite.

        Examples
        --------
        >>> import landscape as ls, torch
        >>> data = torch.eye(2), torch.eye(2)
        >>> objective = ls.Objective(torch.nn.Linear(2, 2), torch.nn.MSELoss(), data)
        >>> band = PolygonalPath.elastic_band(objective, np.zeros(6), np.ones(6), images=3, steps=5)
        >>> band.kind, len(band.controls)
        ('band', 3)
        """
        from landscape.geometry.elastic_band import Settings, relaxed

        check_whole("images", images, 1)
        if start is not None and not isinstance(start, Path):
            raise InputError(f"start must be a path, such as LinearPath(a, b), not {type(start).__name__}")
        first = evenly_between(a, b, images, names)
        if start is not None:
            ordered = start.aligned(LinearPath(a, b, names=names).layout)
            first = np.stack([ordered.point(number / (images + 1)) for number in range(1, images + 1)])
        found = relaxed(
            cls(a, b, first, names=names), objective, Settings(spring, tol, steps, climb, batchnorm), progress
        )
        return cast(PolygonalPath, found)

    @classmethod
    def _from(cls, record: ControlPoints, a: Checkpoint, b: Checkpoint) -> PolygonalPath:
        made = cls(a, b, record.controls, names=end_names(record))
        made.kind = record.path
        return made

    def weights(self, t: Array) -> Array:
        """Linear from corner to corner, each piece with the same share of t."""
        pieces = len(self.controls) + 1
        distance = np.abs(t[:, None] * pieces - np.arange(pieces + 1))
        return np.asarray(np.maximum(1 - distance, 0.0))

    def rates(self, t: Array) -> Array:
        """From -pieces at the corner before to +pieces at the corner after."""
        pieces = len(self.controls) + 1
        piece = np.clip((t * pieces).astype(int), 0, pieces - 1)
        result = np.zeros((len(t), pieces + 1))
        result[np.arange(len(t)), piece] = -pieces
        result[np.arange(len(t)), piece + 1] = pieces
        return result

    def breaks(self) -> list[float]:
        """The corners."""
        pieces = len(self.controls) + 1
        return [corner / pieces for corner in range(pieces + 1)]
