"""Eigenvalues and unit eigenvectors with their residuals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from landscape.records.record import Array, Record


@dataclass(frozen=True)
class EigenPairs(Record):
    """Extreme eigenpairs of a symmetric operator at one theta.

    Attributes
    ----------
    values : (k,) float64
        Eigenvalues in units of the operator, for a Hessian loss per parameter². Descending for ``"largest"`` and
        ``"both"``, ascending for ``"smallest"``, by descending magnitude for ``"magnitude"``.
    vectors : (n, k) float32 or float64
        Unit eigenvectors in the columns, orthogonal; the largest component of each is positive.
    residuals : (k,) float64
        ``‖Av - λv‖``, in units of λ: an eigenvalue lies within it. Known from the products of the run to the rounding
        of one product, and checked by one more product with a random combination of all vectors, whose deviation is
        in it.
    converged : (k,) bool
        Whether the residual is at most ``tol · max(|λ|, scale / 1000)``, of λ a known multiple of the identity, such as
        weight decay, being left out.
    tol : float
        Asked-for residual relative to ``|λ|``.
    scale : float
        The largest ``|λ|`` that was seen, without a known multiple of the identity, in units of λ.
    noise_floor : float
        Norm of the rounding error of one product, in units of λ: residuals below it mean nothing.
    which, operator : str
    n : int
        Number of parameters.
    theta : (n,) array
        Where the operator was taken; empty if it has no objective.
    buffers : dict of arrays
        Batch-norm statistics there.
    parameters : dict
        Name of each trainable parameter → its shape, in the order of theta.
    loss : float
        L(theta).
    products, restarts : int
    seconds, gradient_equivalents : float
        Wall time and cost in gradients of the same data.
    provenance : dict
    """

    figure: ClassVar[str] = "eigenvalues"

    values: Array
    vectors: NDArray[Any]
    residuals: Array
    converged: NDArray[np.bool_]
    tol: float
    scale: float
    n: int
    which: str = "largest"
    operator: str = "hessian"
    noise_floor: float = 0.0
    theta: NDArray[Any] = field(default_factory=lambda: np.zeros(0))
    buffers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    loss: float = float("nan")
    products: int = 0
    restarts: int = 0
    seconds: float = 0.0
    gradient_equivalents: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)
