"""Directions in parameter space: random ones, filter normalization, orthonormal pairs."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.geometry.layout import Layout
from landscape.geometry.products import dot, norm

Array = NDArray[np.float64]

# How random directions can be scaled, and what that is called.
NORMALIZATIONS = {"filter": "filter-normalized", "layer": "layer-normalized", None: "orthonormal"}
# Two directions of which less than this share is left after orthogonalization span no plane: what is left is rounding.
DEPENDENT = 1e-6


def gaussian_directions(n: int, count: int, seed: int) -> Array:
    """Independent standard normal vectors, (count, n), each from its own counter-based stream."""
    return np.stack(
        [
            np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, index])).standard_normal(n)
            for index in range(count)
        ]
    )


def filter_normalized(direction: Array, theta: Array, layout: Layout) -> Array:
    """Give each filter of a direction the norm of that filter of theta (Li et al., NeurIPS 2018, section 4).

    A filter is what belongs to one index of a parameter's first dimension: a convolution's output channel, a row of a
    matrix. Parameters with one dimension (biases, scales and shifts of norm layers) get 0.

    Parameters
    ----------
    direction, theta : (n,) arrays
    layout : Layout

    Returns
    -------
    (n,) float64
    """
    result = np.zeros(len(direction))
    for (_, part), shape in zip(layout.parts(), layout.shapes, strict=True):
        if len(shape) < 2 or prod(shape) == 0:
            continue
        filters = direction[part].astype(float).reshape(shape[0], -1)
        sizes = np.linalg.norm(filters, axis=1, keepdims=True)
        wanted = np.linalg.norm(theta[part].astype(float).reshape(shape[0], -1), axis=1, keepdims=True)
        factors = np.divide(wanted, sizes, out=np.zeros_like(sizes), where=sizes > 0)
        result[part] = (filters * factors).reshape(-1)
    return result


def layer_normalized(direction: Array, theta: Array, layout: Layout) -> Array:
    """Give each parameter of a direction the norm of that parameter of theta; biases and norm layers get 0.

    Parameters
    ----------
    direction, theta : (n,) arrays
    layout : Layout

    Returns
    -------
    (n,) float64
    """
    result = np.zeros(len(direction))
    for (_, part), shape in zip(layout.parts(), layout.shapes, strict=True):
        size = norm(direction[part]) if len(shape) >= 2 else 0.0
        if size > 0:
            result[part] = direction[part].astype(float) * (norm(theta[part]) / size)
    return result


def orthonormal(first: Array, second: Array, what: str) -> Array:
    """Two orthonormal vectors that span the same plane, the first in the old direction; (2, n) float64.

    Parameters
    ----------
    first, second : (n,) arrays
    what : str
        What they are, for the message.

    Raises
    ------
    InputError
        If they span no plane.
    """
    sizes = [norm(vector) for vector in (first, second)]
    if not all(np.isfinite(sizes)):
        raise InputError(f"{what} hold NaN or inf")
    if min(sizes) == 0:
        raise InputError(f"{what} span no plane: one of them is zero")
    along = first.astype(float) / sizes[0]
    across = second.astype(float) / sizes[1]
    for _ in range(2):  # once leaves a part of the size of rounding over what is left
        across = across - along * dot(along, across)
    left = norm(across)
    if left < DEPENDENT:
        raise InputError(f"{what} span no plane: they lie on a line")
    return np.stack([along, across / left])


def signed(direction: Array) -> Array:
    """The direction or its opposite: with a positive largest component, since its sign means nothing."""
    return -direction if direction[np.argmax(np.abs(direction))] < 0 else direction
