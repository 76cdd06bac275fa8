"""Barriers between all pairs of several minima."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from landscape._arguments import check_whole
from landscape._chains import Parts, Progress, in_chains
from landscape._data_parts import PartLosses
from landscape._evaluation import Evaluator
from landscape._path_places import PathPlaces, missing_statistics, need_statistics
from landscape._path_rows import PathRows
from landscape._point_values import PointValues
from landscape._ranks import common_point, refused_together
from landscape.errors import InputError
from landscape.geometry.layout import layout_of
from landscape.geometry.path import LinearPath, Path
from landscape.geometry.points import buffers_of, last_of, vector_of
from landscape.geometry.products import norm
from landscape.interpolation import check_batchnorm, curve_of, positions
from landscape.objective import Objective
from landscape.records import Checkpoint, Connectivity, PathProfile
from landscape.store import RunState

Array = NDArray[np.float64]

DEFAULT_POINTS = 11  # a barrier of two trained networks is one wide hill
DEFAULT_SUBSAMPLES = 50  # as for a profile
PATHS = ("linear", "bezier")
ALIGNMENTS = ("weights", "activations")


def connectivity(
    objective: Objective,
    minima: Mapping[str, Any] | Sequence[Any],
    *,
    path: str = "linear",
    align: str | Literal[False] | None = None,
    restarts: int = 1,
    epochs: int | None = None,
    points: int = DEFAULT_POINTS,
    batchnorm: str = "eval",
    subsamples: int = DEFAULT_SUBSAMPLES,
    seed: int = 0,
    state: RunState | str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Connectivity:
    """Barriers, distances and distances between outputs of all pairs of several minima (collective).

    Every pair is the work of one rank: alignment, path and the points on it.

    Parameters
    ----------
    objective : Objective
        Its own theta plays no role, its data and frozen parameters do.
    minima : dict of points by name, or sequence of points
        Checkpoints, objectives, runs (their last checkpoint) or vectors ``(n,)``, at least two; those of a sequence are
        called "1", "2" and so on.
    path : "linear" or "bezier"
        The straight way, or a quadratic Bezier curve that is fitted to low loss with the defaults of
        ``ls.BezierPath.fit``.
    align : "weights" or "activations", optional
        Permute the second of each pair to match the first, as ``ls.align`` does. None or False: leave all as they are.
        Every pair is aligned by itself, so that ways over a third minimum are not of one order of neurons.
    restarts : int
        Descents of every alignment, as for ``ls.align``.
    epochs : int, optional
        Passes over the data for every curve; default: those of ``ls.BezierPath.fit``.
    points : int
        Of each way, both ends included, evenly spaced by arc length; at least 3.
    batchnorm : "eval" or "recompute"
        As for :func:`~landscape.interpolate`.
    subsamples : int
        Random parts of the data, for the errors of the barriers.
    seed : int
        Of the random parts, the alignment and the fit.
    state : path, optional
        Folder for what is finished of an unfinished run; an existing one is continued, with the same bits.
    progress : callable, optional
        ``progress(done, total, "")`` with the number of minima and pairs, on rank 0.

    Returns
    -------
    Connectivity
        The same on every rank, and bitwise the same for every number of ranks.

    Raises
    ------
    InputError
        If an argument is out of range, a minimum is of another model or lacks the batch-norm statistics that are
        needed, two of them are the same point, or ``state`` belongs to another run.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> found = connectivity(objective, {"a": torch.zeros(3), "b": torch.ones(3), "c": torch.tensor([0.0, 1, 2])})
    >>> float(found.barriers.max()), found.distances[0].round(3).tolist()
    (0.0, [0.0, 1.732, 2.236])
    """
    align = align or None
    _check(objective, minima, path, align)
    check_whole("points", points, 3)
    for name, value, least in (("subsamples", subsamples, 2), ("seed", seed, 0), ("restarts", restarts, 1)):
        check_whole(name, value, least)
    if epochs is not None:
        check_whole("epochs", epochs, 1)
    check_batchnorm(batchnorm)
    objective.grid.meet("connectivity")
    started, world = time.monotonic(), objective.grid.world
    found: list[dict[str, Checkpoint]] = []
    refused_together(lambda: found.append(_checkpoints(objective, minima, batchnorm)), world)
    checkpoints = {name: _of_first_rank(point, objective) for name, point in found[0].items()}
    refused_together(lambda: _check_different(checkpoints), world)
    names, ends = list(checkpoints), list(checkpoints.values())
    objective = objective.at(torch.from_numpy(np.array(ends[0].theta)), _buffers(objective, ends[0]))
    values = PointValues(objective, (), None, batchnorm)
    values.agree_on_arithmetic(*(torch.from_numpy(np.array(end.theta)).to(objective.theta) for end in ends[:2]))
    parts = PartLosses(objective, values.fast, subsamples, seed, by_sample=True)
    ways = _Ways(values, parts, path, align, restarts, epochs, points, seed)
    configuration = {
        **values.describe(),
        "minima": {name: _digest(objective, end) for name, end in checkpoints.items()},
        "path": path,
        "align": align or "",
        **({"restarts": restarts} if align else {}),
        **({"epochs": epochs} if epochs is not None and path == "bezier" else {}),
        "points": points,
        "subsamples": len(parts.weights),
        "seed": seed,
    }
    pairs = [(i, j) for i in range(len(ends)) for j in range(i + 1, len(ends))]
    faithful = Evaluator(objective, merged=False)

    def compute(item: tuple[int, ...], carried: Any) -> tuple[Parts, Any]:
        if len(item) == 1:
            return ({"true": np.array(values.true(faithful, ends[item[0]]))}, {}), None
        i, j = item
        return ways.between(names[i], ends[i], names[j], ends[j]), None

    # Pairs first: they take longest.
    items: list[list[tuple[int, ...]]] = [[pair] for pair in pairs]
    items += [[(index,)] for index in range(len(ends))]
    state = RunState.of(state, configuration)
    results, resumed = in_chains(items, compute, objective.grid, state, progress, "part")
    each = [one for (one,) in results]
    true = np.stack([arrays["true"] for arrays, _ in each[len(pairs) :]])
    true[[bool(missing_statistics(objective, end)) for end in ends]] = np.nan
    return Connectivity(
        point_names=np.array(names),
        point_loss=true[:, 0].copy(),
        point_metrics={name: true[:, 1 + place].copy() for place, name in enumerate(values.columns)},
        **_matrices(len(ends), pairs, each[: len(pairs)]),
        s=positions(points),
        n=objective.n,
        path=path,
        alignment=align or "",
        batchnorm=values.batchnorm,
        evaluations=len(ends) + points * len(pairs),
        seconds=time.monotonic() - started,
        provenance={
            "configuration": configuration,
            "grid": objective.grid.describe(),
            "resumed_parts": resumed,
            "parts": parts.kind,
        },
    )


@dataclass(frozen=True)
class _Ways:
    """How two minima are joined, and what is computed on the way, by this rank alone."""

    values: PointValues
    parts: PartLosses
    path: str
    align: str | None
    restarts: int
    epochs: int | None
    points: int
    seed: int

    def between(self, first: str, a: Checkpoint, second: str, b: Checkpoint) -> Parts:
        """Barrier, distances and loss on the way from one to the other."""
        alone = self.values.objective.on(self.values.objective.grid.alone())
        if self.align is not None:
            from landscape.geometry.alignment import align

            b = align(alone, a, b, method=self.align, restarts=self.restarts, seed=self.seed)
        if np.array_equal(a.theta, b.theta):  # one is a permutation of the other: there is no way to go
            return self._nowhere(a)
        places = PathPlaces(alone, self._path(alone, a, b, (first, second)))
        rows, s = PathRows(self.values, self.parts, places, None), positions(self.points)
        found = np.array([rows.at(float(place)) for place in s] + [[np.nan] * rows.width] * 2)
        profile = PathProfile(**curve_of(rows, s, found))
        return {"loss": profile.loss}, {
            "barrier": profile.barrier,
            "barrier_stderr": profile.barrier_stderr,
            "distance": norm(b.theta.astype(float) - a.theta.astype(float)),
            "function_distance": float(profile.function_distances[-1, 0]),
        }

    def _nowhere(self, a: Checkpoint) -> Parts:
        theta = torch.from_numpy(np.array(a.theta)).to(self.values.objective.theta)
        loss = self.values.values(theta, self.values.statistics(theta, _buffers(self.values.objective, a)))[0]
        zeros = dict.fromkeys(("barrier", "barrier_stderr", "distance", "function_distance"), 0.0)
        return {"loss": np.full(self.points, loss)}, zeros

    def _path(self, alone: Objective, a: Checkpoint, b: Checkpoint, names: tuple[str, str]) -> Path:
        if self.path == "linear":
            return LinearPath(a, b, names=names)
        from landscape.geometry.bezier import BezierPath

        given: dict[str, Any] = {} if self.epochs is None else {"epochs": self.epochs}
        return BezierPath.fit(alone, a, b, names=names, seed=self.seed, **given)


def _matrices(count: int, pairs: Sequence[tuple[int, int]], found: Sequence[Parts]) -> dict[str, Array]:
    """Symmetric matrices of what was found for each pair, and the losses between."""
    fields = {
        "barriers": "barrier",
        "barrier_stderr": "barrier_stderr",
        "distances": "distance",
        "function_distances": "function_distance",
    }
    matrices = {name: np.zeros((count, count)) for name in fields}
    between = np.full((count, count, len(found[0][0]["loss"])), np.nan)
    for (i, j), (arrays, facts) in zip(pairs, found, strict=True):
        for name, fact in fields.items():
            matrices[name][i, j] = matrices[name][j, i] = facts[fact]
        between[i, j], between[j, i] = arrays["loss"], arrays["loss"][::-1]
        between[i, i], between[j, j] = arrays["loss"][0], arrays["loss"][-1]
    return {**matrices, "loss_between": between}


def _checkpoints(
    objective: Objective, minima: Mapping[str, Any] | Sequence[Any], batchnorm: str
) -> dict[str, Checkpoint]:
    """All minima in the objective's order of parameters."""
    given = minima if isinstance(minima, Mapping) else {str(place + 1): one for place, one in enumerate(minima)}
    layout = layout_of(objective, objective.n)
    found = {}
    for name, thing in given.items():
        point = last_of(thing)
        theta = vector_of(point)
        places = layout.places_of(layout_of(point, len(theta)), "the objective", f"minimum {name}")
        theta = theta if places is None else theta[places]
        found[str(name)] = Checkpoint(theta, buffers_of(point), layout.names, layout.shapes)
        if batchnorm == "eval":
            need_statistics(objective, found[str(name)], f"minimum {name}")
    return found


def _of_first_rank(point: Checkpoint, objective: Objective) -> Checkpoint:
    """The point of rank 0, if those of the others are the same but for rounding (collective)."""
    world = objective.grid.world
    theta = common_point(torch.from_numpy(np.array(point.theta)), world)
    buffers = dict(point.buffers) if world.size == 1 else world.broadcast_object(dict(point.buffers))
    return Checkpoint(theta.numpy(), buffers, point.names, point.shapes)


def _check_different(checkpoints: Mapping[str, Checkpoint]) -> None:
    seen: dict[bytes, str] = {}
    for name, point in checkpoints.items():
        earlier = seen.setdefault(point.theta.astype(float).tobytes(), name)
        if earlier != name:
            raise InputError(f"minima {earlier} and {name} are the same point: give each of them once")


def _buffers(objective: Objective, point: Checkpoint) -> dict[str, torch.Tensor]:
    known = objective.buffers
    return {name: torch.as_tensor(np.array(value)) for name, value in point.buffers.items() if name in known}


def _digest(objective: Objective, point: Checkpoint) -> str:
    alone = objective.on(objective.grid.alone())
    return str(alone.at(torch.from_numpy(np.array(point.theta)), _buffers(objective, point))._digest())


def _check(objective: Objective, minima: Mapping[str, Any] | Sequence[Any], path: str, align: str | None) -> None:
    if not isinstance(objective, Objective):
        raise InputError(f"connectivity needs a landscape.Objective, not {type(objective).__name__}")
    if not isinstance(minima, Mapping | Sequence) or isinstance(minima, str):
        raise InputError(f"minima must be several points, or a dict of them by name, not {type(minima).__name__}")
    if len(minima) < 2:
        raise InputError(f"connectivity compares at least two minima, not {len(minima)}")
    if path not in PATHS:
        raise InputError(f"path must be {' or '.join(PATHS)}, not {path!r}")
    if align is not None and align not in ALIGNMENTS:
        raise InputError(f"align must be {' or '.join(ALIGNMENTS)}, or None to leave it out, not {align!r}")
