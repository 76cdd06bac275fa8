"""What a film may be made of, and which moment of the runs each of its frames shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render.numerals import count
from landscape.render.plane_map import check_surface

if TYPE_CHECKING:
    from landscape.records import PathOnSurface, SpectralDensity, Surface

Array = NDArray[np.float64]
SHORTEST = 150  # frames: five seconds
LONGEST = 1800  # frames, unless asked for: a minute
ASPECTS = (1.25, 2.6)


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
    if frames is None:
        frames = max(SHORTEST, min(len(steps), LONGEST))
    if not (isinstance(frames, (int, np.integer)) and 1 <= frames <= 100_000):
        raise InputError(f"{frames} frames make no video; give between 1 and 100 000")
    if frames == 1:
        return np.array([float(steps[-1])])
    if not shared:
        return np.linspace(steps[0], steps[-1], frames)
    place = np.arange(frames) * (len(steps) - 1) / (frames - 1)
    return np.interp(place, np.arange(len(steps)), steps)


def along(run: PathOnSurface, values: Array, step: float) -> Array:
    """Values at a step of a run, linear between its checkpoints; before its start and after its end they stay."""
    index = int(np.clip(np.searchsorted(run.steps, step, side="right") - 1, 0, len(run.steps) - 1))
    if index == len(run.steps) - 1 or step <= run.steps[index]:
        return np.asarray(values[index])
    part = (step - run.steps[index]) / (run.steps[index + 1] - run.steps[index])
    return np.asarray(values[index] + part * (values[index + 1] - values[index]))


def sorted_densities(
    densities: Sequence[tuple[int, SpectralDensity]] | None, runs: Sequence[PathOnSurface]
) -> tuple[Moment, ...]:
    """Densities in the order of their steps, each with the run that its provenance names, or with the only run.

    Raises
    ------
    InputError
        Two belong to the same step, or one to a step that its run does not reach.
    """
    found = sorted((_moment(int(step), density, runs) for step, density in densities or ()), key=lambda one: one.step)
    if len({moment.step for moment in found}) < len(found):
        raise InputError("two densities belong to the same step; give one for each")
    return tuple(found)


def _moment(step: int, density: SpectralDensity, runs: Sequence[PathOnSurface]) -> Moment:
    names = [run.name for run in runs]
    name = str(density.provenance.get("run", names[0] if len(names) == 1 else ""))
    index = names.index(name) if names.count(name) == 1 else None
    possible = runs if index is None else runs[index : index + 1]
    first, last = min(int(run.steps[0]) for run in possible), max(int(run.steps[-1]) for run in possible)
    if not first <= step <= last:
        whose = f"the run {names[index]} has" if index is not None else "the runs have"
        raise InputError(f"a density at step {count(step)} would not be shown: {whose} steps {first} to {last}")
    return Moment(step, density, name, index)
