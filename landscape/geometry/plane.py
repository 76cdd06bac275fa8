"""Planes in parameter space: an origin and two directions, and where checkpoints lie relative to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.geometry import construction
from landscape.geometry.construction import DISTANCE, Extent
from landscape.geometry.layout import Layout, Selection, layout_of
from landscape.geometry.points import values_of
from landscape.geometry.products import product

if TYPE_CHECKING:
    from landscape.records import EigenPairs
    from landscape.trajectory import Trajectory

Array = NDArray[np.float64]
# Columns that are worked on at once in float64.
COLUMNS = 2**20


def _unknown() -> Array:
    return np.full(2, np.nan)


@dataclass(frozen=True, eq=False)
class Plane:
    """``origin + x · directions[0] + y · directions[1]``.

    Made by :meth:`pca`, :meth:`eigenvectors`, :meth:`gradient`, :meth:`random`, :meth:`through` or :meth:`along`; the
    constructor takes any directions as they are. Directions are orthonormal, so that coordinates are distances in
    parameter space, but for random ones with filter or layer normalization.

    Attributes
    ----------
    origin : (n,) float32 or float64
        A theta.
    directions : (2, n) array of the same dtype
    axes : (2,) text
        Names of the directions.
    axis_sources : (2,) text
        Where each of them comes from; "" if unknown.
    kind : str
        "pca", "eigenvectors", "gradient", "random", "points" or "custom".
    names, shapes : tuples
        Of the parameters, in the order of theta; empty if unknown.
    buffers : dict of arrays
        Batch-norm statistics of the origin.
    unit : str
        What 1 means on the axes.
    explained_variance, explained_variance_null : (2,) float64
        Share of the runs' variance along each direction, and what random walks of the same step lengths
        would give.
    curvature : (2,) float64
        Second derivative of the loss along each direction, where known.
    curvature_of : dict
        "data_sha256", "weight_decay" and "loss" of the objective whose eigenvalues the curvature is; empty otherwise.
    anchors : dict of (2,) float64
        Coordinates of the points that the plane was made of, the origin first.
    anchor_points : dict
        The points themselves (theta with buffers), for their true loss.
    runs : tuple of Trajectory
        What the plane was made of, and what :func:`~landscape.loss_surface` draws on it.
    parameters : str
        Which parameters the directions were restricted to; "" means all.
    extent : (x_min, x_max, y_min, y_max)
        The part that is worth looking at, without margin.

    Examples
    --------
    >>> plane = Plane.through(np.zeros(3), np.array([2.0, 0, 0]), np.array([0.0, 1, 0]))
    >>> plane.point(1.0, 0.5).tolist()
    [1.0, 0.5, 0.0]
    >>> plane.coordinates(np.array([1.0, 1, 7])).tolist(), plane.residual(np.array([1.0, 1, 7])).tolist()
    ([[1.0, 1.0]], [7.0])
    """

    origin: NDArray[Any]
    directions: NDArray[Any]
    axes: tuple[str, str] = ("direction_1", "direction_2")
    axis_sources: tuple[str, str] = ("", "")
    kind: str = "custom"
    names: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    buffers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    unit: str = DISTANCE
    explained_variance: Array = field(default_factory=_unknown)
    explained_variance_null: Array = field(default_factory=_unknown)
    curvature: Array = field(default_factory=_unknown)
    curvature_of: Mapping[str, Any] = field(default_factory=dict)
    anchors: Mapping[str, Array] = field(default_factory=lambda: {"origin": np.zeros(2)})
    anchor_points: Mapping[str, Any] = field(default_factory=dict)
    runs: tuple[Trajectory, ...] = ()
    parameters: str = ""
    extent: Extent = (-1.0, 1.0, -1.0, 1.0)

    def __post_init__(self) -> None:
        origin, directions = np.asarray(self.origin), np.asarray(self.directions)
        if origin.ndim != 1 or directions.shape != (2, len(origin)):
            raise InputError(
                f"a plane needs an origin (n,) and directions (2, n), not {origin.shape} and {directions.shape}"
            )
        if not (np.isfinite(origin).all() and np.isfinite(directions).all()):
            raise InputError("the origin or the directions of the plane hold NaN or inf")
        if origin.dtype not in (np.float32, np.float64):
            origin = origin.astype(np.float64)
        object.__setattr__(self, "origin", origin)
        object.__setattr__(self, "directions", directions.astype(origin.dtype, copy=False))

    @classmethod
    def pca(
        cls,
        runs: Trajectory | Sequence[Trajectory],
        *,
        parameters: Selection = None,
        origin: str = "last",
        components: tuple[int, int] = (1, 2),
    ) -> Plane:
        """The plane of largest variance of the checkpoints of one or several runs, centred over the checkpoints.

        What it explains says little by itself: two components of a random walk explain 0.76 of its variance, and more
        if its steps shrink. What walks with the starts and step lengths of the runs would give is in
        ``explained_variance_null``.

        Parameters
        ----------
        runs : Trajectory, or several
        parameters : names, regular expression or predicate(name, value), optional
            Look at the variance of these parameters only; the directions are zero elsewhere.
        origin : "last" or "mean"
            The last checkpoint of the first run, so that it lies in the plane, or the mean of all checkpoints.
        components : pair of int
            Which components, from 1.

        Returns
        -------
        Plane

        Raises
        ------
        InputError
            If there are fewer than three different checkpoints, or if runs are of different models.
        """
        several: tuple[Trajectory, ...] = (cast("Trajectory", runs),) if hasattr(runs, "blocks") else tuple(runs)
        return cls(**construction.of_components(several, parameters, origin, components))

    @classmethod
    def eigenvectors(cls, pairs: EigenPairs, indices: tuple[int, int] | Literal["ends"] = (0, 1)) -> Plane:
        """The plane of two eigenvectors at the point where they were computed.

        Its extent is where the loss would rise by its own value, or by 1 if that is larger, if it were quadratic.

        Parameters
        ----------
        pairs : EigenPairs
        indices : pair of int, or "ends"
            Which of them, from 0, or from the last on, -1; with ``which="both"`` that is the smallest eigenvalue.
            "ends": the largest and the smallest eigenvalue.

        Returns
        -------
        Plane
            Axes are named by rank: "eigenvector_1" is that of the largest eigenvalue, "eigenvector_n" that of the
            smallest.

        Raises
        ------
        InputError
            If there are not so many, the operator had no objective, or the pairs do not hold both ends.

        Examples
        --------
        >>> import landscape as ls, torch
        >>> objective = ls.Objective(torch.nn.Linear(3, 1), torch.nn.MSELoss(), (torch.eye(3), torch.zeros(3, 1)))
        >>> pairs = ls.eigenpairs(ls.Hessian(objective), k=1, which="both")
        >>> Plane.eigenvectors(pairs, "ends").axes
        ('eigenvector_1', 'eigenvector_n')
        """
        return cls(**construction.of_eigenvectors(pairs, indices))

    @classmethod
    def random(
        cls, objective: Any, seed: int = 0, normalize: str | None = "filter", parameters: Selection = None
    ) -> Plane:
        """A plane of two random directions around a point.

        Parameters
        ----------
        objective : Objective or Checkpoint
            Its theta is the origin.
        seed : int
        normalize : "filter", "layer" or None
            "filter": each filter of a direction gets the norm of that filter of theta, biases and norm layers stay
            (Li et al., NeurIPS 2018), so that 1 on the axes means the same for networks of other scales. "layer": each
            parameter as a whole gets the norm of that of theta, biases and norm layers stay. None: the directions are
            orthonormal.
        parameters : names, regular expression or predicate(name, value), optional
            The directions are zero elsewhere.

        Returns
        -------
        Plane

        Raises
        ------
        InputError
            If nothing is left of the directions.
        """
        return cls(**construction.at_random(objective, seed, normalize, parameters))

    @classmethod
    def through(cls, a: Any, b: Any, c: Any) -> Plane:
        """The plane through three points: `a` is the origin, the first axis points to `b`.

        Parameters
        ----------
        a, b, c : Checkpoint, Objective, Trajectory (its last checkpoint) or (n,) array

        Returns
        -------
        Plane

        Raises
        ------
        InputError
            If they lie on a line, or are of different models.
        """
        return cls(**construction.through_points(a, b, c))

    @classmethod
    def gradient(cls, objective: Any, pairs: EigenPairs, index: int = 0) -> Plane:
        """The plane of the gradient and an eigenvector, at the point where the pairs were computed (collective).

        The second axis is what the eigenvector has perpendicular to the gradient. Its extent is where the loss would
        change by its own value, or by 1 if that is larger, if it were quadratic.

        Parameters
        ----------
        objective : Objective
            It is moved to the pairs' theta.
        pairs : EigenPairs
        index : int
            Which of them, from 0.

        Returns
        -------
        Plane
            With the curvature along both axes, from one Hessian product each.

        Raises
        ------
        InputError
            If the pairs are of another model or know no point, or the gradient is zero or parallel to the eigenvector.

        Examples
        --------
        >>> import landscape as ls, torch
        >>> data = torch.rand(8, 3), torch.rand(8, 1)
        >>> objective = ls.Objective(torch.nn.Linear(3, 1), torch.nn.MSELoss(), data)
        >>> Plane.gradient(objective, ls.eigenpairs(ls.Hessian(objective), k=1)).axes
        ('gradient', 'eigenvector_1')
        """
        return cls(**construction.along_gradient(objective, pairs, index))

    @classmethod
    def along(
        cls,
        objective: Any,
        u: Any,
        v: Any,
        *,
        axes: tuple[str, str] = ("u", "v"),
        orthonormalize: bool = True,
        sources: tuple[str, str] | None = None,
    ) -> Plane:
        """The plane of two vectors of yours around a point.

        Parameters
        ----------
        objective : Objective or Checkpoint
            Its theta is the origin.
        u, v : (n,) vectors, checkpoints, or dicts of arrays by parameter
            What a dict leaves out is zero.
        axes : pair of str
            Their names.
        orthonormalize : bool
            Make them orthonormal, so that coordinates are distances; the first keeps its direction. The extent is the
            length of each. False: 1 on an axis is the vector as it is.
        sources : pair of str, optional
            Where they come from, for the record; default: "given by the user".

        Returns
        -------
        Plane

        Raises
        ------
        InputError
            If they do not fit the model (which parameter, which shapes), are zero or not finite, or span no plane.

        Examples
        --------
        >>> plane = Plane.along(np.zeros(3), [0, 2.0, 0], [1.0, 1, 0])
        >>> plane.directions.tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
        """
        return cls(**construction.along_vectors(objective, u, v, axes, orthonormalize, sources))

    @property
    def n(self) -> int:
        """Number of parameters."""
        return len(self.origin)

    @property
    def layout(self) -> Layout:
        """Names and shapes of the parameters."""
        return Layout(self.names, self.shapes, self.n)

    def point(self, x: float, y: float) -> NDArray[Any]:
        """The theta at two coordinates, ``(n,)``, in the dtype of the origin."""
        # In float64 whatever the dtype: then a theta is rounded once.
        first, second = (direction.astype(float) for direction in self.directions)
        return (self.origin.astype(float) + x * first + y * second).astype(self.origin.dtype)

    def coordinates(self, points: Any) -> Array:
        """Where the orthogonal projections of points onto the plane lie.

        Parameters
        ----------
        points : Trajectory, Checkpoint, Objective, (n,) or (T, n) array

        Returns
        -------
        (T, 2) float64

        Raises
        ------
        InputError
            If they are of another model.
        """
        return self.project(points)[0]

    def residual(self, points: Any) -> Array:
        """Distance of points from the plane, ``(T,)`` float64; `points` as in :meth:`coordinates`."""
        return self.project(points)[1]

    def project(self, points: Any) -> tuple[Array, Array]:
        """Coordinates and distances at once: ``(T, 2)`` and ``(T,)``; `points` as in :meth:`coordinates`."""
        pieces = [self._project(theta) for theta in self._rows(points)]
        return np.concatenate([found for found, _ in pieces]), np.concatenate([left for _, left in pieces])

    def aligned(self, layout: Layout) -> Plane:
        """The same plane with the parameters in another order.

        Parameters
        ----------
        layout : Layout
            As of an objective.

        Returns
        -------
        Plane

        Raises
        ------
        InputError
            If it is of another model: which name, which shapes.
        """
        places = layout.places_of(self.layout, "the objective", "the plane")
        if places is None:
            return self
        return replace(
            self,
            origin=self.origin[places],
            directions=self.directions[:, places],
            names=layout.names,
            shapes=layout.shapes,
        )

    def digest(self) -> str:
        """SHA-256 of origin, directions and buffers."""
        result = hashlib.sha256(self.origin.tobytes() + np.ascontiguousarray(self.directions).tobytes())
        for name in sorted(self.buffers):
            result.update(name.encode() + np.ascontiguousarray(self.buffers[name]).tobytes())
        return result.hexdigest()

    def _rows(self, points: Any) -> Iterator[NDArray[Any]]:
        """Yield blocks of points, (t, n), in the order of the plane's parameters."""
        if hasattr(points, "blocks"):
            places = self.layout.places_of(layout_of(points, points.n), "the plane", f"the run {points.name}")
            for _, theta in points.blocks():
                yield theta if places is None else theta[:, places]
            return
        theta = np.atleast_2d(values_of(points))
        places = self.layout.places_of(layout_of(points, theta.shape[1]), "the plane", "the point")
        yield theta if places is None else theta[:, places]

    def _project(self, theta: NDArray[Any]) -> tuple[Array, Array]:
        """Coordinates and distances of a block of points."""
        gram, products = np.zeros((2, 2)), np.zeros((len(theta), 2))
        for start in range(0, self.n, COLUMNS):
            part = slice(start, start + COLUMNS)
            directions = self.directions[:, part].astype(float)
            gram += product(directions, directions.T)
            products += product(theta[:, part].astype(float) - self.origin[part], directions.T)
        # Point by point: then no number of threads matters.
        found = cast(Array, np.linalg.solve(gram, products[:, :, None])[:, :, 0])
        squares = np.zeros(len(theta))
        for start in range(0, self.n, COLUMNS):
            part = slice(start, start + COLUMNS)
            left = theta[:, part].astype(float) - self.origin[part] - product(found, self.directions[:, part])
            squares += np.einsum("tn,tn->t", left, left)
        return found, np.sqrt(squares)
