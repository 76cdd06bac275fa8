"""The points of a surface as tasks with numbers: what is computed at each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape._evaluation import Evaluator
from landscape._point_values import PointValues
from landscape.errors import InputError
from landscape.geometry import Plane
from landscape.objective import Objective

if TYPE_CHECKING:
    from landscape._data_parts import PartLosses
    from landscape.trajectory import Trajectory

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """Consecutive tasks of one kind: how many, and how to do the i-th."""

    count: int
    evaluate: Callable[[int], list[float]]


class PlaneValues(PointValues):
    """Loss, metrics and whatever else is asked for, at any coordinates of a plane (collective to build).

    Parameters
    ----------
    objective : Objective
    plane : Plane
        In the objective's order of parameters, the same on all ranks.
    corner : pair of float
        Coordinates far from the origin, where arithmetic is tried, too.
    quantities : sequence of str
        Of :data:`landscape._quantities.QUANTITIES`.
    test : Objective, optional
    batchnorm : str

    Raises
    ------
    InputError
        If something does not fit together; the same on all ranks.
    """

    def __init__(
        self,
        objective: Objective,
        plane: Plane,
        corner: tuple[float, float],
        quantities: Sequence[str] = (),
        test: Objective | None = None,
        batchnorm: str = "eval",
    ) -> None:
        super().__init__(objective, quantities, test, batchnorm)
        self.plane = plane
        self._origin = torch.from_numpy(np.array(plane.origin)).to(objective.device)
        self._directions = torch.from_numpy(np.array(plane.directions)).to(objective.device)
        self.buffers = {
            name: torch.as_tensor(value).to(objective.buffers[name])
            for name, value in plane.buffers.items()
            if name in objective.buffers
        }
        self.agree_on_arithmetic(self.theta(0.0, 0.0), self.theta(*corner))

    def at(self, x: float, y: float) -> list[float]:
        """Everything that is asked for, at coordinates of the plane."""
        return self.values(self.theta(x, y), self.buffers_at(x, y))

    def at_with_parts(self, x: float, y: float, parts: PartLosses) -> list[float]:
        """As :meth:`at`, with the losses of the parts of the data after it."""
        found, each = self.values_and_parts(self.theta(x, y), self.buffers_at(x, y), parts)
        return found + each

    def loss_at(self, x: float, y: float) -> list[float]:
        """Loss and metrics only; NaN for the rest."""
        return self.padded(self.fast.evaluate(self.theta(x, y), self.buffers_at(x, y)))

    def theta(self, x: float, y: float) -> Tensor:
        """As Plane.point, on the device of the objective, in its precision."""
        first, second = self._directions
        theta = self._origin.double() + float(x) * first.double() + float(y) * second.double()
        return theta.to(self._origin.dtype).to(self.objective.dtype)

    def buffers_at(self, x: float, y: float) -> dict[str, Tensor]:
        """Batch-norm statistics there, in the mode that was chosen."""
        return self.statistics(self.theta(x, y), self.buffers)

    def origin(self) -> Objective:
        """The objective at the origin (collective)."""
        return self.objective.at(self.theta(0.0, 0.0), self.buffers_at(0.0, 0.0))

    def origin_digest(self) -> str:
        """Digest of the origin with its buffers, as an objective there would give."""
        there = self.objective.on(self.objective.grid.alone())
        return str(there.at(self.theta(0.0, 0.0), self.buffers)._digest())

    def describe(self) -> dict[str, Any]:
        """What identifies these values, for provenance and for resuming (collective)."""
        return {**super().describe(), "plane": self.plane.kind, "plane_sha256": self.plane.digest()}


class Points:
    """All points of a surface, as tasks: true losses of anchors and checkpoints, projections, grid.

    Parameters
    ----------
    values : PlaneValues
    runs : tuple of Trajectory
    projections : list of ((t, 2), (t,)) arrays
        Of the runs onto the plane.
    x, y : (nx,), (ny,) arrays
    """

    def __init__(
        self,
        values: PlaneValues,
        runs: tuple[Trajectory, ...],
        projections: list[tuple[Array, Array]],
        x: Array,
        y: Array,
    ) -> None:
        self.values, self.plane, self.runs = values, values.plane, runs
        self.x, self.y = x, y
        self.coordinates = np.concatenate([np.zeros((0, 2)), *(found for found, _ in projections)])
        self.distances = np.concatenate([np.zeros(0), *(left for _, left in projections)])
        self.checkpoints = [(run, number) for run in runs for number in range(len(run))]
        self._faithful = Evaluator(values.objective, merged=False)
        self.kinds = [
            Kind(len(self.plane.anchors), self._anchor),
            Kind(len(self.checkpoints), self._checkpoint),
            Kind(len(self.checkpoints), lambda number: values.loss_at(*self.coordinates[number])),
            Kind(len(x) * len(y), lambda number: values.at(x[number % len(x)], y[number // len(x)])),
        ]

    @property
    def total(self) -> int:
        """Number of tasks."""
        return sum(kind.count for kind in self.kinds)

    @property
    def beside(self) -> int:
        """Number of tasks beside the grid, which come first."""
        return self.total - self.kinds[-1].count

    def evaluate(self, task: int) -> list[float]:
        """Loss and whatever else is asked for, of one task."""
        for kind in self.kinds:
            if task < kind.count:
                return kind.evaluate(task)
            task -= kind.count
        raise InputError(f"there is no task {task} beyond the last")

    def describe(self) -> dict[str, Any]:
        """What identifies the surface, for provenance and for resuming (collective)."""
        return {
            **self.values.describe(),
            "runs": [run.digest() for run in self.runs],
            "x": [float(self.x[0]), float(self.x[-1]), len(self.x)],
            "y": [float(self.y[0]), float(self.y[-1]), len(self.y)],
        }

    def split(self, values: Array) -> list[Array]:
        """Rows of anchors, checkpoints, their projections, and the grid."""
        return np.split(values, np.cumsum([kind.count for kind in self.kinds])[:-1])

    def _anchor(self, number: int) -> list[float]:
        name = list(self.plane.anchors)[number]
        point = self.plane.anchor_points.get(name)
        if point is None:
            place = self.plane.anchors[name]
            values = self.values
            return values.padded(self._faithful.evaluate(values.theta(*place), values.buffers))
        return self.values.true(self._faithful, point)

    def _checkpoint(self, number: int) -> list[float]:
        run, index = self.checkpoints[number]
        return self.values.true(self._faithful, run[index])
