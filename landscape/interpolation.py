"""Loss, derivatives and the whole spectrum along a path between two minima."""

from __future__ import annotations

import math
import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape._arguments import check_positive, check_whole
from landscape._data_parts import PartLosses
from landscape._evaluation import Evaluator
from landscape._path_places import PathPlaces, need_statistics, same_path_on_all_ranks
from landscape._path_rows import PathRows
from landscape._path_spectra import PathSpectra
from landscape._point_values import PointValues
from landscape._ranks import refused_together
from landscape._rounds import Progress, computed
from landscape.curvature import Hessian
from landscape.errors import InputError
from landscape.geometry.path import Path
from landscape.objective import Objective
from landscape.records import PathProfile
from landscape.records.densities import packed
from landscape.store import RunState
from landscape.surface import check_memory

Array = NDArray[np.float64]

DEFAULT_POINTS = 25  # odd: the middle of the path is among them
DEFAULT_PAIRS = 5
DEFAULT_SUBSAMPLES = 50  # as for a profile
# Points per chain: its first start is cold or from an end, so that a longer one saves products and a shorter one
# occupies more ranks. Part of the configuration, never a function of the number of ranks.
CHAIN = 8
MODES = ("eval", "recompute")


def interpolate(
    objective: Objective,
    path: Path,
    *,
    points: int = DEFAULT_POINTS,
    margin: float = 0.0,
    spectra: bool = False,
    pairs: int | None = None,
    tol: float = 0.05,
    pair_tol: float = 1e-3,
    batchnorm: str = "eval",
    test: Objective | None = None,
    derivatives: bool = True,
    subsamples: int = DEFAULT_SUBSAMPLES,
    seed: int = 0,
    chain: int = CHAIN,
    state: RunState | str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    progress: Progress | None = None,
) -> PathProfile:
    """Loss, derivatives and spectra of an objective along a path between two minima (collective).

    Every point is computed over all data by one rank. Losses and densities are tasks of their own, eigenpairs are found
    in chains of neighbouring points that begin at the ends: inside a chain the vectors of one point start the run at
    the next, and the product that checks the residuals is spent where a start is cold. One run finds both ends of the
    spectrum. Between two seeds of a small network, with 25 points and five pairs, a warm start takes three quarters of
    the products of a cold one, and less than half of those of two calls of :func:`~landscape.eigenpairs`
    (``tools/bench interpolation``). The probes of the densities are random, and the same ones at all points: what
    differs between points is not the probe.

    Parameters
    ----------
    objective : Objective
        Its own theta plays no role, its data and frozen parameters do.
    path : Path
        ``ls.LinearPath(a, b)`` and its kind, of the same model; the order of the parameters may differ.
    points : int
        From end to end, both included, evenly spaced by arc length; at least 2.
    margin : float
        How far to go on beyond both ends, in lengths of the path, with the same spacing.
    spectra : bool
        Compute the eigenvalue density at every point.
    pairs : int, optional
        How many of the largest eigenpairs, and with them the smallest one; 0: none. Default: 5 with spectra, else 0.
    tol, seed
        As for :func:`~landscape.spectral_density`; the seed is also that of the random parts of the data.
    pair_tol : float
        As ``tol`` of :func:`~landscape.eigenpairs`.
    batchnorm : "eval" or "recompute"
        Statistics at the points. eval: between those of the ends. recompute: mean and variance of the data there, layer
        after layer, as if the data were one batch; the loss with those between the ends becomes ``unrepaired_loss``.
        Derivatives and spectra treat statistics as constants.
    test : Objective, optional
        The same model with other data: its loss and metrics become "test_loss", "test_accuracy" and so on.
    derivatives : bool
        Compute the length of the gradient, and slope and curvature along the path: one gradient and one Hessian product
        at each point.
    subsamples : int
        Random parts of the data whose losses are kept, for the errors of loss and barrier; at least 2.
    chain : int
        Most points of a chain.
    state : path, optional
        Folder for what is finished of an unfinished profile; an existing one is continued, with the same bits.
    checkpoint_seconds : float
        Most time between two savings of losses; eigenpairs and densities are saved point by point.
    progress : callable, optional
        ``progress(done, total, text)``, on rank 0.

    Returns
    -------
    PathProfile
        The same on every rank, and bitwise the same for every number of ranks. Function distances are NaN if outputs
        are not seen, or take more than 1 GiB for both ends.

    Raises
    ------
    InputError
        If an argument is out of range, the path or the test objective is of another model, an end lacks the batch-norm
        statistics that are needed, the loss has no value where a spectrum is asked for, or ``state`` belongs to another
        run.
    ComputeError
        If a product is NaN.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> path = ls.LinearPath(torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]))
    >>> profile = interpolate(objective, path, points=5, pairs=1)
    >>> profile.barrier, profile.values[:, 0].round(3).tolist()
    (0.0, [3.0, 3.0, 3.0, 3.0, 3.0])
    """
    _check(objective, path, points, margin, batchnorm)
    for name, value, least in (("subsamples", subsamples, 2), ("seed", seed, 0), ("chain", chain, 1)):
        check_whole(name, value, least)
    check_positive("tol", tol)
    check_positive("pair_tol", pair_tol)
    k = (min(DEFAULT_PAIRS, objective.n) if spectra else 0) if pairs is None else pairs
    check_whole("pairs", k, 0)
    objective.grid.meet("interpolate")
    started, world = time.monotonic(), objective.grid.world
    places = placed(objective, same_path_on_all_ranks(path, world), batchnorm)
    objective = objective.at(places.theta(0.0), places.buffers(0.0))
    values = PointValues(objective, (), test, batchnorm)
    values.agree_on_arithmetic(*map(places.theta, (0.0, 0.5, 1.0)))
    parts = PartLosses(objective, values.fast, subsamples, seed, by_sample=True)
    hessian = Hessian(objective) if derivatives or spectra or k else None
    s = positions(points, margin)
    if hessian is not None:
        hessian.points = len(s) if spectra or k else 1
        hessian.prepare()  # once for all points, which the ranks then compute on their own
    rows = PathRows(values, parts, places, hessian if derivatives else None)
    check_memory(len(s) + 2, rows.width, f"a path of {len(s)} points", lambda most: f"{most} points", world)
    along = None
    if hessian is not None and (spectra or k):
        along = PathSpectra(
            hessian,
            s,
            rows.objective_at,
            places.tangent,
            pairs=k,
            pair_tol=pair_tol,
            tol=tol if spectra else None,
            seed=seed,
            chain=chain,
        )
    configuration = {
        **values.describe(),
        **places.path.describe(),
        "s": [float(s[0]), float(s[-1]), len(s)],
        "subsamples": len(parts.weights),
        "seed": seed,
        "derivatives": derivatives,
        **({"tol": tol} if spectra else {}),
        **({"pairs": k, "pair_tol": pair_tol, "chain": chain} if k else {}),
    }
    state = RunState.of(state, configuration)
    total = len(s) + 2 + (0 if along is None else along.total)
    found, resumed = evaluated(rows, s, state, checkpoint_seconds, _part_of(progress, 0, total))
    arrays: dict[str, Any] = {}
    densities: list[Any] = []
    if along is not None:
        _need_losses(s, found[: len(s), 0])
        arrays, densities, again = along.compute(state, _part_of(progress, len(s) + 2, total))
        resumed += again
    return PathProfile(
        **curve_of(rows, s, found),
        **arrays,
        **packed(densities),
        coordinates=places.path.coordinates(s),
        fit_loss=np.asarray(path.fit_loss, float),
        path=path.kind,
        path_source=path.source,
        alignment=path.alignment,
        end_names=np.array(path.names),
        length=path.length,
        distance=path.distance,
        seconds=time.monotonic() - started,
        provenance={
            "configuration": configuration,
            "grid": objective.grid.describe(),
            "resumed_points": resumed,
            "parts": parts.kind,
            "memory_layout": values.fast.layout,
            **({} if hessian is None else {"products": hessian.facts()}),
            **({"no_function_distances": rows.outputs_unknown} if rows.outputs_unknown else {}),
        },
    )


def placed(objective: Objective, path: Path, batchnorm: str) -> PathPlaces:
    """Where a path leads, if it is of the objective's model and has the statistics that are needed (collective).

    Raises
    ------
    InputError
    """
    found: list[PathPlaces] = []

    def place() -> None:
        found.append(PathPlaces(objective, path))
        if batchnorm == "eval":
            need_statistics(objective, found[0].ends[0], path.names[0])

    refused_together(place, objective.grid.world)
    return found[0]


def positions(points: int, margin: float = 0.0) -> Array:
    """Shares of the length of a path: so many from 0 to 1, and on beyond with the same spacing.

    Examples
    --------
    >>> positions(3, 0.5).tolist()
    [-0.5, 0.0, 0.5, 1.0, 1.5]
    """
    beyond = math.floor(margin * (points - 1) + 1e-9)
    return np.arange(-beyond, points + beyond) / (points - 1)


def evaluated(
    rows: PathRows, s: Array, state: RunState | None, checkpoint_seconds: float, progress: Progress | None
) -> tuple[Array, int]:
    """The rows of the points and, after them, of the ends themselves; and how many were read from disk (collective)."""
    faithful = Evaluator(rows.values.objective, merged=False)

    def evaluate(task: int) -> list[float]:
        return rows.at(float(s[task])) if task < len(s) else rows.end(faithful, task - len(s))

    found, _, resumed = computed(
        evaluate,
        lambda _, known: np.flatnonzero(~known),
        (len(s) + 2, rows.width),
        rows.values.objective.grid.world,
        state,
        checkpoint_seconds,
        progress,
    )
    return found, resumed


def curve_of(rows: PathRows, s: Array, found: Array) -> dict[str, Any]:
    """What the rows of :func:`evaluated` say, as fields of a record."""
    columns = rows.split(found[: len(s)])
    losses, derivatives = columns["values"], columns["derivatives"]
    named = dict(zip(("gradient_norms", "slopes", "curvatures"), derivatives.T, strict=False))
    return {
        "s": s,
        "loss": losses[:, 0].copy(),
        "metrics": {name: losses[:, 1 + place].copy() for place, name in enumerate(rows.values.columns)},
        "samples": columns["parts"].T.copy(),
        "sample_weights": rows.parts.weights,
        "n": rows.values.objective.n,
        "batchnorm": rows.values.batchnorm,
        "evaluations": len(found),
        "end_loss": found[len(s) :, 0].copy(),
        "distances": columns["distances"].copy(),
        "function_distances": columns["function_distances"].copy(),
        **{name: column.copy() for name, column in named.items()},
        **({"unrepaired_loss": columns["unrepaired_loss"][:, 0].copy()} if columns["unrepaired_loss"].size else {}),
    }


def _need_losses(s: Array, loss: Array) -> None:
    broken = np.flatnonzero(~np.isfinite(loss))
    if len(broken):
        raise InputError(
            f"the loss is {loss[broken[0]]} at s = {s[broken[0]]:.4g}, where there is no Hessian: choose a smaller "
            "margin, or leave out spectra and pairs"
        )


def _part_of(progress: Progress | None, before: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _, text: progress(before + done, total, text)


def _check(objective: Objective, path: Path, points: int, margin: float, batchnorm: str) -> None:
    if not isinstance(objective, Objective):
        raise InputError(f"interpolate needs a landscape.Objective, not {type(objective).__name__}")
    if not isinstance(path, Path):
        raise InputError(f"interpolate needs a path such as landscape.LinearPath(a, b), not {type(path).__name__}")
    check_whole("points", points, 2)
    if not (math.isfinite(margin) and margin >= 0):
        raise InputError(f"margin must be finite and not negative, in lengths of the path, not {margin}")
    check_batchnorm(batchnorm)


def check_batchnorm(batchnorm: str) -> None:
    """Refuse a mode that paths do not have.

    Raises
    ------
    InputError
    """
    if batchnorm not in MODES:
        raise InputError(
            f"batchnorm must be {' or '.join(MODES)} along a path, not {batchnorm!r}: with the statistics of "
            "micro-batches the loss depends on their size and has no Hessian"
        )
