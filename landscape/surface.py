"""Loss and metrics on a grid of a plane, at the checkpoints that are drawn on it, and at their projections."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from landscape._capacity import host_bytes, in_words
from landscape._path_facts import stability_thresholds, step_cosines
from landscape._points import PlaneValues, Points
from landscape._quadratic import Quadratic, known_eigenvalues, quadratic
from landscape._ranks import refused_together
from landscape._refinement import Refinement
from landscape._rounds import computed
from landscape.errors import InputError
from landscape.geometry import Plane
from landscape.geometry.layout import layout_of
from landscape.objective import Objective
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
# Copies of all values of a grid that are in memory at a time, and the share of the memory that they may take.
COPIES = 8
SHARE = 0.5
# Planes along which the curvature is known, or cheap to know, and worth a quadratic model.
MODELLED = ("eigenvectors", "gradient")


def loss_surface(
    objective: Objective,
    plane: Plane,
    *,
    resolution: int | tuple[int, int] = DEFAULT_RESOLUTION,
    margin: float = DEFAULT_MARGIN,
    extent: Extent | None = None,
    runs: Trajectory | Sequence[Trajectory] | None = None,
    quantities: Sequence[str] = (),
    test: Objective | None = None,
    batchnorm: str = "eval",
    model: bool | None = None,
    adaptive: bool = False,
    state: RunState | str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    progress: Progress | None = None,
) -> Surface:
    """Loss and metrics of an objective on a plane (collective).

    Every point is evaluated over all data by one rank; whichever is free takes the next one. Grid and projections use
    the batch-norm statistics that ``batchnorm`` says, checkpoints their own: the *true* loss of a checkpoint, which is
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
    quantities : sequence of "gradient_norm", "lambda_max"
        What else is computed at every grid point, into ``metrics``: the norm of the gradient, for about three times the
        price; the largest eigenvalue of the Hessian, with ``lambda_max_residual``, for some fifty times the price.
        Both take batch-norm statistics for constants.
    test : Objective, optional
        The same model with other data: its loss and metrics on the grid become "test_loss", "test_accuracy" and so on.
    batchnorm : "eval", "recompute" or "batch"
        Statistics on the grid and at projections. eval: those of the plane's origin. recompute: mean and variance, at
        each point, of what enters each layer over all data of the objective, layer after layer, as if the data were one
        batch; with ``test`` these, too. batch: those of each micro-batch, in which the loss depends on its size.
    model : bool, optional
        Whether to compare the surface with its quadratic model at the origin, from the gradient and the curvature: the
        eigenvalues of a plane of eigenvectors, if they are those of this objective's Hessian, or two Hessian products.
        Default: for planes of eigenvectors and of the gradient.
    adaptive : bool
        Compute only the points that the picture needs, and interpolate the others, so that what a figure displays (the
        logarithm where the loss spans more than a factor of 20, up to the 95th percentile) is estimated to be within
        1 % of its range; what is narrower than the computed points are apart may be missed. Which are computed is in
        ``evaluated``, the estimated error in ``loss_error``; metrics and quantities are interpolated between the same
        points, without an estimate. Smooth surfaces need a tenth of a grid of 101 × 101
        (``tools/bench surface``); around a jump every point is computed, of a surface that oscillates all may be.
    state : path, optional
        Folder for the points of the unfinished surface; an existing one is continued.
    checkpoint_seconds : float
        Time between two checkpoints to ``state``.
    progress : callable, optional
        ``progress(done, total, text)`` after each point, on rank 0; an adaptive surface learns of its total in rounds.

    Returns
    -------
    Surface
        The same on every rank, and bitwise the same losses for every number of ranks. A point where the loss is NaN or
        infinite is a hole.

    Raises
    ------
    InputError
        If an argument is out of range, the plane, a run or the test objective is of another model, the grid does not
        fit into memory, or ``state`` belongs to another run.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> surface = ls.loss_surface(objective, ls.Plane.random(objective), resolution=5, quantities=["gradient_norm"])
    >>> surface.loss.shape, abs(float(surface.loss[2, 2]) - objective.loss()) < 1e-6
    ((5, 5), True)
    """
    _check(objective, plane, resolution, margin, extent)
    objective.grid.meet("loss_surface")
    started = time.monotonic()
    several = _several(plane.runs if runs is None else runs)
    world = objective.grid.world
    aligned: list[Plane] = []
    projections: list[tuple[Array, Array]] = []
    cosines: list[Array] = []

    def prepare() -> None:
        aligned.append(aligned_with(objective, plane))
        if objective.grid.rank == 0:
            projections.extend(aligned[0].project(run) for run in several)
            cosines.extend(step_cosines(run) for run in several)

    refused_together(prepare, world)
    # The bits of rank 0: ranks may have computed the plane on different processors.
    common = same_on_all_ranks(aligned[0], world)
    projections, cosines, corners = world.broadcast_object(
        (projections, cosines, _corners(common, projections, margin, extent))
    )
    values = PlaneValues(objective, common, (corners[0], corners[2]), quantities, test, batchnorm)
    nx, ny = _numbers(resolution)
    check_memory(nx * ny, values.width, f"a grid of {nx} × {ny} points", _square, world)
    x_min, x_max, y_min, y_max = corners
    x, y = world.broadcast_object((np.linspace(x_min, x_max, nx), np.linspace(y_min, y_max, ny)))
    points = Points(values, several, projections, x, y)
    modelled = common.kind in MODELLED and values.batchnorm != "batch" if model is None else model
    configuration = {**points.describe(), "adaptive": adaptive, "model": modelled}
    state = RunState.of(state, configuration)
    plan = Refinement(len(x), len(y)) if adaptive else None
    shape = points.total, values.width
    following = _following(points, plan)
    rows, known, resumed = computed(points.evaluate, following, shape, world, state, checkpoint_seconds, progress)
    surface = _record(points, plan, rows, known)
    described = _model(values) if modelled else None
    return dataclasses.replace(
        surface,
        model=np.zeros((0, 0)) if described is None else described.on(x, y),
        curvature=_curvature(values, described),
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
            "forward_passes_per_point": values.fast.passes,
            "memory_layout": values.fast.layout,
            **({} if described is None else {"model": described.facts()}),
        },
    )


def aligned_with(objective: Objective, plane: Plane) -> Plane:
    """The plane in the objective's order of parameters.

    Raises
    ------
    InputError
        If it is of another model.
    """
    aligned = plane.aligned(layout_of(objective, objective.n))
    for name, value in aligned.buffers.items():
        if name in objective.buffers and value.shape != tuple(objective.buffers[name].shape):
            raise InputError(
                f"buffer {name!r} has shape {value.shape} in the plane, but {tuple(objective.buffers[name].shape)} "
                "in the objective"
            )
    return aligned


def _following(points: Points, plan: Refinement | None) -> Callable[[Array, NDArray[np.bool_]], NDArray[np.int64]]:
    """What each round computes: everything, or what the picture still needs."""
    shape = len(points.y), len(points.x)

    def following(values: Array, known: NDArray[np.bool_]) -> NDArray[np.int64]:
        if plan is None:
            return np.flatnonzero(~known)
        beside, grid = known[: points.beside], known[points.beside :].reshape(shape)
        wanted = plan.wanted(values[points.beside :, 0].reshape(shape), grid)
        return np.flatnonzero(np.concatenate([~beside, wanted.reshape(-1)]))

    return following


def _record(points: Points, plan: Refinement | None, values: Array, known: NDArray[np.bool_]) -> Surface:
    """The record, from one row per task."""
    plane, runs = points.plane, points.runs
    anchors, true, projected, grid = points.split(values)
    shape = (len(points.y), len(points.x))
    evaluated = known[points.beside :].reshape(shape)
    loss, metrics, error = grid[:, 0].reshape(shape), grid[:, 1:].reshape(*shape, -1), np.zeros(shape)
    if plan is not None:
        picture = plan.picture(loss, evaluated)
        loss, error = picture.values, picture.value_error
        between = [plan.between(metrics[..., column], evaluated) for column in range(metrics.shape[2])]
        metrics = np.stack(between, 2) if between else metrics
    names = list(plane.anchors)
    return Surface(
        x=points.x,
        y=points.y,
        loss=loss,
        metrics={name: metrics[..., column].copy() for column, name in enumerate(points.values.columns)},
        evaluated=evaluated,
        loss_error=error,
        plane=plane.kind,
        axes=np.array(plane.axes),
        axis_sources=np.array(plane.axis_sources),
        unit=plane.unit,
        explained_variance=np.asarray(plane.explained_variance, float),
        explained_variance_null=np.asarray(plane.explained_variance_null, float),
        anchor_names=np.array(names, dtype=str),
        anchor_coordinates=np.array([plane.anchors[name] for name in names], float).reshape(-1, 2),
        anchor_loss=anchors[:, 0],
        path_names=np.array(_labels(runs), dtype=str),
        path_run=np.repeat(np.arange(len(runs)), [len(run) for run in runs]).astype(np.int64),
        path_step=np.concatenate([np.zeros(0), *(run.steps for run in runs)]).astype(np.int64),
        path_coordinates=points.coordinates,
        path_loss=true[:, 0],
        path_projected_loss=projected[:, 0],
        path_recorded_loss=np.concatenate([np.zeros(0), *(run.losses for run in runs)]).astype(float),
        path_distance=points.distances,
        n=plane.n,
        parameters=plane.parameters,
        batchnorm=points.values.batchnorm,
        theta_sha256=points.values.origin_digest(),
        evaluations=int(known.sum()),
    )


def _model(values: PlaneValues) -> Quadratic | None:
    """The quadratic model at the origin (collective)."""
    if values.batchnorm == "batch":
        raise InputError("a quadratic model needs batchnorm='eval' or 'recompute': with 'batch' there is no gradient")
    known = known_eigenvalues(values.plane, values.objective, values.batchnorm)
    return quadratic(values.origin(), np.asarray(values.plane.directions, float), known)


def _curvature(values: PlaneValues, described: Quadratic | None) -> Array:
    """Along the axes: that of the model, or what is known of the plane, unless it is known of another function."""
    plane = values.plane
    if plane.kind == "eigenvectors" and described is not None:
        return np.diag(described.curvature).copy()
    if plane.kind == "eigenvectors" and known_eigenvalues(plane, values.objective, values.batchnorm) is None:
        return np.full(2, np.nan)
    return np.asarray(plane.curvature, float)


def check_memory(points: int, width: int, what: str, most: Callable[[int], str], world: Collectives) -> None:
    """Refuse points whose values do not fit into the memory of one of the ranks, before there are any (collective).

    Parameters
    ----------
    points, width : int
        How many, and numbers at each of them.
    what : str
        What they are.
    most : callable
        So many points in words, for the advice.
    world : Collectives
    """
    there = SHARE * min(world.all_gather_object(host_bytes()))
    each = width * 8 * COPIES
    if points * each > there:
        raise InputError(
            f"{what} with {width} number{'s' if width > 1 else ''} at each of them takes about "
            f"{in_words(points * each)}, but {in_words(there)} of memory are for it; {most(int(there / each))} would "
            "fit"
        )


def _square(points: int) -> str:
    side = max(2, math.isqrt(points))
    return f"{side} × {side}"


def _corners(
    plane: Plane, projections: list[tuple[Array, Array]], margin: float, extent: Extent | None
) -> tuple[float, float, float, float]:
    """Coordinates of the outermost grid lines."""
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
    return float(x_min - width), float(x_max + width), float(y_min - height), float(y_max + height)


def _numbers(resolution: int | tuple[int, int]) -> tuple[int, int]:
    """Grid points along the axes."""
    numbers = tuple(resolution) if isinstance(resolution, Sequence) else (resolution, resolution)
    # The remainder of what is not finite is NaN.
    if len(numbers) != 2 or any(number < 2 or number % 1 != 0 for number in numbers):
        raise InputError(
            f"resolution must be at least 2 along each axis, not {resolution}; the loss at one point is "
            "objective.at(plane.point(x, y)).loss()"
        )
    return int(numbers[0]), int(numbers[1])


def same_on_all_ranks(plane: Plane, world: Collectives) -> Plane:
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
            "curvature_of",
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
    _numbers(resolution)
    if not (math.isfinite(margin) and margin >= 0):
        raise InputError(f"margin must be finite and not negative, not {margin}")
    if extent is not None:
        corners = tuple(extent)
        ordered = len(corners) == 4 and corners[0] < corners[1] and corners[2] < corners[3]
        if not (ordered and all(map(math.isfinite, corners))):
            raise InputError(f"extent must be (x_min, x_max, y_min, y_max), not {extent}")
