"""Computing tasks in rounds, durably: what a round holds is decided on rank 0 from the values of the rounds before."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from landscape.parallel import Collectives
from landscape.parallel.tasks import share_tasks
from landscape.store import RunState

Array = NDArray[np.float64]
Progress = Callable[[int, int, str], None]


def computed(
    evaluate: Callable[[int], list[float]],
    following: Callable[[Array, NDArray[np.bool_]], NDArray[np.int64]],
    shape: tuple[int, int],
    world: Collectives,
    state: RunState | None,
    checkpoint_seconds: float,
    progress: Progress | None,
) -> tuple[Array, NDArray[np.bool_], int]:
    """One row per task, NaN for those that were not needed (collective).

    Parameters
    ----------
    evaluate : callable
        ``evaluate(task)`` → a row.
    following : callable
        ``following(values, known)`` → the tasks of the next round, none at the end; called on rank 0. A continued run
        sees the same values in the same rounds.
    shape : (tasks, numbers per row)
    world, state, checkpoint_seconds, progress
        As for :func:`landscape.loss_surface`.

    Returns
    -------
    values : (tasks, numbers) float64
    known : (tasks,) bool
        Which are computed.
    resumed : int
        How many of them were read from disk.
    """
    values, done = np.full(shape, np.nan), np.zeros(shape[0], bool)
    if state is not None and world.rank == 0:
        for arrays, _ in state.segments():
            values[arrays["task"]] = arrays["values"]
            done[arrays["task"]] = True
    resumed, fresh, last, lowest = int(done.sum()), list[int](), time.monotonic(), math.inf
    known = np.zeros(shape[0], bool)
    planned = 0

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
            progress(int(done.sum()), max(planned, int(done.sum())), _lowest(lowest))

    while True:
        tasks, missing = np.zeros(0, np.int64), list[int]()
        if world.rank == 0:
            tasks = following(np.where(known[:, None], values, np.nan), known)
            planned = int(known.sum()) + len(tasks)
            missing = tasks[~done[tasks]].tolist()
        more, missing = world.broadcast_object((len(tasks) > 0, missing))
        if not more:
            break
        share_tasks(missing, evaluate, world, finished)
        save()
        known[tasks] = True
    values, known, resumed = world.broadcast_object((np.where(known[:, None], values, np.nan), known, resumed))
    return values, known, resumed


def _lowest(value: float) -> str:
    return f"lowest {value:.4g}" if math.isfinite(value) else ""
