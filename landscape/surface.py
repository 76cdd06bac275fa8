"""Loss and metrics on a grid of a plane, at the checkpoints that are drawn on it, and at their projections."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape._evaluation import Evaluator
from landscape._path_facts import stability_thresholds, step_cosines
from landscape._ranks import refused_together
from landscape.errors import InputError
from landscape.geometry import Plane
from landscape.geometry.layout import layout_of
from landscape.objective import Objective
from landscape.parallel.tasks import share_tasks
from landscape.records import Surface
from landscape.store import RunState

if TYPE_CHECKING:
    from landscape.parallel import Collectives
    from landscape.trajectory import Trajectory

Array = NDArray[np.float64]
Progress = Callable[[int, int, str], None]
Extent = tuple[float, float, float, float]

DEFAULT_RESOLUTION = 51  # odd: a symmetric plane then has a point at its origin
DEFAULT_MARGIN = 0.25


def loss_surface(
    objective: Objective,
    plane: Plane,
    *,
    resolution: int | tuple[int, int] = DEFAULT_RESOLUTION,
    margin: float = DEFAULT_MARGIN,
    extent: Extent | None = None,
    runs: Trajectory | Sequence[Trajectory] | None = None,
    state: RunState | str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    progress: Progress | None = None,
) -> Surface:
    """Loss and metrics of an objective on a plane (collective).

    Every point is evaluated over all data by one rank; whichever is free takes the next one. Grid and projections use
    the batch-norm statistics of the plane's origin, checkpoints their own: the *true* loss of a checkpoint, which is
    ``objective.at(checkpoint).loss()`` to the last bit, may differ much from the height of the surface where it is
    drawn.

    Parameters
    ----------
    objective : Objective
        Its own theta plays no role, its frozen parameters do.
    plane : Plane
        Of the same model; the order of the parameters may differ.
    resolution : int or (nx, ny)
        Grid points along the axes, at least 2.
    margin : float
        Of the extent's width and height, added on every side.
    extent : (x_min, x_max, y_min, y_max), optional
        Of the grid, without margin; default: the plane's, widened to hold all runs.
    runs : Trajectory, or several, optional
        What is drawn; default: what the plane was made of.
    state : path, optional
        Folder for the points of the unfinished surface; an existing one is continued.
    checkpoint_seconds : float
        Time between two checkpoints to ``state``.
    progress : callable, optional
        ``progress(done, total, text)`` after each point, on rank 0.

    Returns
    -------
    Surface
        The same on every rank, and bitwise the same losses for every number of ranks. A point where the loss is NaN or
        infinite is a hole.

    Raises
    ------
    InputError
        If an argument is out of range, the plane or a run is of another model, or ``state`` belongs to another run.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> surface = ls.loss_surface(objective, ls.Plane.random(objective), resolution=5)
    >>> surface.loss.shape, abs(float(surface.loss[2, 2]) - objective.loss()) < 1e-6
    ((5, 5), True)
    """
    _check(objective, plane, resolution, margin, extent)
    objective.grid.meet("loss_surface")
    started = time.monotonic()
    several = _several(plane.runs if runs is None else runs)
    world = objective.grid.world
    projections: list[tuple[Array, Array]] = []
    cosines: list[Array] = []
    aligned: list[Plane] = []

    def prepare() -> None:
        aligned.append(plane.aligned(layout_of(objective, objective.n)))
        for name, value in aligned[0].buffers.items():
            if name in objective.buffers and value.shape != tuple(objective.buffers[name].shape):
                raise InputError(
                    f"buffer {name!r} has shape {value.shape} in the plane, but {tuple(objective.buffers[name].shape)} "
                    "in the objective"
                )
        if objective.grid.rank == 0:
            projections.extend(aligned[0].project(run) for run in several)
            cosines.extend(step_cosines(run) for run in several)

    refused_together(prepare, world)
    # The bits of rank 0: ranks may have computed the plane on different processors.
    common = _same_on_all_ranks(aligned[0], world)
    projections, cosines, x, y = world.broadcast_object(
        (projections, cosines, *_grid(common, projections, resolution, margin, extent))
    )
    points = _Points(objective, common, several, projections, x, y)
    configuration = points.describe()
    state = RunState.of(state, configuration)
    values, resumed = _evaluated(points, state, checkpoint_seconds, progress)
    surface = points.surface(values)
    return dataclasses.replace(
        surface,
        path_cosine=np.concatenate([np.zeros(0), *cosines]),
        path_threshold=np.concatenate(
            [np.zeros(0), *(stability_thresholds(run, objective.weight_decay) for run in several)]
        ),
        seconds=time.monotonic() - started,
        provenance={
            "configuration": configuration,
            "grid": objective.grid.describe(),
            "resumed_points": resumed,
            # Their recorded losses are those of an objective, not of mini-batches, and can be compared with it.
            "runs_of_an_objective": [
                label
                for label, run in zip(_labels(several), several, strict=True)
                if "data_sha256" in run.provenance.get("configuration", {})
            ],
            "forward_passes_per_point": points.fast.passes,
            "memory_layout": points.fast.layout,
        },
    )


@dataclass(frozen=True)
class _Kind:
    """Consecutive tasks of one kind: how many, and how to do the i-th."""

    count: int
    evaluate: Callable[[int], list[float]]


class _Points:
    """All points of a surface, as tasks with numbers: true losses of anchors and checkpoints, projections, grid."""

    def __init__(
        self,
        objective: Objective,
        plane: Plane,
        runs: tuple[Trajectory, ...],
        projections: list[tuple[Array, Array]],
        x: Array,
        y: Array,
    ) -> None:
        self.objective = objective
        self.plane = plane
        self.runs = runs
        self.x, self.y = x, y
        self.coordinates = np.concatenate([np.zeros((0, 2)), *(found for found, _ in projections)])
        self.distances = np.concatenate([np.zeros(0), *(left for _, left in projections)])
        self.checkpoints = [(run, number) for run in runs for number in range(len(run))]
        self._origin = torch.from_numpy(np.array(plane.origin)).to(objective.device)
        self._directions = torch.from_numpy(np.array(plane.directions)).to(objective.device)
        self._buffers = {
            name: torch.as_tensor(value).to(objective.buffers[name])
            for name, value in plane.buffers.items()
            if name in objective.buffers
        }
        self.fast = Evaluator(objective)
        self._faithful = Evaluator(objective, merged=False)
        self._agree_on_arithmetic()
        self.kinds = [
            _Kind(len(plane.anchors), self._anchor),
            _Kind(len(self.checkpoints), self._checkpoint),
            _Kind(len(self.checkpoints), lambda number: self._at(*self.coordinates[number])),
            _Kind(
                len(x) * len(y), lambda number: self._at(self.x[number % len(self.x)], self.y[number // len(self.x)])
            ),
        ]

    @property
    def total(self) -> int:
        """Number of tasks."""
        return sum(kind.count for kind in self.kinds)

    def evaluate(self, task: int) -> list[float]:
        """Loss and metrics of one task."""
        for kind in self.kinds:
            if task < kind.count:
                return kind.evaluate(task)
            task -= kind.count
        raise InputError(f"there is no task {task} beyond the last")

    def describe(self) -> dict[str, Any]:
        """What identifies the surface, for provenance and for resuming (collective)."""
        return {
            **self.objective.describe(),
            "metrics": list(self.objective.metrics),
            "plane": self.plane.kind,
            "plane_sha256": self.plane.digest(),
            "runs": [run.digest() for run in self.runs],
            "x": [float(self.x[0]), float(self.x[-1]), len(self.x)],
            "y": [float(self.y[0]), float(self.y[-1]), len(self.y)],
        }

    def surface(self, values: Array) -> Surface:
        """The record, from one row of loss and metrics per task."""
        plane, runs = self.plane, self.runs
        anchors, true, projected, grid = np.split(values, np.cumsum([kind.count for kind in self.kinds])[:-1])
        shape = (len(self.y), len(self.x))
        names = list(plane.anchors)
        return Surface(
            x=self.x,
            y=self.y,
            loss=grid[:, 0].reshape(shape),
            metrics={
                name: grid[:, column].reshape(shape) for column, name in enumerate(self.objective.metrics, start=1)
            },
            plane=plane.kind,
            axes=np.array(plane.axes),
            axis_sources=np.array(plane.axis_sources),
            unit=plane.unit,
            explained_variance=np.asarray(plane.explained_variance, float),
            explained_variance_null=np.asarray(plane.explained_variance_null, float),
            curvature=np.asarray(plane.curvature, float),
            anchor_names=np.array(names, dtype=str),
            anchor_coordinates=np.array([plane.anchors[name] for name in names], float).reshape(-1, 2),
            anchor_loss=anchors[:, 0],
            path_names=np.array(_labels(runs), dtype=str),
            path_run=np.repeat(np.arange(len(runs)), [len(run) for run in runs]).astype(np.int64),
            path_step=np.concatenate([np.zeros(0), *(run.steps for run in runs)]).astype(np.int64),
            path_coordinates=self.coordinates,
            path_loss=true[:, 0],
            path_projected_loss=projected[:, 0],
            path_recorded_loss=np.concatenate([np.zeros(0), *(run.losses for run in runs)]).astype(float),
            path_distance=self.distances,
            n=plane.n,
            parameters=plane.parameters,
            batchnorm="eval" if plane.buffers else "none",
            theta_sha256=self._origin_digest(),
            evaluations=self.total,
        )

    def _at(self, x: float, y: float) -> list[float]:
        """Loss and metrics at coordinates of the plane."""
        return self.fast.evaluate(self._theta(x, y), self._buffers)

    def _theta(self, x: float, y: float) -> Tensor:
        """As Plane.point, on the device of the objective, in its precision."""
        first, second = self._directions
        theta = self._origin.double() + float(x) * first.double() + float(y) * second.double()
        return theta.to(self._origin.dtype).to(self.objective.dtype)

    def _anchor(self, number: int) -> list[float]:
        name = list(self.plane.anchors)[number]
        point = self.plane.anchor_points.get(name)
        if point is None:
            return self._faithful.evaluate(self._theta(*self.plane.anchors[name]), self._buffers)
        return self._true(point)

    def _checkpoint(self, number: int) -> list[float]:
        run, index = self.checkpoints[number]
        return self._true(run[index])

    def _true(self, point: Any) -> list[float]:
        """Loss and metrics at a point itself, with its own buffers."""
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
        return self._faithful.evaluate(theta, own)

    def _agree_on_arithmetic(self) -> None:
        """Merge micro-batches only where that is found to be right, and on all ranks alike (collective)."""
        world = self.objective.grid.world
        corner = self._theta(self.x[0], self.y[0])
        merged = self.fast.check(self._theta(0.0, 0.0)) and self.fast.check(corner)
        found = world.all_gather_object((merged, self.fast.separated, self.fast.layout))
        layouts = {layout for _, _, layout in found}
        names = set().union(*(separated for _, separated, _ in found))
        self.fast.separate(names, all(one for one, _, _ in found) and len(layouts) == 1)

    def _origin_digest(self) -> str:
        """Digest of the origin with its buffers, as an objective there would give."""
        there = self.objective.on(self.objective.grid.alone())
        return str(there.at(self._theta(0.0, 0.0), self._buffers)._digest())


def _evaluated(
    points: _Points, state: RunState | None, checkpoint_seconds: float, progress: Progress | None
) -> tuple[Array, int]:
    """One row of loss and metrics per task, and how many were read from disk (collective)."""
    world = points.objective.grid.world
    values = np.full((points.total, 1 + len(points.objective.metrics)), np.nan)
    done = np.zeros(points.total, bool)
    if state is not None and world.rank == 0:
        for arrays, _ in state.segments():
            values[arrays["task"]] = arrays["values"]
            done[arrays["task"]] = True
    done = world.broadcast_object(done)
    resumed, fresh, last = int(done.sum()), list[int](), time.monotonic()
    lowest = math.inf

    def save() -> None:
        nonlocal last
        if state is not None and fresh:
            state.append({"task": np.array(fresh), "values": values[fresh]}, {"steps": int(done.sum())})
        fresh.clear()
        last = time.monotonic()

    def finished(task: int, found: list[float]) -> None:
        nonlocal lowest
        values[task], done[task] = found, True
        fresh.append(task)
        lowest = min(lowest, found[0]) if math.isfinite(found[0]) else lowest
        if time.monotonic() - last >= checkpoint_seconds:
            save()
        if progress is not None:
            progress(int(done.sum()), points.total, f"lowest {lowest:.4g}" if math.isfinite(lowest) else "")

    share_tasks(np.flatnonzero(~done).tolist(), points.evaluate, world, finished)
    save()
    values = world.broadcast_object(values)
    return values, resumed


def _grid(
    plane: Plane,
    projections: list[tuple[Array, Array]],
    resolution: int | tuple[int, int],
    margin: float,
    extent: Extent | None,
) -> tuple[Array, Array]:
    """Coordinates of the grid lines."""
    numbers = _numbers(resolution)
    x_min, x_max, y_min, y_max = plane.extent
    if extent is not None:
        x_min, x_max, y_min, y_max = extent
        margin = 0.0
    else:
        seen = np.concatenate([found[np.isfinite(found).all(1)] for found, _ in projections] or [np.zeros((0, 2))])
        if len(seen):
            x_min, x_max = min(x_min, seen[:, 0].min()), max(x_max, seen[:, 0].max())
            y_min, y_max = min(y_min, seen[:, 1].min()), max(y_max, seen[:, 1].max())
    width, height = margin * (x_max - x_min), margin * (y_max - y_min)
    return (
        np.linspace(x_min - width, x_max + width, numbers[0]),
        np.linspace(y_min - height, y_max + height, numbers[1]),
    )


def _numbers(resolution: int | tuple[int, int]) -> tuple[int, ...]:
    return tuple(resolution) if isinstance(resolution, Sequence) else (resolution, resolution)


def _same_on_all_ranks(plane: Plane, world: Collectives) -> Plane:
    """The plane of rank 0 (collective); the points of its anchors come from files and stay."""
    if world.size == 1:
        return plane
    small = {
        name: getattr(plane, name)
        for name in (
            "axes",
            "axis_sources",
            "kind",
            "unit",
            "explained_variance",
            "explained_variance_null",
            "curvature",
            "anchors",
            "extent",
        )
    }
    shared = world.broadcast_object({**small, "dtype": plane.origin.dtype, "buffers": dict(plane.buffers)})
    dtype = shared.pop("dtype")
    return dataclasses.replace(
        plane, origin=_shared(plane.origin, dtype, world), directions=_shared(plane.directions, dtype, world), **shared
    )


def _shared(values: NDArray[Any], dtype: Any, world: Collectives) -> NDArray[Any]:
    tensor = torch.from_numpy(np.array(values, dtype, order="C"))
    world.broadcast(tensor)
    return np.asarray(tensor.numpy())


def _several(runs: Any) -> tuple[Trajectory, ...]:
    return (runs,) if hasattr(runs, "blocks") else tuple(runs)


def _labels(runs: Sequence[Trajectory]) -> list[str]:
    """The runs' names, numbered where they are the same."""
    names = [run.name for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} {names[: number + 1].count(name)}"
        for number, name in enumerate(names)
    ]


def _check(
    objective: Objective, plane: Plane, resolution: int | tuple[int, int], margin: float, extent: Extent | None
) -> None:
    if not isinstance(objective, Objective):
        raise InputError(f"loss_surface needs a landscape.Objective, not {type(objective).__name__}")
    if not isinstance(plane, Plane):
        raise InputError(f"loss_surface needs a landscape.Plane, such as Plane.pca(run), not {type(plane).__name__}")
    numbers = _numbers(resolution)
    if len(numbers) != 2 or any(int(number) != number or number < 2 for number in numbers):
        raise InputError(
            f"resolution must be at least 2 along each axis, not {resolution}; the loss at one point is "
            "objective.at(plane.point(x, y)).loss()"
        )
    if not (math.isfinite(margin) and margin >= 0):
        raise InputError(f"margin must be finite and not negative, not {margin}")
    if extent is not None:
        corners = tuple(extent)
        ordered = len(corners) == 4 and corners[0] < corners[1] and corners[2] < corners[3]
        if not (ordered and all(map(math.isfinite, corners))):
            raise InputError(f"extent must be (x_min, x_max, y_min, y_max), not {extent}")
