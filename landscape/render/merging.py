"""Surfaces of one plane as one, with the runs of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import InputError
from landscape.render.plane_map import check_surface

if TYPE_CHECKING:
    from landscape.records import PathOnSurface, Surface

ADVICE = "compute one surface of all runs: landscape surface --run a.h5 --run b.h5"


def merged(surfaces: Sequence[Surface]) -> Surface:
    """The first of several surfaces, with the runs of all, each once; names that come twice are numbered.

    Parameters
    ----------
    surfaces : sequence of Surface
        Of the same model, on the same plane and grid.

    Raises
    ------
    InputError
        None at all, or surfaces that do not belong together: the message names the first difference.
    """
    if not surfaces:
        raise InputError("there is no surface to compare: the list is empty")
    first = surfaces[0]
    for number, other in enumerate(surfaces, 1):
        check_surface(other)
        _refuse_difference(first, other, number)
    surfaces = _each_once(surfaces)
    names = numbered([str(name) for surface in surfaces for name in surface.path_names])
    digests = [run.sha256 for surface in surfaces for run in surface.paths]
    told = first.provenance.get("configuration", {})
    provenance = {**first.provenance, "configuration": {**told, "runs": digests}} if any(digests) else first.provenance
    offsets = np.cumsum([0, *(len(surface.path_names) for surface in surfaces)])
    runs = [surface.path_run + offset for surface, offset in zip(surfaces, offsets, strict=False)]
    total = len(first.path_run)
    parts: dict[str, Any] = {
        one.name: np.concatenate([getattr(surface, one.name) for surface in surfaces])
        for one in fields(first)
        if one.name.startswith("path_")
        and one.name not in ("path_names", "path_run")
        and len(getattr(first, one.name)) == total
    }
    return replace(
        first, path_names=np.array(names, str), path_run=np.concatenate(runs), provenance=provenance, **parts
    )


def _each_once(surfaces: Sequence[Surface]) -> list[Surface]:
    """The surfaces without the runs that one before has, too: the same file may be given twice."""
    known: set[tuple[Any, ...]] = set()
    found = []
    for surface in surfaces:
        kept = []
        for index, run in enumerate(surface.paths):
            content = (run.name, run.sha256, *(np.asarray(part).tobytes() for part in _parts(run)))
            if content not in known:
                kept.append(index)
            known.add(content)
        if len(kept) == len(surface.paths):
            found.append(surface)
        elif kept:
            found.append(_with_runs(surface, kept))
    return found


def _parts(run: PathOnSurface) -> tuple[Any, ...]:
    return run.steps, run.coordinates, run.loss, run.projected_loss, run.distance


def _with_runs(surface: Surface, kept: list[int]) -> Surface:
    """A surface with some of its runs."""
    mine = np.isin(surface.path_run, kept)
    parts: dict[str, Any] = {
        one.name: getattr(surface, one.name)[mine]
        for one in fields(surface)
        if one.name.startswith("path_") and one.name != "path_names" and len(getattr(surface, one.name)) == len(mine)
    }
    told = surface.provenance.get("configuration", {})
    runs = [run.sha256 for run in surface.paths]
    provenance = dict(surface.provenance)
    if any(runs):
        provenance["configuration"] = {**told, "runs": [runs[index] for index in kept]}
    parts["path_run"] = np.searchsorted(kept, surface.path_run[mine])
    return replace(surface, path_names=surface.path_names[kept], provenance=provenance, **parts)


def numbered(names: Sequence[str]) -> list[str]:
    """Names of which no two are equal: the second of a kind is called "name (2)".

    Examples
    --------
    >>> numbered(["SGD", "Adam", "SGD", "SGD"])
    ['SGD', 'Adam', 'SGD (2)', 'SGD (3)']
    """
    found: list[str] = []
    for name in names:
        new, number = name, 1
        while new in found or (number > 1 and new in names):
            number += 1
            new = f"{name} ({number})"
        found.append(new)
    return found


def _refuse_difference(first: Surface, other: Surface, number: int) -> None:
    """Name the first thing in which two surfaces differ."""
    facts: list[tuple[str, Any, Any]] = [
        ("number of parameters", first.n, other.n),
        ("axes", ", ".join(map(str, first.axes)), ", ".join(map(str, other.axes))),
        ("unit of the axes", first.unit, other.unit),
        ("grid", _size(first), _size(other)),
        ("SHA-256 of the plane's origin", first.theta_sha256, other.theta_sha256),
        ("parameters of the directions", first.parameters, other.parameters),
    ]
    for what, left, right in facts:
        if left != right:
            raise InputError(
                f"surface {number} does not belong to the first: its {what} is {right}, not {left}; {ADVICE}"
            )
    for name in ("x", "y", "loss"):
        left, right = np.asarray(getattr(first, name)), np.asarray(getattr(other, name))
        if not np.array_equal(left, right, equal_nan=True):
            raise InputError(
                f"surface {number} does not belong to the first: its {name} values differ, so it is another plane, "
                f"another model or other data; {ADVICE}"
            )


def _size(surface: Surface) -> str:
    return f"{len(surface.x)} × {len(surface.y)} points"
