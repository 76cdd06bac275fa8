"""The numbers of what may stand for a point in parameter space: a checkpoint, an objective, a run, a vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.geometry.layout import Layout


def last_of(thing: Any) -> Any:
    """The last checkpoint of a run, and everything else as it is."""
    return thing[-1] if hasattr(thing, "blocks") else thing


def values_of(thing: Any) -> NDArray[Any]:
    """The numbers of a theta, or of several, in an array: of a checkpoint, an objective, a tensor or an array."""
    values = getattr(thing, "theta", thing)
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def vector_of(thing: Any) -> NDArray[Any]:
    """As :func:`values_of`, of one point; a copy.

    Raises
    ------
    InputError
        If it is no vector.
    """
    array = values_of(thing)
    if array.ndim != 1:
        raise InputError(f"a point must be a checkpoint, an objective or a vector (n,), not of shape {array.shape}")
    return array.copy()


def buffers_of(thing: Any) -> dict[str, NDArray[Any]]:
    """Batch-norm statistics of a point, by name; empty if it has none."""
    buffers = getattr(thing, "buffers", None)
    if not isinstance(buffers, Mapping):
        return {}
    return {
        name: value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        for name, value in buffers.items()
    }


def direction_of(thing: Any, layout: Layout, what: str) -> NDArray[np.float64]:
    """A direction of the user's as a flat vector, ``(n,)`` float64.

    Parameters
    ----------
    thing : (n,) vector, tensor, checkpoint, or dict of arrays by parameter
        What a dict leaves out is zero.
    layout : Layout
    what : str
        Its name, for messages.

    Raises
    ------
    InputError
        If it does not fit the model; the message says which parameter, and both shapes.
    """
    if isinstance(thing, Mapping):
        return _from_parts(thing, layout, what)
    vector = vector_of(thing).astype(float)
    if len(vector) != layout.n:
        raise InputError(f"the direction {what} has {len(vector)} numbers, but the model has n = {layout.n} parameters")
    if not np.isfinite(vector).all():
        raise InputError(f"the direction {what} holds NaN or inf")
    return vector


def _from_parts(parts: Mapping[str, Any], layout: Layout, what: str) -> NDArray[np.float64]:
    if not layout.names:
        raise InputError(f"the direction {what} is given by parameter, but the names of the parameters are not known")
    unknown = [name for name in parts if name not in layout.names]
    if unknown:
        raise InputError(
            f"the direction {what} has a part {unknown[0]!r}, but there is no such parameter; there are "
            f"{', '.join(layout.names)}"
        )
    result = np.zeros(layout.n)
    for (name, part), shape in zip(layout.parts(), layout.shapes, strict=True):
        if name in parts:
            values = values_of(parts[name])
            if values.shape != shape:
                raise InputError(
                    f"the direction {what} has shape {values.shape} in {name!r}, but the model has {shape} there"
                )
            result[part] = values.reshape(-1)
    if not np.isfinite(result).all():
        raise InputError(f"the direction {what} holds NaN or inf")
    return result
