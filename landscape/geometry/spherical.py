"""The path along a great circle between two points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.geometry.ends import Ends, buffers_between
from landscape.geometry.path import DEFAULT_NAMES, Path, end_names
from landscape.geometry.points import direction_of
from landscape.geometry.products import norm
from landscape.records.checkpoint import Checkpoint
from landscape.records.control_points import ControlPoints

Array = NDArray[np.float64]

# Vectors at a smaller angle are parallel but for rounding: between them the great circle is a straight line.
PARALLEL = 1e-9


class SphericalPath(Path):
    """Spherical interpolation: the direction moves along the great circle, the norm linearly between those of the ends.

    Seen from the origin, theta turns at a constant rate (Shoemake, SIGGRAPH 1985, "slerp", of unit vectors), while the
    straight line cuts through regions of smaller norm. All parameters together are one vector: biases and the scales of
    norm layers turn with the weights.

    Parameters
    ----------
    a, b : Checkpoint, Objective, Trajectory (its last checkpoint) or (n,) vector
        Different points of one model, in whatever order of parameters.
    names : (str, str)
        What they are called in figures.
    origin : (n,) vector, checkpoint or dict of arrays by parameter, optional
        The centre of the sphere. Default: theta = 0.

    Raises
    ------
    InputError
        As :class:`LinearPath`; also if an end is the origin, or if it lies exactly between them, where every great
        circle leads from one to the other.

    Examples
    --------
    >>> arc = SphericalPath(np.array([2.0, 0.0]), np.array([0.0, 2.0]))
    >>> round(arc.length / np.pi, 12), arc.point(0.5).round(6).tolist()
    (1.0, [1.414214, 1.414214])
    """

    kind = "spherical"
    kinds = ("spherical",)

    def __init__(self, a: Any, b: Any, *, names: Sequence[str] = DEFAULT_NAMES, origin: Any = None) -> None:
        super().__init__(a, b, names=names)
        around = "zero" if origin is None else "a given origin"
        self.source = f"great circle around {around} {self.from_to}"
        self.origin: Array = np.zeros(self.n) if origin is None else direction_of(origin, self.layout, "origin")
        self.radii, self.angle = _polar(self.ends, self.names, self.origin)

    @classmethod
    def _from(cls, record: ControlPoints, a: Checkpoint, b: Checkpoint) -> SphericalPath:
        return cls(a, b, names=end_names(record), origin=record.origin if len(record.origin) else None)

    def record(self) -> ControlPoints:
        """The path as a record, with its origin."""
        return super()._record(self.origin if self.origin.any() else np.zeros(0))

    def anchors(self) -> list[NDArray[Any]]:
        """First end, origin, second end."""
        return [self.ends[0].theta, self.origin, self.ends[1].theta]

    def weights(self, t: Array) -> Array:
        """What the ends count as vectors from the origin, and the origin what is left."""
        first, second = self._turned(t)
        return np.stack([first, 1 - first - second, second], 1)

    def rates(self, t: Array) -> Array:
        """Derivatives of the weights by t."""
        radius, growth = self._radius(t), self.radii[1] - self.radii[0]
        first, second = self._sines(t)
        if self.angle < PARALLEL:
            of_first, of_second = -np.ones_like(t), np.ones_like(t)
        else:
            scale = self.angle / np.sin(self.angle)
            of_first, of_second = -scale * np.cos((1 - t) * self.angle), scale * np.cos(t * self.angle)
        first = (growth * first + radius * of_first) / self.radii[0]
        second = (growth * second + radius * of_second) / self.radii[1]
        return np.stack([first, -first - second, second], 1)

    def _turned(self, t: Array) -> tuple[Array, Array]:
        first, second = self._sines(t)
        radius = self._radius(t)
        # At the ends the ratio of the radii is exactly 1.
        return radius / self.radii[0] * first, radius / self.radii[1] * second

    def _radius(self, t: Array) -> Array:
        return np.asarray((1 - t) * self.radii[0] + t * self.radii[1])

    def _sines(self, t: Array) -> tuple[Array, Array]:
        if self.angle < PARALLEL:
            return 1 - t, t
        whole = np.sin(self.angle)
        return np.asarray(np.sin((1 - t) * self.angle) / whole), np.asarray(np.sin(t * self.angle) / whole)

    def _bending_point(self) -> Checkpoint | None:
        first = self.ends[0]
        return Checkpoint(self.point(0.5), buffers_between(self.ends, 0.5), first.names, first.shapes)


def _polar(ends: Ends, names: Sequence[str], origin: Array) -> tuple[tuple[float, float], float]:
    """Distances of the ends from the origin, and the angle between them in radians."""
    vectors = [end.theta.astype(float) - origin for end in ends]
    radii = norm(vectors[0]), norm(vectors[1])
    for radius, name in zip(radii, names, strict=True):
        if radius == 0:
            raise InputError(
                f"{name} is the origin, from where it has no direction: use LinearPath, or another origin="
            )
    units = [vector / radius for vector, radius in zip(vectors, radii, strict=True)]
    # Without cancellation at small and at large angles (Kahan's formula).
    angle = 2 * np.arctan2(norm(units[0] - units[1]), norm(units[0] + units[1]))
    if np.pi - angle < PARALLEL:
        raise InputError(
            f"{names[0]} and {names[1]} lie on opposite sides of the origin, so that every great circle joins them: "
            "use LinearPath, or another origin="
        )
    return radii, float(angle)
