"""The points of a surface as tasks with numbers: what is computed at each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape._batch_norm import mode_in
from landscape._evaluation import Evaluator
from landscape._quantities import Quantities
from landscape._statistics import Statistics, check_batches
from landscape.errors import InputError
from landscape.geometry import Plane
from landscape.geometry.layout import layout_of
from landscape.objective import Objective

if TYPE_CHECKING:
    from landscape._data_parts import PartLosses
    from landscape.trajectory import Trajectory

Array = NDArray[np.float64]
# Before the names of what is computed with test data.
TEST = "test_"


@dataclass(frozen=True)
class Kind:
    """Consecutive tasks of one kind: how many, and how to do the i-th."""

    count: int
    evaluate: Callable[[int], list[float]]


class PlaneValues:
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
        self.objective, self.plane, self.test = objective, plane, test
        self.batchnorm = mode_in(objective._network.module, batchnorm)
        self._quantities = Quantities(objective, quantities)
        self._check(quantities)
        self.columns = [*objective.metrics]
        if test is not None:
            self.columns += [f"{TEST}{name}" for name in ("loss", *test.metrics)]
        self.columns += self._quantities.names
        twice = [name for name in self.columns if self.columns.count(name) > 1]
        if twice:
            raise InputError(f"two quantities would be called {twice[0]!r}: give the metric another name")
        self._origin = torch.from_numpy(np.array(plane.origin)).to(objective.device)
        self._directions = torch.from_numpy(np.array(plane.directions)).to(objective.device)
        self.buffers = {
            name: torch.as_tensor(value).to(objective.buffers[name])
            for name, value in plane.buffers.items()
            if name in objective.buffers
        }
        batch = self.batchnorm == "batch"
        self._statistics = Statistics(objective) if self.batchnorm == "recompute" else None
        self.fast = Evaluator(objective, batch_statistics=batch)
        self._of_test = None if test is None else Evaluator(test, batch_statistics=batch)
        for one in (self.fast, self._of_test):
            if one is not None and not batch:
                self._agree_on_arithmetic(one, corner)

    @property
    def width(self) -> int:
        """Numbers per point: the loss, and one per column."""
        return 1 + len(self.columns)

    def at(self, x: float, y: float) -> list[float]:
        """Everything that is asked for, at coordinates of the plane."""
        theta, buffers = self.theta(x, y), self.buffers_at(x, y)
        found = self.fast.evaluate(theta, buffers)
        if self._of_test is not None:
            found += self._of_test.evaluate(theta, buffers)
        return found + self._quantities.at(theta, buffers)

    def at_with_parts(self, x: float, y: float, parts: PartLosses) -> list[float]:
        """As :meth:`at`, with the losses of the parts of the data after it."""
        theta, buffers = self.theta(x, y), self.buffers_at(x, y)
        found, each = parts.at(theta, buffers)
        if self._of_test is not None:
            found += self._of_test.evaluate(theta, buffers)
        return found + self._quantities.at(theta, buffers) + each

    def loss_at(self, x: float, y: float) -> list[float]:
        """Loss and metrics only; NaN for the rest."""
        return self.padded(self.fast.evaluate(self.theta(x, y), self.buffers_at(x, y)))

    def true(self, evaluator: Evaluator, point: Any) -> list[float]:
        """Loss and metrics at a point itself, with its own buffers; NaN for the rest."""
        objective = self.objective
        values = getattr(point, "theta", point)
        theta = torch.as_tensor(values).detach().to(device=objective.device, dtype=objective.dtype)
        places = layout_of(objective, objective.n).places_of(
            layout_of(point, len(theta)), "the objective", "a checkpoint"
        )
        if places is not None:
            theta = theta[torch.from_numpy(places).to(theta.device)]
        buffers = getattr(point, "buffers", None)
        own = {
            name: torch.as_tensor(value).to(objective.buffers[name])
            for name, value in (buffers.items() if isinstance(buffers, Mapping) else ())
            if name in objective.buffers
        }
        return self.padded(evaluator.evaluate(theta, own))

    def theta(self, x: float, y: float) -> Tensor:
        """As Plane.point, on the device of the objective, in its precision."""
        first, second = self._directions
        theta = self._origin.double() + float(x) * first.double() + float(y) * second.double()
        return theta.to(self._origin.dtype).to(self.objective.dtype)

    def buffers_at(self, x: float, y: float) -> dict[str, Tensor]:
        """Batch-norm statistics there, in the mode that was chosen."""
        if self._statistics is None:
            return self.buffers
        theta = self.theta(x, y)
        return self._statistics.at(theta, self.buffers) if bool(torch.isfinite(theta).all()) else self.buffers

    def origin(self) -> Objective:
        """The objective at the origin (collective)."""
        return self.objective.at(self.theta(0.0, 0.0), self.buffers_at(0.0, 0.0))

    def origin_digest(self) -> str:
        """Digest of the origin with its buffers, as an objective there would give."""
        there = self.objective.on(self.objective.grid.alone())
        return str(there.at(self.theta(0.0, 0.0), self.buffers)._digest())

    def describe(self) -> dict[str, Any]:
        """What identifies these values, for provenance and for resuming (collective)."""
        options: dict[str, Any] = {"batchnorm": self.batchnorm, "quantities": self._quantities.names}
        if self.test is not None:
            there = self.test.describe()
            options["test"] = {name: there[name] for name in ("data_sha256", "samples", "micro_batches", "loss")}
            options["test"]["metrics"] = list(self.test.metrics)
        return {
            **self.objective.describe(),
            "metrics": list(self.objective.metrics),
            "plane": self.plane.kind,
            "plane_sha256": self.plane.digest(),
            **options,
        }

    def padded(self, found: list[float]) -> list[float]:
        """Loss and metrics with NaN for what else is computed on the grid."""
        return found + [math.nan] * (self.width - len(found))

    def _check(self, quantities: Sequence[str]) -> None:
        objective, test = self.objective, self.test
        if self.batchnorm == "batch":
            if quantities:
                raise InputError(
                    f"{', '.join(quantities)} need a loss that is a mean over samples, which it is not with the "
                    "statistics of micro-batches: use batchnorm='eval' or 'recompute'"
                )
            for one in (objective, *([test] if test is not None else [])):
                check_batches(one)
        if test is None:
            return
        if not isinstance(test, Objective):
            raise InputError(f"test must be a landscape.Objective of the same model, not {type(test).__name__}")
        layout_of(objective, objective.n).places_of(layout_of(test, test.n), "the objective", "the test objective")
        if objective.names != test.names:
            raise InputError("the test objective has the parameters in another order: build both from the same model")

    def _agree_on_arithmetic(self, evaluator: Evaluator, corner: tuple[float, float]) -> None:
        """Merge micro-batches only where that is found to be right, and on all ranks alike (collective)."""
        world = self.objective.grid.world
        merged = evaluator.check(self.theta(0.0, 0.0)) and evaluator.check(self.theta(*corner))
        found = world.all_gather_object((merged, evaluator.separated, evaluator.layout))
        layouts = {layout for _, _, layout in found}
        names = set().union(*(separated for _, separated, _ in found))
        evaluator.separate(names, all(one for one, _, _ in found) and len(layouts) == 1)


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
