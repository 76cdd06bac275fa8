"""Loss and metrics along a line, with a band for the choice of the data."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape._arguments import check_whole
from landscape._data_parts import PartLosses
from landscape._points import PlaneValues
from landscape._quadratic import Eigenvalues, known_eigenvalues, quadratic
from landscape._ranks import refused_together
from landscape._rounds import Progress, computed
from landscape.errors import InputError
from landscape.geometry import Plane
from landscape.geometry.construction import DISTANCE
from landscape.geometry.layout import layout_of
from landscape.geometry.points import buffers_of, direction_of, vector_of
from landscape.geometry.products import norm
from landscape.objective import Objective
from landscape.records import Profile
from landscape.store import RunState
from landscape.surface import DEFAULT_MARGIN, aligned_with, check_memory, same_on_all_ranks

Array = NDArray[np.float64]

DEFAULT_POINTS = 51  # odd: a symmetric line then has a point at its origin
# Student's quantile is near its limit, and the spread of so many losses is known to a tenth.
DEFAULT_SUBSAMPLES = 50
# Of a length: an anchor that is so near to the line lies on it.
NEAR = 1e-6


def loss_profile(
    objective: Objective,
    direction: Any,
    *,
    axis: int = 1,
    points: int = DEFAULT_POINTS,
    extent: tuple[float, float] | None = None,
    subsamples: int = DEFAULT_SUBSAMPLES,
    seed: int = 0,
    name: str = "direction",
    source: str = "given by the user",
    test: Objective | None = None,
    quantities: Sequence[str] = (),
    batchnorm: str = "eval",
    derivatives: bool = True,
    state: RunState | str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    progress: Progress | None = None,
) -> Profile:
    """Loss and metrics of an objective along a line (collective).

    One pass over the data per point gives the loss, and that of each of ``subsamples`` random parts of the data, from
    whose spread :meth:`Profile.band` makes the interval in which the mean over all data of this kind is, at each point
    by itself (Student).

    Parameters
    ----------
    objective : Objective
    direction : Plane, (n,) vector, or dict of arrays by parameter
        A plane (``ls.Plane.eigenvectors(pairs)``, ``ls.Plane.random(objective)`` …) gives one of its axes with what is
        known about it, and the origin; any other direction is scaled to length 1 and starts at the objective's theta.
    axis : 1 or 2
        Which axis of a plane.
    points : int
        At least 2, evenly spaced.
    extent : (s_min, s_max), optional
        Default: the plane's, or a quarter beyond named points on the line; for a vector, from minus its length to its
        length.
    subsamples : int
        Parts of the data, at least 2, at most the samples. If the losses of single samples cannot be seen, the parts
        are the micro-batches, whatever their number.
    seed : int
        Of the random parts.
    name, source : str
        Of a direction that is no plane.
    test, quantities, batchnorm
        As for :func:`~landscape.loss_surface`.
    derivatives : bool
        Compute slope and curvature at s = 0 (one gradient and one Hessian product; an eigenvalue of this objective's
        Hessian is known).
    state, checkpoint_seconds, progress
        As for :func:`~landscape.loss_surface`.

    Returns
    -------
    Profile
        The same on every rank, and bitwise the same losses for every number of ranks.

    Raises
    ------
    InputError
        If an argument is out of range, the direction or the test objective is of another model, or ``state`` belongs to
        another run.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> line = ls.loss_profile(objective, [1.0, 0.0, 0.0], points=5)
    >>> bool(abs(line.model - line.loss).max() < 1e-5)
    True
    """
    _check(objective, axis, points, extent, subsamples)
    check_whole("seed", seed, 0)
    objective.grid.meet("loss_profile")
    started = time.monotonic()
    world = objective.grid.world
    found: list[Plane] = []
    refused_together(lambda: found.append(_plane(objective, direction, name, source)), world)
    plane, side = same_on_all_ranks(found[0], world), axis - 1
    anchors = _anchors(plane, side)
    low, high = _extent(plane, side, anchors) if extent is None else extent
    corner = (float(low), 0.0) if side == 0 else (0.0, float(low))
    values = PlaneValues(objective, plane, corner, quantities, test, batchnorm)
    parts = PartLosses(objective, values.fast, subsamples, seed, values.batchnorm != "batch")
    width = values.width + len(parts.weights)
    check_memory(points + len(anchors), width, f"a line of {points} points", lambda most: f"{most} points", world)
    s = np.linspace(low, high, points)
    places = np.concatenate([s, list(anchors.values())])
    configuration = {
        **values.describe(),
        "axis": axis,
        "s": [float(low), float(high), points],
        "subsamples": len(parts.weights),
        "seed": seed,
        "derivatives": derivatives,
    }
    state = RunState.of(state, configuration)

    def evaluate(task: int) -> list[float]:
        x, y = (places[task], 0.0) if side == 0 else (0.0, places[task])
        return values.at_with_parts(float(x), float(y), parts)

    rows, _, resumed = computed(
        evaluate,
        lambda _, known: np.flatnonzero(~known),
        (len(places), width),
        world,
        state,
        checkpoint_seconds,
        progress,
    )
    slope, curvature = _derivatives(values, side) if derivatives and values.batchnorm != "batch" else (math.nan,) * 2
    return Profile(
        s=s,
        loss=rows[:points, 0].copy(),
        metrics={column: rows[:points, 1 + place].copy() for place, column in enumerate(values.columns)},
        samples=rows[:points, values.width :].T.copy(),
        sample_weights=parts.weights,
        axis=str(plane.axes[side]),
        axis_source=str(plane.axis_sources[side]),
        unit=plane.unit,
        slope=slope,
        curvature=curvature,
        anchor_names=np.array(list(anchors), dtype=str),
        anchor_s=np.array(list(anchors.values()), float),
        anchor_loss=rows[points:, 0].copy(),
        n=plane.n,
        parameters=plane.parameters,
        batchnorm=values.batchnorm,
        theta_sha256=values.origin_digest(),
        evaluations=len(places),
        seconds=time.monotonic() - started,
        provenance={
            "configuration": configuration,
            "grid": objective.grid.describe(),
            "resumed_points": resumed,
            "parts": parts.kind,
        },
    )


def _plane(objective: Objective, direction: Any, name: str, source: str) -> Plane:
    """A plane of which one axis is the line."""
    if isinstance(direction, Plane):
        return aligned_with(objective, direction)
    theta = vector_of(objective)
    layout = layout_of(objective, len(theta))
    vector = direction_of(direction, layout, name)
    length = norm(vector)
    if length == 0:
        raise InputError(f"the direction {name} is zero")
    return Plane(
        theta,
        np.stack([vector / length, np.zeros(len(theta))]),
        axes=(name, ""),
        axis_sources=(source, ""),
        names=layout.names,
        shapes=layout.shapes,
        buffers=buffers_of(objective),
        unit=DISTANCE,
        extent=(-length, length, -1.0, 1.0),
    )


def _anchors(plane: Plane, side: int) -> dict[str, float]:
    """Points of the plane that lie on the line, the origin among them."""
    across = max(abs(edge) for edge in plane.extent)
    there = {label: place for label, place in plane.anchors.items() if abs(place[1 - side]) <= NEAR * across}
    found = {label: float(place[side]) for label, place in there.items()}
    return found if 0.0 in found.values() else {"origin": 0.0, **found}


def _extent(plane: Plane, side: int, anchors: dict[str, float]) -> tuple[float, float]:
    """What is worth looking at: from one named point to another, with a margin, or the plane's."""
    low, high = min(anchors.values()), max(anchors.values())
    if low == high:
        return plane.extent[2 * side], plane.extent[2 * side + 1]
    return low - DEFAULT_MARGIN * (high - low), high + DEFAULT_MARGIN * (high - low)


def _derivatives(values: PlaneValues, side: int) -> tuple[float, float]:
    plane, which = values.plane, slice(side, side + 1)
    both = known_eigenvalues(plane, values.objective, values.batchnorm)
    known = None if both is None else Eigenvalues(both.values[which], both.loss)
    found = quadratic(values.origin(), np.asarray(plane.directions[which], float), known)
    return (math.nan, math.nan) if found is None else (float(found.slope[0]), float(found.curvature[0, 0]))


def _check(objective: Objective, axis: int, points: int, extent: tuple[float, float] | None, subsamples: int) -> None:
    if not isinstance(objective, Objective):
        raise InputError(f"loss_profile needs a landscape.Objective, not {type(objective).__name__}")
    if axis not in (1, 2):
        raise InputError(f"axis must be 1 or 2, the first or the second direction of a plane, not {axis!r}")
    check_whole("points", points, 2)
    check_whole("subsamples", subsamples, 2)
    if extent is not None:
        ends = tuple(extent)
        if len(ends) != 2 or not all(map(math.isfinite, ends)) or ends[0] >= ends[1]:
            raise InputError(f"extent must be (s_min, s_max), ascending and finite, not {extent}")
