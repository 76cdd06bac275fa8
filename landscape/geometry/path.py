"""Paths between two minima: what all of them can do, and the straight one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path as File
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.geometry.combination import Combination, checked_share
from landscape.geometry.directions import DEPENDENT, orthonormal
from landscape.geometry.ends import CONTROL, Ends, buffers_between, checked_names, two_ends
from landscape.geometry.layout import Layout, layout_of
from landscape.geometry.plane import Plane
from landscape.geometry.points import direction_of, vector_of
from landscape.geometry.products import dot, norm
from landscape.records.checkpoint import Checkpoint
from landscape.records.control_points import ControlPoints

Array = NDArray[np.float64]

DEFAULT_NAMES = ("A", "B")


class Path(Combination):
    """A curve in parameter space from one minimum to another, walked by its arc length.

    Attributes
    ----------
    kind : str
        "linear", "spherical", "bezier", "polygon" or "band".
    ends : (Checkpoint, Checkpoint)
        Where s is 0 and 1; the second in the order of parameters of the first.
    names : (str, str)
        What they are called.
    controls : (k, n) array
        What the curve was bent by; without rows if it has no control points.
    alignment : str
        How the second end was permuted to match the first, "weights" or "activations"; "" if it was not.
    source : str
        How the path was made, in words.
    fit_loss : (t,) float64
        Loss while it was being found, by step; empty if there was nothing to find.
    provenance : dict
        Plain values: how it was found.
    """

    kind: str
    # What a subclass is called in files, and which class is called so.
    kinds: ClassVar[tuple[str, ...]] = ()
    of_kind: ClassVar[dict[str, type[Path]]] = {}

    def __init_subclass__(cls) -> None:
        Path.of_kind.update(dict.fromkeys(cls.kinds, cls))

    def __init__(
        self,
        a: Any,
        b: Any,
        *,
        names: Sequence[str] = DEFAULT_NAMES,
        controls: Any = None,
    ) -> None:
        self.names = checked_names(names)
        self.ends: Ends = two_ends(a, b, self.names)
        self.controls = _controls(controls, self.ends[0], self.layout)
        self.alignment = str(getattr(b, "method", "")) if hasattr(b, "permutations") else ""
        self.source = ""
        self.fit_loss = np.zeros(0)
        self.provenance: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.source}, n = {self.n}>"

    @property
    def from_to(self) -> str:
        """Where it leads, in words."""
        matched = f", its neurons matched by {self.alignment}" if self.alignment else ""
        return f"from {self.names[0]} to {self.names[1]}{matched}"

    @property
    def n(self) -> int:
        """Number of parameters."""
        return self.ends[0].n

    @property
    def layout(self) -> Layout:
        """Names and shapes of the parameters."""
        return layout_of(self.ends[0], self.n)

    @cached_property
    def distance(self) -> float:
        """Between the ends, Euclidean in parameter space."""
        return norm(self.ends[1].theta.astype(float) - self.ends[0].theta.astype(float))

    def buffers(self, s: float) -> dict[str, NDArray[Any]]:
        """Buffers at a share of the path's length, by name: statistics linearly between those of the ends.

        Linearly in the curve's own parameter, as when it was fitted. Whole numbers are those of the nearer end; beyond
        an end all stay as they are there.
        """
        return buffers_between(self.ends, self.parameter(s))

    def parameter(self, s: float) -> float:
        """The curve's own parameter, 0 to 1, at a share of its length."""
        return self.arc.parameter(checked_share(s))

    def plane(self, across: Any = None) -> Plane:
        """The plane of both ends and the control point that is farthest from the line between them.

        Parameters
        ----------
        across : (n,) vector, checkpoint or dict of arrays by parameter, optional
            Where the second axis points to, of which only what is perpendicular to the line from end to end counts.
            Default: to the control point; of a spherical path, to its middle.

        Returns
        -------
        Plane
            The first end is its origin; coordinates are distances. Anchors have the names of the ends, and "control".

        Raises
        ------
        InputError
            If the path is straight and no direction is given.
        """
        control = self._control if across is None else None
        if across is None and control is None:
            raise InputError(
                f"a straight path lies in no plane of its own: give a direction for the second axis, as in "
                f"path.plane(across=vector), or take Plane.through({self.names[0]}, {self.names[1]}, a third point)"
            )
        first, second = self.ends
        origin = first.theta.astype(float)
        along = second.theta.astype(float) - origin
        sideways = direction_of(across, self.layout, "across") if control is None else control.theta - origin
        directions = orthonormal(along, sideways, "the line from end to end and the second direction")
        anchor_points = dict(zip(self.names, self.ends, strict=True))
        if control is not None:
            anchor_points[CONTROL] = control
        anchors = {
            name: np.array([dot(one, point.theta - origin) for one in directions])
            for name, point in anchor_points.items()
        }
        box = np.stack(list(anchors.values()))
        low, high = box.min(0), box.max(0)
        if control is None:
            low[1], high[1] = -self.distance / 2, self.distance / 2
        return Plane(
            origin=origin,
            directions=directions,
            axes=(f"{self.names[0]} to {self.names[1]}", "across"),
            axis_sources=(
                f"from {self.names[0]} to {self.names[1]}",
                "given by the user" if control is None else "to the control point, perpendicular to the first",
            ),
            kind="points",
            names=first.names,
            shapes=first.shapes,
            buffers=dict(first.buffers),
            anchors=anchors,
            anchor_points=anchor_points,
            extent=(float(low[0]), float(high[0]), float(low[1]), float(high[1])),
        )

    def coordinates(self, s: Any) -> Array:
        """Where points of the path lie in its :meth:`plane`, ``(p, 2)`` float64; without rows if it has none.

        Parameters
        ----------
        s : (p,) array
        """
        if self._control is None:
            return np.zeros((0, 2))
        weights = np.array([self.shares_at(one) for one in np.atleast_1d(s)])
        return np.asarray(np.einsum("pm,mc->pc", weights, self._placed), float)

    def aligned(self, layout: Layout) -> Path:
        """The same path with the parameters in another order.

        Parameters
        ----------
        layout : Layout
            As of an objective.

        Raises
        ------
        InputError
            If it is of another model: which name, which shapes.
        """
        places = layout.places_of(self.layout, "the objective", "the path")
        if places is None:
            return self
        record = self.record()
        return Path.of(
            replace(
                record,
                end_points=record.end_points[:, places],
                controls=record.controls[:, places],
                origin=record.origin[places] if len(record.origin) else record.origin,
                parameters={name: list(shape) for name, shape in zip(layout.names, layout.shapes, strict=True)},
            )
        )

    def digest(self) -> str:
        """SHA-256 of everything that the points and buffers of the path depend on."""
        result = hashlib.sha256(self.kind.encode())
        for anchor in self.anchors():
            result.update(anchor.dtype.str.encode() + np.ascontiguousarray(anchor).tobytes())
        for end in self.ends:
            for name in sorted(end.buffers):
                result.update(name.encode() + np.ascontiguousarray(end.buffers[name]).tobytes())
        return result.hexdigest()

    def describe(self) -> dict[str, Any]:
        """What identifies the path, for provenance and for resuming: plain values."""
        return {
            "path": self.kind,
            "path_source": self.source,
            "ends": list(self.names),
            "controls": len(self.controls),
            "length": self.length,
            "distance": self.distance,
            "path_sha256": self.digest(),
        }

    def record(self) -> ControlPoints:
        """The path as a record, which :meth:`of` makes a path of again."""
        return self._record(np.zeros(0))

    def _record(self, origin: NDArray[Any]) -> ControlPoints:
        first, second = self.ends
        return ControlPoints(
            path=self.kind,
            path_source=self.source,
            alignment=self.alignment,
            end_names=np.array(self.names),
            end_points=np.stack([first.theta, second.theta]),
            controls=self.controls,
            origin=origin,
            first_buffers=dict(first.buffers),
            second_buffers=dict(second.buffers),
            parameters={name: list(shape) for name, shape in zip(first.names, first.shapes, strict=True)},
            n=self.n,
            length=self.length,
            fit_loss=self.fit_loss,
            provenance=self.provenance,
        )

    def save(self, path: str | File, overwrite: bool = True) -> File:
        """Write the path to an HDF5 file: ``landscape.geometry.Path.of(landscape.load(file))`` is the same."""
        return self.record().save(path, overwrite)

    @classmethod
    def of(cls, record: ControlPoints) -> Path:
        """The path that a record holds.

        Parameters
        ----------
        record : ControlPoints

        Raises
        ------
        InputError
            If it is no such record, or of a kind of path that this version does not know.
        """
        if not isinstance(record, ControlPoints):
            raise InputError(
                f"a path is made of its control points, as landscape.load gives them from a file of path.save, not of "
                f"{type(record).__name__}"
            )
        if record.path not in Path.of_kind:
            raise InputError(f"there is no kind of path {record.path!r}; there are {', '.join(Path.of_kind)}")
        names = tuple(record.parameters)
        shapes = tuple(tuple(int(size) for size in shape) for shape in record.parameters.values())
        first, second = (
            Checkpoint(theta, buffers, names, shapes)
            for theta, buffers in zip(record.end_points, (record.first_buffers, record.second_buffers), strict=True)
        )
        made = Path.of_kind[record.path]._from(record, first, second)
        made.source, made.alignment = record.path_source, record.alignment
        made.fit_loss, made.provenance = record.fit_loss, dict(record.provenance)
        return made

    @classmethod
    def _from(cls, record: ControlPoints, a: Checkpoint, b: Checkpoint) -> Path:
        raise NotImplementedError

    def anchors(self) -> list[NDArray[Any]]:
        """The points that the curve is a combination of: first end, control points, second end."""
        return [self.ends[0].theta, *self.controls, self.ends[1].theta]

    @cached_property
    def _control(self) -> Checkpoint | None:
        """What the path's plane goes through beside both ends; None if it lies on the line between them."""
        point = self._bending_point()
        if point is None:
            return None
        origin = self.ends[0].theta.astype(float)
        along, towards = (self.ends[1].theta - origin) / self.distance, point.theta - origin
        away = towards - along * dot(along, towards)
        return point if norm(away) > 2 * DEPENDENT * norm(towards) else None

    def _bending_point(self) -> Checkpoint | None:
        """The control point that is farthest from the line between the ends; None if there is none."""
        if not len(self.controls):
            return None
        gram = self.gram
        heights = [gram[one, one] - gram[one, -1] ** 2 / gram[-1, -1] for one in range(1, len(gram) - 1)]
        first, place = self.ends[0], int(np.argmax(heights))
        share = self.arc.share((place + 1) / (len(self.controls) + 1))
        return Checkpoint(self.controls[place].astype(float), self.buffers(share), first.names, first.shapes)

    @cached_property
    def _placed(self) -> Array:
        """Coordinates of the anchors in the path's plane, (m, 2)."""
        plane = self.plane()
        origin = self.ends[0].theta.astype(float)
        differences = [anchor - origin for anchor in self.anchors()]
        return np.array([[dot(one, difference) for one in plane.directions] for difference in differences])


class LinearPath(Path):
    """The straight line between two points.

    Parameters
    ----------
    a, b : Checkpoint, Objective, Trajectory (its last checkpoint) or (n,) vector
        Different points of one model, in whatever order of parameters.
    names : (str, str)
        What they are called in figures.

    Raises
    ------
    InputError
        If they are of different models (the first parameter that differs), the same, or not finite.

    Examples
    --------
    >>> path = LinearPath(np.zeros(2), np.array([3.0, 4.0]))
    >>> path.length, path.point(0.5).tolist(), path.tangent(0.5).round(12).tolist()
    (5.0, [1.5, 2.0], [0.6, 0.8])
    >>> path.point(1.2).round(12).tolist()
    [3.6, 4.8]
    """

    kind = "linear"
    kinds = ("linear",)

    def __init__(self, a: Any, b: Any, *, names: Sequence[str] = DEFAULT_NAMES) -> None:
        super().__init__(a, b, names=names)
        self.source = f"straight line {self.from_to}"

    @classmethod
    def _from(cls, record: ControlPoints, a: Checkpoint, b: Checkpoint) -> LinearPath:
        return cls(a, b, names=end_names(record))

    def weights(self, t: Array) -> Array:
        """``1 - t`` and ``t``."""
        return np.stack([1 - t, t], 1)

    def rates(self, t: Array) -> Array:
        """-1 and 1."""
        return np.stack([-np.ones_like(t), np.ones_like(t)], 1)

    def parameter(self, s: float) -> float:
        """The share itself."""
        return min(max(checked_share(s), 0.0), 1.0)

    def shares_at(self, s: float) -> Array:
        """As for every path, without a rounding on the way from s to t."""
        weights: Array = self.weights(np.array([checked_share(s)]))[0]
        return weights


def end_names(record: ControlPoints) -> tuple[str, str]:
    """Return the names of the ends of a recorded path."""
    first, second = record.end_names
    return str(first), str(second)


def evenly_between(a: Any, b: Any, count: int, names: Sequence[str] = DEFAULT_NAMES) -> Array:
    """Return so many points on the straight line between two others, evenly spaced, (count, n) float64."""
    line = LinearPath(a, b, names=names)
    return np.stack([line.point(number / (count + 1)) for number in range(1, count + 1)])


def _controls(given: Any, end: Checkpoint, layout: Layout) -> NDArray[Any]:
    """Control points as rows, in the order of parameters of an end."""
    rows = []
    for number, one in enumerate(given if given is not None else (), 1):
        if np.ndim(getattr(one, "theta", one)) != 1:
            raise InputError(
                "controls must be a list of points (checkpoints or vectors), or an array (k, n); for a single one "
                "write [control]"
            )
        vector, what = vector_of(one), f"control point {number}"
        places = layout.places_of(layout_of(one, len(vector)), "the first end", what)
        rows.append(vector if places is None else vector[places])
        if not np.isfinite(vector).all():
            raise InputError(f"{what} holds NaN or inf")
    return np.stack(rows) if rows else np.zeros((0, end.n), end.theta.dtype)
