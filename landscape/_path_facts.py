"""What is known of a recorded run beside where it lies in a plane: how it turns, and what its optimizer bears."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.geometry.products import dot
from landscape.optim.stability import Threshold, threshold_of

Array = NDArray[np.float64]
# Options of an optimizer whose momentum a schedule changes (torch's OneCycleLR and CyclicLR).
SCHEDULES_MOMENTUM = ("base_momentum", "max_momentum")


def step_cosines(run: Any) -> Array:
    """Cosine between the steps to each checkpoint and from it, ``(T,)`` float64.

    1 is a straight line, 0 a walk without memory, -1 an oscillation such as that across a valley at the edge of
    stability (Xing et al., A walk with SGD, 2018, section 4). In all parameters, from the disk, and with the same bits
    for every number of threads.

    Parameters
    ----------
    run : Trajectory

    Returns
    -------
    (T,) float64
        NaN at the ends of the run, and where a step is zero or not finite.
    """
    found = np.full(len(run), np.nan)
    before: NDArray[Any] | None = None
    step: Array | None = None
    squares = 0.0
    for number, theta in _thetas(run):
        if before is not None:
            last, last_squares = step, squares
            step = theta.astype(float) - before
            squares = dot(step, step) if np.isfinite(step).all() else math.nan
            if last is not None and squares > 0 and last_squares > 0:
                found[number - 1] = dot(last, step) / math.sqrt(squares) / math.sqrt(last_squares)
        before = theta
    return found


def stability_thresholds(run: Any, weight_decay: float = 0.0) -> Array:
    """Largest curvature of an objective along which the recorded optimizer is stable, ``(T,)`` float64.

    Of :func:`~landscape.optim.stability.threshold_of` with the learning rate at each checkpoint, for steps on the whole
    data: the noise of mini-batches makes steps unstable before. Weight decay that the optimizer adds to the loss and
    the objective does not hold is taken off.

    Parameters
    ----------
    run : Trajectory
    weight_decay : float
        Of the objective.

    Returns
    -------
    (T,) float64
        In loss per parameter². NaN where no threshold is right for the Hessian itself: of an adaptive optimizer, whose
        threshold is for another matrix, of one whose step is not known, with options that differ between groups of
        parameters, where there is no positive learning rate, and where a schedule has changed momentum, weight decay or
        other options, whose values at each checkpoint are not recorded.
    """
    optimizer = dict(getattr(run, "optimizer", {}))
    rates = np.asarray(getattr(run, "learning_rates", np.full(len(run), np.nan)), float)
    defaults = optimizer.get("defaults", {})
    if optimizer.get("groups") or any(name in defaults for name in SCHEDULES_MOMENTUM):
        return np.full(len(run), np.nan)
    changed = optimizer.get("changed_at", math.inf)
    found = [
        _threshold(str(optimizer.get("class", "")), {**defaults, "lr": float(rate)}, int(step))
        if step < changed
        else None
        for rate, step in zip(rates, run.steps, strict=True)
    ]
    return np.array([math.nan if one is None else one.value - one.weight_decay + weight_decay for one in found])


def _threshold(kind: str, options: dict[str, Any], step: int) -> Threshold | None:
    try:
        found = threshold_of(kind, options, step)
    except InputError:
        return None
    return None if found.adaptive else found


def _thetas(run: Any) -> Iterator[tuple[int, NDArray[Any]]]:
    for start, block in run.blocks():
        for row, theta in enumerate(block):
            yield start + row, theta
