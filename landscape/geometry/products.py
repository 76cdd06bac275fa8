"""Products whose bits do not depend on the number of threads: digests of planes are compared across computers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape.parallel.threads import one_thread

Array = NDArray[np.float64]

# Numbers that are added up at once.
BLOCK = 2**16


def dot(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Inner product of two vectors, in float64.

    Examples
    --------
    >>> dot(np.array([1.0, 2]), np.array([3.0, 4]))
    11.0
    """
    return math.fsum(
        float(np.einsum("n,n->", *(vector[start : start + BLOCK].astype(float) for vector in (first, second))))
        for start in range(0, len(first), BLOCK)
    )


def norm(vector: NDArray[Any]) -> float:
    """Euclidean norm of a vector, in float64."""
    return float(np.sqrt(dot(vector, vector)))


def product(first: NDArray[Any], second: NDArray[Any]) -> Array:
    """Product of two matrices, in float64.

    Examples
    --------
    >>> product(np.eye(2), np.array([[1.0, 2], [3, 4]])).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    with one_thread():
        # Torch's copies begin at multiples of 64 bytes: where NumPy's begin differs from run to run.
        result: Array = (_copy(first) @ _copy(second)).numpy()
    return result


def eigh(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues of a symmetric matrix, ascending, and its eigenvectors in columns."""
    import torch

    with one_thread():
        values, vectors = torch.linalg.eigh(_copy(matrix))
    return values.numpy(), vectors.numpy()


def _copy(matrix: NDArray[Any]) -> Any:
    import torch

    if matrix.flags.f_contiguous and not matrix.flags.c_contiguous:
        return _copy(matrix.T).T
    copy = torch.empty(matrix.shape, dtype=torch.float64)
    copy.numpy()[...] = matrix
    return copy
