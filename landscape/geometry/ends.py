"""The two ends of a path: whatever stands for a point, in one order of parameters and of one dtype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.geometry.layout import Layout, layout_of
from landscape.geometry.points import buffers_of, last_of, vector_of
from landscape.records.checkpoint import Checkpoint

Ends = tuple[Checkpoint, Checkpoint]

# What planes call the point that bends a path.
CONTROL = "control"


def two_ends(a: Any, b: Any, names: Sequence[str]) -> Ends:
    """Return two points as checkpoints, the second in the order of parameters of the first.

    Parameters
    ----------
    a, b : Checkpoint, Objective, Trajectory (its last checkpoint) or (n,) vector
    names : (str, str)
        What they are called.

    Raises
    ------
    InputError
        If one is no point or not finite, if they are of different models (which parameter or buffer, and both shapes),
        or if they are the same.

    Examples
    --------
    >>> first, second = two_ends(np.zeros(2), np.ones(2, np.float32), ("A", "B"))
    >>> first.theta.dtype == second.theta.dtype
    True
    """
    points = [_point(thing, name) for thing, name in zip((a, b), names, strict=True)]
    vectors = [vector_of(point) for point in points]
    layouts = [layout_of(point, len(vector)) for point, vector in zip(points, vectors, strict=True)]
    places = layouts[0].places_of(layouts[1], names[0], names[1])
    if places is not None:
        vectors[1] = vectors[1][places]
    # A bare vector has no names: the other end may know them.
    layout = layouts[0] if layouts[0].names else layouts[1]
    for vector, name in zip(vectors, names, strict=True):
        _check_finite(vector, layout, name)
    if np.array_equal(vectors[0], vectors[1]):
        if getattr(points[1], "permutations", None):
            raise InputError(
                f"{names[1]} is {names[0]} with its neurons in another order: aligned, they are the same point, and "
                "nothing lies between them"
            )
        raise InputError(
            f"{names[0]} and {names[1]} are the same point, so that nothing lies between them: give two different "
            "minima"
        )
    dtype = np.result_type(*vectors)
    buffers = _buffers(points, names)
    first, second = (
        Checkpoint(vector.astype(dtype), kept, layout.names, layout.shapes)
        for vector, kept in zip(vectors, buffers, strict=True)
    )
    return first, second


def checked_names(names: Sequence[str]) -> tuple[str, str]:
    """Return the names of two ends.

    Raises
    ------
    InputError
        If they are not two different texts, or one is taken.
    """
    given = [str(name) for name in names] if isinstance(names, Sequence) and not isinstance(names, str) else []
    if len(given) != 2 or not all(given) or given[0] == given[1]:
        raise InputError(f"names must be two different names of the ends, not {names!r}")
    if CONTROL in given:
        raise InputError(f"an end may not be called {CONTROL!r}: planes call the point so that bends the path")
    return given[0], given[1]


def buffers_between(ends: Ends, s: float) -> dict[str, NDArray[Any]]:
    """Return the buffers at a share s of the way from one end to the other, by name.

    Statistics lie linearly between those of the ends, whole numbers and switches are those of the nearer end; beyond an
    end they stay as they are there.
    """
    s = min(max(s, 0.0), 1.0)
    result = {}
    for name, first in ends[0].buffers.items():
        second = ends[1].buffers[name]
        if first.dtype.kind != "f":
            result[name] = np.array(first if s <= 0.5 else second)
            continue
        a, b = first.astype(float), second.astype(float)
        with np.errstate(invalid="ignore"):  # an attention mask holds -inf at both ends
            result[name] = np.asarray(np.where(a == b, a, (1 - s) * a + s * b), first.dtype)
    return result


def _point(thing: Any, name: str) -> Any:
    if isinstance(thing, str | Mapping) or hasattr(thing, "__fspath__"):
        kind = "a state dict" if isinstance(thing, Mapping) else f"the text {str(thing)!r}"
        raise InputError(
            f"{name} must be a checkpoint, an objective, a run or a vector (n,), not {kind}; open a recorded run with "
            "landscape.Trajectory, and give weights of your own as objective.at(state_dict)"
        )
    if hasattr(thing, "blocks") and len(thing) == 0:
        raise InputError(f"{name} is a run without checkpoints, so that it has no last one")
    try:
        vector_of(last_of(thing))
    except (TypeError, ValueError, InputError) as error:
        raise InputError(
            f"{name} must be a checkpoint, an objective, a run or a vector (n,), not {type(thing).__name__}"
            f"{f' of shape {np.shape(thing)}' if not callable(thing) and np.shape(thing) else ''}"
        ) from error
    return last_of(thing)


def _check_finite(vector: NDArray[Any], layout: Layout, name: str) -> None:
    broken = ~np.isfinite(vector)
    if not broken.any():
        return
    where = next((f", first in {part_name!r}" for part_name, part in layout.parts() if broken[part].any()), "")
    raise InputError(
        f"{name} holds NaN or inf at {int(broken.sum())} of {len(vector)} places{where}: a training that diverged is "
        "no end of a path"
    )


def _buffers(points: list[Any], names: Sequence[str]) -> list[dict[str, NDArray[Any]]]:
    """Of both ends, under the same names; an end without any, such as a vector, takes those of the other."""
    found = [buffers_of(point) for point in points]
    for mine, other in ((0, 1), (1, 0)):
        if not found[mine]:
            found[mine] = dict(found[other])
        for name, value in found[mine].items():
            if found[other] and name not in found[other]:
                raise InputError(
                    f"{names[0]} and {names[1]} are of different models: {names[other]} has no buffer {name!r} "
                    f"{value.shape}"
                )
            if found[other] and found[other][name].shape != value.shape:
                raise InputError(
                    f"{names[0]} and {names[1]} are of different models: buffer {name!r} has shape {value.shape} in "
                    f"{names[mine]}, but {found[other][name].shape} in {names[other]}"
                )
    return [{name: np.array(value) for name, value in one.items()} for one in found]
