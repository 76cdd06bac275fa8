"""What a film may be made of, and which moment of the runs each of its frames shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render.numerals import count
from landscape.render.plane_map import check_surface

if TYPE_CHECKING:
    from landscape.records import DensitySeries, EigenSeries, PathOnSurface, SpectralDensity, Surface

Array = NDArray[np.float64]
SHORTEST = 150  # frames: five seconds
LONGEST = 1800  # frames, unless asked for: a minute
ASPECTS = (1.25, 2.6)
SIZES = {
    "720p": (1280, 720), "1080p": (1920, 1080), "1440p": (2560, 1440), "2160p": (3840, 2160), "4k": (3840, 2160),
}  # fmt: skip


class Moment(NamedTuple):
    """An eigenvalue density at a step of a run.

    Attributes
    ----------
    step : int
    density : SpectralDensity
    run : str
        Name of the run; "" if it is not known.
    place : int or None
        Which of the film's runs that is.
    """

    step: int
    density: SpectralDensity
    run: str = ""
    place: int | None = None


class Followed(NamedTuple):
    """Eigenvalues along a run.

    Attributes
    ----------
    series : EigenSeries
    place : int or None
        Which of the film's runs it belongs to; None if there are none.
    """

    series: EigenSeries
    place: int | None = None


def place_of(name: str, sha256: str, runs: Sequence[PathOnSurface]) -> int | None:
    """Which of some runs a result belongs to: that of the same content or, where this is not known, of the same name.

    Parameters
    ----------
    name, sha256 : str
        Of the run, as the result has them; "" if they are not known.
    runs : sequence of PathOnSurface

    Returns
    -------
    int or None
        None if there is no such run, or if it could be several.

    Raises
    ------
    InputError
        Runs of that name are there, but all with other checkpoints.
    """
    same = [index for index, run in enumerate(runs) if sha256 and run.sha256 == sha256]
    if same:
        return next((index for index in same if runs[index].name == name), same[0])
    named = [index for index, run in enumerate(runs) if run.name == name]
    possible = [index for index in named if not (sha256 and runs[index].sha256)]
    if named and not possible:
        raise InputError(
            f"they belong to another run that is called {name}, too, or to an earlier state of it: its checkpoints "
            f"have the SHA-256 {sha256[:12]}…, not {', '.join(f'{runs[index].sha256[:12]}…' for index in named)}"
        )
    return possible[0] if len(possible) == 1 else None


def check_runs(surface: Surface) -> None:
    """Refuse surfaces on which nothing moves, or that are no landscape.

    Raises
    ------
    InputError
    """
    check_surface(surface)
    if len(surface.path_names) == 0:
        raise InputError(
            "the surface has no recorded run, so nothing moves: compute it for a plane of runs, or draw it with "
            "landscape.render.contour"
        )
    if min(len(surface.x), len(surface.y)) < 2:
        raise InputError(
            f"a grid of {len(surface.x)} × {len(surface.y)} points is no landscape to walk on: compute the surface "
            "with a resolution of at least 2"
        )
    for run in surface.paths:
        if (np.diff(run.steps) <= 0).any():
            raise InputError(f"the steps of the run {run.name} do not ascend; record it again")


def pixels(size: tuple[int, int] | str) -> tuple[int, int]:
    """Width and height that a size means.

    Parameters
    ----------
    size : (int, int) or str
        A name such as "720p" or "4k", or as in "1280x720".

    Raises
    ------
    InputError
        Neither.

    Examples
    --------
    >>> pixels("720p"), pixels("640x360")
    ((1280, 720), (640, 360))
    """
    if not isinstance(size, str):
        return size
    text = size.strip().lower()
    if text in SIZES:
        return SIZES[text]
    parts = text.replace("×", "x").split("x")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"the size is {size!r}; write width and height in pixels, as 1920x1080, or {', '.join(SIZES)}")
    return int(parts[0]), int(parts[1])


def check_size(size: tuple[int, int]) -> None:
    """Refuse pictures that cannot be encoded or laid out.

    Raises
    ------
    InputError
    """
    width, height = size
    said = f"the size is {width} × {height} pixels"
    if width % 2 or height % 2:
        even = f"{width + width % 2} × {height + height % 2}"
        raise InputError(f"{said}, but the video format needs even numbers; give {even}")
    if not (height >= 360 and width <= 7680 and ASPECTS[0] <= width / height <= ASPECTS[1]):
        raise InputError(f"{said}; give a wide picture of 360 to about 4000 lines, such as 1920 × 1080")


def schedule(runs: Sequence[PathOnSurface], frames: int | None = None) -> Array:
    """The step of each frame: evenly over the checkpoints if the runs share them, else evenly over the steps.

    Parameters
    ----------
    runs : sequence of PathOnSurface
        At least one, with ascending steps.
    frames : int, optional
        Default: one per checkpoint, but at least 150 and at most 1800.

    Returns
    -------
    (frames,) float64
    """
    longest = max(runs, key=lambda run: len(run.steps)).steps
    shared = all(np.array_equal(run.steps, longest[: len(run.steps)]) for run in runs)
    steps = longest if shared else np.unique(np.concatenate([run.steps for run in runs]))
    frames = frame_count(len(steps), frames)
    if frames == 1:
        return np.array([float(steps[-1])])
    if not shared:
        return np.linspace(steps[0], steps[-1], frames)
    place = np.arange(frames) * (len(steps) - 1) / (frames - 1)
    return np.interp(place, np.arange(len(steps)), steps)


def frame_count(moments: int, frames: int | None = None) -> int:
    """How many frames show so many moments: one for each, but at least 150 and at most 1800, unless asked for.

    Raises
    ------
    InputError
        A number that makes no video.
    """
    if frames is None:
        return max(SHORTEST, min(moments, LONGEST))
    if not (isinstance(frames, (int, np.integer)) and 1 <= frames <= 100_000):
        raise InputError(f"{frames} frames make no video; give between 1 and 100 000")
    return int(frames)


def along(run: PathOnSurface, values: Array, step: float) -> Array:
    """Values at a step of a run, linear between its checkpoints; before its start and after its end they stay."""
    index = int(np.clip(np.searchsorted(run.steps, step, side="right") - 1, 0, len(run.steps) - 1))
    if index == len(run.steps) - 1 or step <= run.steps[index]:
        return np.asarray(values[index])
    part = (step - run.steps[index]) / (run.steps[index + 1] - run.steps[index])
    return np.asarray(values[index] + part * (values[index + 1] - values[index]))


def density_moments(
    densities: DensitySeries | Sequence[tuple[int, SpectralDensity]] | None,
) -> list[tuple[int, SpectralDensity]]:
    """Densities with their steps; those of a series know its run.

    Raises
    ------
    InputError
        An empty series.
    """
    if not hasattr(densities, "pieces"):
        return list(densities or ())
    series: Any = densities
    if len(series) == 0:
        raise InputError("the series of densities is empty; landscape spectrum run.h5 --every 10 computes one")
    digest = series.provenance.get("configuration", {}).get("run_sha256", "")
    provenance = {"run": series.run, "run_sha256": digest} if series.run else {}
    return [
        (int(step), replace(density, provenance=provenance)) for step, density in zip(series.steps, series, strict=True)
    ]


def sorted_eigenvalues(
    eigenvalues: EigenSeries | Sequence[EigenSeries] | None, runs: Sequence[PathOnSurface], n: int = 0
) -> tuple[Followed, ...]:
    """Series of eigenvalues in the order of their runs.

    Raises
    ------
    InputError
        Another network, a run that is not there, two series of one run, an empty one, or steps beyond the run.
    """
    every: list[Any] = [eigenvalues] if hasattr(eigenvalues, "steps") else list(eigenvalues or ())
    found = [_followed(series, runs, n) for series in every]
    places = [one.place for one in found]
    if len(set(places)) < len(places):
        raise InputError("two series of eigenvalues belong to the same run; give one for each")
    return tuple(sorted(found, key=lambda one: one.place or 0))


def _followed(series: EigenSeries, runs: Sequence[PathOnSurface], n: int) -> Followed:
    if len(series) == 0 or not np.isfinite(series.values).any():
        raise InputError("a series of eigenvalues is empty; landscape eigenpairs run.h5 --every 10 computes one")
    if n and series.n and series.n != n:
        raise InputError(f"the eigenvalues belong to a network of {series.n} parameters, not to one of {n}")
    if not runs:
        return Followed(series)
    names = [run.name for run in runs]
    try:
        place = place_of(series.run, series.provenance.get("configuration", {}).get("run_sha256", ""), runs)
    except InputError as error:
        raise InputError(f"there are eigenvalues of the run {series.run}, but {error}") from None
    if place is None and series.run == "" and len(names) == 1:
        place = 0
    if place is None:
        raise InputError(f"there are eigenvalues of the run {series.run!r}, but the runs are {', '.join(names)}")
    first, last = int(runs[place].steps[0]), int(runs[place].steps[-1])
    if series.steps[0] > last or series.steps[-1] < first:
        raise InputError(
            f"the eigenvalues have steps {series.steps[0]} to {series.steps[-1]}, but the run {names[place]} has "
            f"{first} to {last}"
        )
    return Followed(series, place)


def sorted_densities(
    densities: DensitySeries | Sequence[tuple[int, SpectralDensity]] | None, runs: Sequence[PathOnSurface]
) -> tuple[Moment, ...]:
    """Densities in the order of their steps, each with the run that its provenance names, or with the only run.

    Raises
    ------
    InputError
        Two belong to the same step, or one to a step that its run does not reach.
    """
    moments = [_moment(int(step), density, runs) for step, density in density_moments(densities)]
    found = sorted(moments, key=lambda one: one.step)
    if len({moment.step for moment in found}) < len(found):
        raise InputError("two densities belong to the same step; give one for each")
    return tuple(found)


def _moment(step: int, density: SpectralDensity, runs: Sequence[PathOnSurface]) -> Moment:
    names = [run.name for run in runs]
    name = str(density.provenance.get("run", names[0] if len(names) == 1 else ""))
    if not runs:
        return Moment(step, density, name)
    try:
        index = place_of(name, str(density.provenance.get("run_sha256", "")), runs)
    except InputError as error:
        raise InputError(
            f"there is a density of the run {name} at step {count(step)}, but {error}; if they are the same, name the "
            f"run in front of the file, as {name}:FILE"
        ) from None
    name = name if index is None else names[index]
    possible = runs if index is None else runs[index : index + 1]
    first, last = min(int(run.steps[0]) for run in possible), max(int(run.steps[-1]) for run in possible)
    if not first <= step <= last:
        whose = f"the run {names[index]} has" if index is not None else "the runs have"
        raise InputError(f"a density at step {count(step)} would not be shown: {whose} steps {first} to {last}")
    return Moment(step, density, name, index)
