"""Principal components of runs, whose checkpoints stay on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.geometry.layout import Layout, layout_of
from landscape.geometry.products import eigh, norm, product
from landscape.geometry.random_walk import centred, shares_of_such_walks

if TYPE_CHECKING:
    from landscape.trajectory import Trajectory

Array = NDArray[np.float64]

# Bytes of checkpoints that are held while the others pass by.
PANEL_BYTES = 2**30
# Columns that are worked on at once in float64.
COLUMNS = 2**20
# A component whose variance is a smaller share of the first one's is rounding.
LEAST_SHARE = 1e-12


@dataclass(frozen=True)
class Components:
    """Some principal components of runs.

    Attributes
    ----------
    directions : (k, n) float64
        Unit vectors.
    coordinates : (T, k) float64
        Of all checkpoints, relative to their mean.
    shares : (k,) float64
        Of the variance.
    null : (k,) float64
        The same components' shares of random walks with the same starts and step lengths.
    mean : (n,) float64
        Of all checkpoints.
    """

    directions: Array
    coordinates: Array
    shares: Array
    null: Array
    mean: Array


def principal_components(
    runs: Sequence[Trajectory],
    layout: Layout,
    reference: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    wanted: Sequence[int],
) -> Components:
    """Principal components of the checkpoints of all runs together, centred over the checkpoints.

    Through the T×T matrix of inner products: 2·T²·n operations, and at most PANEL_BYTES of checkpoints in memory.

    Parameters
    ----------
    runs : sequence of Trajectory
    layout : Layout
        Order of the parameters in the result.
    reference : (n,) array
        Subtracted from all checkpoints, near which differences are exact.
    mask : (n,) bool, optional
        Look at these parameters only; directions are 0 elsewhere.
    wanted : sequence of int
        Which components, from 0.

    Raises
    ------
    InputError
        If there are not so many, or a checkpoint holds NaN or inf.
    """
    products = _gram(runs, layout, reference, mask)
    gram = centred(products)
    values, vectors = eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    total = float(np.trace(gram))
    # What storing theta in its precision adds: about eps·‖theta‖ to every checkpoint, in another direction each.
    rounding = len(gram) * (np.finfo(reference.dtype).eps * norm(reference)) ** 2
    there = int((values > max(LEAST_SHARE * values[0], rounding)).sum())
    if max(wanted) >= there:
        raise InputError(f"{_why_not(runs, there)}: component {max(wanted) + 1} does not exist")
    columns = np.asarray(wanted)
    scale = np.sqrt(values[columns])
    weights = vectors[:, columns] / scale
    directions, mean = np.zeros((len(columns), layout.n)), reference.astype(float)
    for start, block in _blocks(runs, layout):
        share = weights[start : start + len(block)]
        for part in _columns(layout.n):
            differences = block[:, part].astype(float) - reference[part]
            directions[:, part] += product(share.T, differences)
            mean[part] += differences.sum(0) / len(gram)
    if mask is not None:
        directions[:, ~mask] = 0
    null = shares_of_such_walks(products, [len(run) for run in runs])
    return Components(directions, vectors[:, columns] * scale, values[columns] / total, null[columns], mean)


def _gram(runs: Sequence[Trajectory], layout: Layout, reference: NDArray[Any], mask: NDArray[np.bool_] | None) -> Array:
    """Inner products of all checkpoints' differences from the reference, (T, T)."""
    total = sum(len(run) for run in runs)
    gram = np.zeros((total, total))
    begin = 0
    while begin < total:
        panel: list[NDArray[Any]] = []
        end, full = begin, False
        for start, block in _blocks(runs, layout):
            if start + len(block) <= begin:
                continue
            full = full or bool(panel and sum(part.nbytes for part in panel) + block.nbytes > PANEL_BYTES)
            if not full:
                panel.append(block)
                end = start + len(block)
            rows = slice(start, start + len(block))
            for part in _columns(layout.n):
                differences = _differences(block, reference, mask, part)
                before = begin
                for held in panel:
                    beside = slice(before, before + len(held))
                    before += len(held)
                    other = differences if held is block else _differences(held, reference, mask, part)
                    gram[rows, beside] += product(differences, other.T)
            _check_finite(gram[rows, rows], runs, start)
            gram[begin:end, rows] = gram[rows, begin:end].T
        begin = end
    return gram


def _blocks(runs: Sequence[Trajectory], layout: Layout) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (number among the checkpoints of all runs, parameters in the order of the layout)."""
    before = 0
    for run in runs:
        places = layout.places_of(layout_of(run, run.n), "the first run", f"the run {run.name}")
        for start, theta in run.blocks():
            yield before + start, theta if places is None else theta[:, places]
        before += len(run)


def _differences(block: NDArray[Any], reference: NDArray[Any], mask: NDArray[np.bool_] | None, part: slice) -> Array:
    result: Array = block[:, part].astype(float) - reference[part]
    return result if mask is None else result[:, mask[part]]


def _columns(n: int) -> Iterator[slice]:
    for start in range(0, n, COLUMNS):
        yield slice(start, min(start + COLUMNS, n))


def _check_finite(square: Array, runs: Sequence[Trajectory], start: int) -> None:
    broken = np.flatnonzero(~np.isfinite(square.diagonal()))
    if not len(broken):
        return
    number = start + int(broken[0])
    for run in runs:
        if number < len(run):
            raise InputError(
                f"checkpoint {number} (step {int(run.steps[number])}) of the run {run.name} holds NaN or inf: the run "
                "diverged, and its principal components do not exist"
            )
        number -= len(run)


def _why_not(runs: Sequence[Trajectory], there: int) -> str:
    total = sum(len(run) for run in runs)
    if total == 1:
        return "a plane cannot be laid through one checkpoint"
    if there == 0:
        return f"the {total} checkpoints are identical in these parameters"
    return f"the {total} checkpoints vary in {there} direction{'s' if there > 1 else ''} only"
