"""Short runs from other start vectors, in the complement of what one long run has resolved.

A long run knows where the eigenvalues are, but weighs those that it has not resolved with the noise of one random
vector. A few products with another vector cannot resolve anything, but know the first moments of its weights as well as
a long run would: the mean of any polynomial of low degree over the eigenvalues is averaged over all vectors, and the
noise of this smooth part falls with the square root of their number.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.krylov.lanczos import Lanczos
from landscape.krylov.orthogonalization import PASSES, Basis
from landscape.krylov.quadrature import Quadrature, gauss

Array = NDArray[np.float64]


class Outside:
    """Projection onto the complement of some Ritz vectors, which are never formed.

    Parameters
    ----------
    basis : Basis
    coefficients : (vectors, k) float64
        Orthonormal columns: the Ritz vectors in the basis.
    """

    def __init__(self, basis: Basis, coefficients: Array) -> None:
        self.basis = basis
        self.coefficients = torch.from_numpy(coefficients)

    def __call__(self, shard: Tensor) -> Tensor:
        """Row shard of a vector without its components along the Ritz vectors (collective)."""
        shard = shard.clone()
        for _ in range(PASSES):
            along = self.coefficients.T @ self.basis.components(shard, len(self.coefficients))
            self.basis.subtract(shard, self.coefficients @ along)
        return shard


def outside_rule(long_run: Lanczos, outside: Outside, start: Tensor, steps: int) -> Quadrature:
    """Gauss rule of a short run in the complement (collective).

    Parameters
    ----------
    long_run : Lanczos
        Of the operator; its product is used.
    outside : Outside
    start : (rows,) tensor
        Row shard of a random vector.
    steps : int
    """
    short = Lanczos(lambda shard: outside(long_run.product(shard)), long_run.rows, outside(start))
    while short.steps < steps and not short.exhausted:
        short.step()
    return gauss(np.array(short.alpha), np.array(short.beta))
