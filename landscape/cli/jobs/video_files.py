"""The files that `landscape video` is made from: surfaces, densities, eigenvalues."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.records import DensitySeries, EigenSeries, PathProfile, SpectralDensity, Surface


def subject_in(path: Path, alone: bool) -> Surface | DensitySeries | PathProfile:
    """What a file holds that can be filmed.

    Parameters
    ----------
    path : Path
    alone : bool
        Whether it is the only file; a series of densities can only be filmed alone.
    """
    from landscape import records
    from landscape._load import load

    found = load(path)
    if isinstance(found, (records.Surface, records.PathProfile)):
        return found
    if alone and isinstance(found, records.DensitySeries):
        return found
    if isinstance(found, records.DensitySeries):
        raise InputError(f"{path} holds densities; give them with --densities beside a surface, or alone")
    raise InputError(
        f"{path} holds no surface; landscape surface computes one, and landscape interpolate a path between two minima"
    )


def path_and_plane(found: Sequence[Any], paths: Sequence[Path]) -> tuple[Any, Surface | None] | None:
    """A path between two minima and the surface of its plane, if there is a path; None otherwise.

    Raises
    ------
    InputError
        There is something else beside the path.
    """
    from landscape.render.film_layouts import is_path

    ways = [one for one in found if is_path(one)]
    planes = [one for one in found if not is_path(one)]
    if not ways:
        return None
    if len(ways) > 1 or len(planes) > 1:
        given = ", ".join(map(str, paths))
        raise InputError(f"a video shows one path between two minima, with at most the surface of its plane: {given}")
    return ways[0], planes[0] if planes else None


def eigenvalues_in(path: Path) -> EigenSeries:
    """The eigenvalues along a run that a file holds."""
    from landscape import records
    from landscape._load import load

    found = load(path)
    if not isinstance(found, records.EigenSeries):
        raise InputError(
            f"--eigenvalues: {path} holds no eigenvalues along a run; landscape eigenpairs run.h5 --every 10 does"
        )
    return found


def densities_in(
    texts: Sequence[str], surface: Surface | None
) -> DensitySeries | list[tuple[int, SpectralDensity]] | None:
    """Everything that --densities names: a single series as such, which knows its losses, or densities with steps."""
    from landscape import records
    from landscape.render.film_schedule import density_moments

    found = [_densities(text, surface) for text in texts]
    if len(found) == 1 and isinstance(found[0], records.DensitySeries):
        return found[0]
    return [moment for one in found for moment in density_moments(one)] or None


def _densities(text: str, surface: Surface | None) -> DensitySeries | list[tuple[int, SpectralDensity]]:
    """What `[RUN:][STEP:]FILE` names; the provenance of a density names its run."""
    from landscape import records
    from landscape._load import load

    runs = [] if surface is None else [str(name) for name in surface.path_names]
    run = next((name for name in runs if text.startswith(f"{name}:")), None)
    rest = text if run is None else text[len(run) + 1 :]
    head, colon, tail = rest.partition(":")
    step = int(head) if colon and head.strip().isdigit() else None
    path = Path(tail if step is not None else rest)
    if run is None and step is None and colon and not path.exists():
        raise InputError(f"--densities {text}: no run is called {head!r}; the surface has {', '.join(runs) or 'none'}")
    found = load(path)
    if not isinstance(found, (records.SpectralDensity, records.DensitySeries)):
        raise InputError(f"--densities: {path} holds no eigenvalue density; landscape spectrum computes one")
    if surface is not None and surface.n and found.n != surface.n:
        raise InputError(
            f"--densities: {path} belongs to a network of {found.n} parameters, but the surface to one of {surface.n}"
        )
    if isinstance(found, records.DensitySeries):
        if step is not None:
            raise InputError(f"--densities {text}: {path} holds a series, which knows its steps; leave {step}: out")
        series = found if run is None else dataclasses.replace(found, run=run, provenance={})  # the name was chosen
        _check(series, surface, path)
        return series
    if step is None:
        step = found.provenance.get("step")
    if step is None:
        raise InputError(f"--densities {path}: the file does not say at which step; write it in front, as 100:{path}")
    if run is not None:
        found = dataclasses.replace(found, provenance={**found.provenance, "run": run, "run_sha256": ""})
    moments = [(int(step), found)]
    _check(moments, surface, path)
    return moments


def _check(densities: Any, surface: Surface | None, path: Path) -> None:
    """Name the file of densities that do not belong to the runs."""
    from landscape.render.film_schedule import sorted_densities

    if surface is None or not len(surface.path_names):
        return
    try:
        sorted_densities(densities, surface.paths)
    except InputError as error:
        raise InputError(f"--densities {path}: {error}") from error


def network_of(record: Any) -> str | None:
    """What a record was computed of, as far as it says so."""
    if record is None:
        return None
    objective = str(record.provenance.get("asked", {}).get("objective", "")).removeprefix("zoo:")
    facts = [objective, f"{record.n} parameters" if record.n else ""]
    return ", ".join(filter(None, facts)) if objective else None
