"""Numbers of the page: few enough and short enough to stay small, and how page.js reads them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

GRID = 201  # points of a surface along an axis: more than a screen shows
CHECKPOINTS = 800  # of a path, a curve, the slider
MOMENTS = 120  # densities of a series
DIGITS = 7  # of a number in text: more than a single-precision number has
STEPS = 65535  # of the logarithms of a density: a ten-thousandth of a decade


def thinned(length: int, most: int) -> NDArray[np.int64]:
    """Indices of at most so many of `length` things, evenly spaced, the first and the last among them.

    Examples
    --------
    >>> thinned(7, 3).tolist(), thinned(2, 5).tolist()
    ([0, 3, 6], [0, 1])
    """
    if length <= most:
        return np.arange(length)
    return np.round(np.linspace(0, length - 1, most)).astype(np.int64)


def plain(values: ArrayLike) -> list[Any]:
    """Numbers as JSON has them; null for what is not finite.

    Examples
    --------
    >>> plain([1.0, float("nan"), 0.123456789]), plain([3, 4])
    ([1.0, None, 0.1234568], [3, 4])
    """
    array = np.asarray(values)
    if array.dtype.kind in "iub":
        return list(array.tolist())
    return [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in array.ravel().tolist()]


def floats(values: ArrayLike) -> dict[str, Any]:
    """A matrix in single precision."""
    matrix = np.atleast_2d(np.asarray(values, "<f4"))
    return {"base64": base64.b64encode(matrix.tobytes()).decode(), "type": "f4", "columns": matrix.shape[1]}


def shared(value: Any, matrices: list[dict[str, Any]]) -> Any:
    """The same with each packed matrix replaced by its number in a list, in which equal ones stand once."""
    if isinstance(value, dict) and "base64" in value:
        numbers = {name: item for name, item in value.items() if name != "exponents"}
        if numbers not in matrices:
            matrices.append(numbers)
        return {"matrix": matrices.index(numbers), "exponents": value.get("exponents", False)}
    if isinstance(value, dict):
        return {name: shared(item, matrices) for name, item in value.items()}
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return [shared(item, matrices) for item in value]
    return value


def logarithms(values: ArrayLike, lowest: float, highest: float) -> dict[str, Any]:
    """A matrix of positive numbers whose logarithms are kept in 16 bits; what is lower is the lowest.

    Parameters
    ----------
    values : (r, c)
    lowest, highest : float
        Positive ends of the range.
    """
    matrix = np.atleast_2d(np.asarray(values, float))
    ends = np.log10(lowest), np.log10(highest)
    step = float(ends[1] - ends[0]) / STEPS or 1.0
    with np.errstate(divide="ignore"):
        exponents = np.log10(np.clip(np.nan_to_num(matrix, nan=lowest), lowest, highest))
    numbers = np.round((exponents - ends[0]) / step).astype("<u2")
    return {
        "base64": base64.b64encode(numbers.tobytes()).decode(),
        "type": "u2",
        "columns": matrix.shape[1],
        "from": float(ends[0]),
        "step": step,
    }
