"""Planes in parameter space: an origin and two directions, and where checkpoints lie relative to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from landscape._arguments import check_whole
from landscape.errors import InputError
from landscape.geometry.directions import filter_normalized, gaussian_directions, orthonormal, signed
from landscape.geometry.layout import Layout, Selection, layout_of
from landscape.geometry.principal import principal_components
from landscape.geometry.products import dot, norm, product

if TYPE_CHECKING:
    from landscape.records import EigenPairs
    from landscape.trajectory import Trajectory

Array = NDArray[np.float64]
Extent = tuple[float, float, float, float]

DISTANCE = "distance in parameter space"
# Columns that are worked on at once in float64.
COLUMNS = 2**20
# An eigenvector is drawn this far at least relative to the other one: a curvature of zero has no scale of its own.
FLATTEST = 10.0


def _unknown() -> Array:
    return np.full(2, np.nan)


@dataclass(frozen=True, eq=False)
class Plane:
    """``origin + x · directions[0] + y · directions[1]``.

    Made by :meth:`pca`, :meth:`eigenvectors`, :meth:`random` or :meth:`through`; the constructor takes any directions
    as they are. Directions are orthonormal, so that coordinates are distances in parameter space, but for random ones
    with filter normalization.

    Attributes
    ----------
    origin : (n,) float32 or float64
        A theta.
    directions : (2, n) array of the same dtype
    axes : (2,) text
        Names of the directions.
    kind : str
        "pca", "eigenvectors", "random", "points" or "custom".
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
    kind: str = "custom"
    names: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    buffers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    unit: str = DISTANCE
    explained_variance: Array = field(default_factory=_unknown)
    explained_variance_null: Array = field(default_factory=_unknown)
    curvature: Array = field(default_factory=_unknown)
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
        if not several:
            raise InputError("a plane through runs needs at least one run")
        if origin not in ("last", "mean"):
            raise InputError(f'origin must be "last" or "mean", not {origin!r}')
        if len(set(components)) != 2 or min(components) < 1:
            raise InputError(f"components must be two different numbers from 1 on, not {tuple(components)}")
        last = several[0][-1]
        reference = _vector(last)
        if not np.isfinite(reference).all():
            raise InputError(
                f"the last checkpoint (step {last.step}) of the run {several[0].name} holds NaN or inf: the run "
                "diverged, and cannot be the origin of a plane"
            )
        layout = layout_of(several[0], len(reference))
        mask = layout.selected(parameters, reference)
        found = principal_components(several, layout, reference, mask, [number - 1 for number in components])
        first, second = (signed(direction) for direction in found.directions)
        directions = orthonormal(first, second, "the principal components")
        turned = np.array([dot(a, b) for a, b in zip(directions, found.directions, strict=True)])
        coordinates = found.coordinates * np.sign(turned)
        if origin == "last":
            coordinates = coordinates - coordinates[len(several[0]) - 1]
        return cls(
            reference if origin == "last" else found.mean.astype(reference.dtype),
            directions,
            axes=(f"pca_{components[0]}", f"pca_{components[1]}"),
            kind="pca",
            names=layout.names,
            shapes=layout.shapes,
            buffers=dict(last.buffers),
            explained_variance=found.shares,
            explained_variance_null=found.null,
            anchor_points={"origin": last} if origin == "last" else {},
            runs=several,
            parameters=_chosen(parameters),
            extent=_box(coordinates),
        )

    @classmethod
    def eigenvectors(cls, pairs: EigenPairs, indices: tuple[int, int] = (0, 1)) -> Plane:
        """The plane of two eigenvectors at the point where they were computed.

        Its extent is where the loss would rise by its own value, or by 1 if that is larger, if it were quadratic.

        Parameters
        ----------
        pairs : EigenPairs
        indices : pair of int
            Which of them, from 0.

        Returns
        -------
        Plane

        Raises
        ------
        InputError
            If there are not so many, or the operator had no objective.
        """
        if not np.size(pairs.theta):
            raise InputError("these eigenpairs do not know where they were computed: their operator has no objective")
        if len(set(indices)) != 2 or not all(0 <= index < len(pairs.values) for index in indices):
            raise InputError(
                f"indices must be two different numbers from 0 to {len(pairs.values) - 1}, not {tuple(indices)}"
            )
        columns = list(indices)
        first, second = np.asarray(pairs.vectors)[:, columns].T.astype(float)
        curvature = np.asarray(pairs.values, float)[columns]
        rise = max(abs(pairs.loss), 1.0) if np.isfinite(pairs.loss) else 1.0
        steepest = float(np.abs(curvature).max())
        shortest = np.sqrt(2 * rise / steepest) if steepest > 0 else 1.0
        reach = [
            min(np.sqrt(2 * rise / abs(value)), FLATTEST * shortest) if value else FLATTEST * shortest
            for value in curvature
        ]
        theta = np.asarray(pairs.theta)
        return cls(
            theta,
            orthonormal(first, second, "the eigenvectors"),
            axes=(f"eigenvector_{indices[0] + 1}", f"eigenvector_{indices[1] + 1}"),
            kind="eigenvectors",
            names=tuple(pairs.parameters),
            shapes=tuple(tuple(shape) for shape in pairs.parameters.values()),
            buffers=dict(pairs.buffers),
            curvature=curvature,
            extent=(-float(reach[0]), float(reach[0]), -float(reach[1]), float(reach[1])),
        )

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
        normalize : "filter" or None
            "filter": each filter of a direction gets the norm of that filter of theta, biases and norm layers stay
            (Li et al., NeurIPS 2018), so that 1 on the axes means the same for networks of other scales. None: the
            directions are orthonormal.
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
        if normalize not in ("filter", None):
            raise InputError(f'normalize must be "filter" or None, not {normalize!r}')
        check_whole("seed", seed, 0)
        theta = _vector(objective)
        layout = layout_of(objective, len(theta))
        mask = layout.selected(parameters, theta)
        directions = gaussian_directions(len(theta), 2, seed)
        if normalize == "filter":
            if not layout.names:
                raise InputError("filter normalization needs the names and shapes of the parameters: give an objective")
            directions = np.stack([filter_normalized(direction, theta, layout) for direction in directions])
        if mask is not None:
            directions = np.where(mask, directions, 0.0)
        if not directions.any(axis=1).all():
            raise InputError(
                "nothing is left of the random directions: filter normalization keeps biases and norm layers, and "
                "these are all that is chosen, or theta is zero; use normalize=None"
            )
        reach = 1.0
        if normalize is None:
            directions = orthonormal(directions[0], directions[1], "the random directions")
            reach = norm(theta) or 1.0
        return cls(
            theta,
            directions,
            axes=("random_1", "random_2"),
            kind="random",
            names=layout.names,
            shapes=layout.shapes,
            buffers=_buffers(objective),
            unit=DISTANCE if normalize is None else "norms of the filters",
            parameters=_chosen(parameters),
            extent=(-reach, reach, -reach, reach),
        )

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
        points = {"a": _last(a), "b": _last(b), "c": _last(c)}
        vectors = {name: _vector(point) for name, point in points.items()}
        layouts = {name: layout_of(point, len(vectors[name])) for name, point in points.items()}
        # A bare vector has no names: any of the others may know them.
        layout = next((one for one in layouts.values() if one.names), layouts["a"])
        for name, other in layouts.items():
            places = layout.places_of(other, "one of the points", f"point {name}")
            vectors[name] = vectors[name] if places is None else vectors[name][places]
        origin = vectors["a"]
        differences = [vectors[name].astype(float) - origin for name in ("b", "c")]
        directions = orthonormal(differences[0], differences[1], "the three points (two of them are the same, or all)")
        anchors = {"a": np.zeros(2)}
        for name, difference in zip(("b", "c"), differences, strict=True):
            anchors[name] = np.array([dot(direction, difference) for direction in directions])
        return cls(
            origin,
            directions,
            axes=("a to b", "across"),
            kind="points",
            names=layout.names,
            shapes=layout.shapes,
            buffers=_buffers(points["a"]),
            anchors=anchors,
            anchor_points=points,
            extent=_box(np.stack(list(anchors.values()))),
        )

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
        theta = np.atleast_2d(_values(points))
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


def _chosen(parameters: Selection) -> str:
    """A selection of parameters in a few words."""
    if parameters is None:
        return ""
    if isinstance(parameters, str):
        return parameters
    return "that a function chose" if callable(parameters) else ", ".join(parameters)


def _last(thing: Any) -> Any:
    return thing[-1] if hasattr(thing, "blocks") else thing


def _values(thing: Any) -> NDArray[Any]:
    """The numbers of a theta, or of several, in an array: of a checkpoint, an objective, a tensor or an array."""
    values = getattr(thing, "theta", thing)
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _vector(thing: Any) -> NDArray[Any]:
    array = _values(thing)
    if array.ndim != 1:
        raise InputError(f"a point must be a checkpoint, an objective or a vector (n,), not of shape {array.shape}")
    return array.copy()


def _buffers(thing: Any) -> dict[str, NDArray[Any]]:
    buffers = getattr(thing, "buffers", None)
    if not isinstance(buffers, Mapping):
        return {}
    return {
        name: value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        for name, value in buffers.items()
    }


def _box(coordinates: Array) -> Extent:
    """The smallest rectangle around some points, and the origin."""
    low = np.minimum(coordinates.min(0), 0.0)
    high = np.maximum(coordinates.max(0), 0.0)
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])
