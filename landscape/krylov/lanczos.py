"""The Lanczos recurrence with full orthogonalization, on row shards, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.errors import ComputeError
from landscape.krylov.orthogonalization import Basis
from landscape.parallel.rows import RowPartition

Array = NDArray[np.float64]

# Median of the absolute value of a standard normal number.
NORMAL_MEDIAN = 0.6745
# A residual that is all rounding is this many times the rounding of one product at the most.
BREAKDOWN = 4.0


def rounding_seen(asymmetry: list[float], n: int, least: float) -> float:
    """Norm of the rounding error of one product as far as it was seen, but not less than ``least``.

    The asymmetry seen by two unit vectors is about 1/√n of the norm of the error of a product. The median over the
    steps, because the first vectors lie along the outliers, where the error is not random but large.

    Parameters
    ----------
    asymmetry : list of float
        ``⟨q₋₁, A q⟩ - ⟨A q₋₁, q⟩`` of each step.
    n : int
        Length of the vectors.
    least : float
        Rounding of storing a vector, in units of the eigenvalues.
    """
    seen = sqrt(n) * float(np.median(np.abs(asymmetry))) / NORMAL_MEDIAN if asymmetry else 0.0
    return max(seen, least)


class Lanczos:
    """Tridiagonalization ``A Q = Q T`` of a symmetric operator from one start vector.

    The vectors are in the dtype of the operator; dots, norms and T are in float64. Three differences from the textbook:
    the basis is orthogonalized twice in every step; the rounding of the operator is measured while it is applied (the
    asymmetry ``⟨q₋₁, A q⟩ - ⟨A q₋₁, q⟩``, at no extra product); and a residual that is nothing but rounding ends the
    run with an exact invariant subspace instead of being normalized.

    Parameters
    ----------
    product : callable
        Row shard of v to row shard of Av (collective).
    rows : RowPartition
        Which rows this rank holds.
    start : (rows,) tensor
        Row shard of the start vector; it is normalized here.

    Attributes
    ----------
    alpha, beta : list of float
        Diagonal of T and the norms of the residuals; ``beta[:-1]`` is the off-diagonal.
    exhausted : bool
        An invariant subspace was found: the eigenvalues of T are eigenvalues of A.
    """

    def __init__(self, product: Callable[[Tensor], Tensor], rows: RowPartition, start: Tensor) -> None:
        self.product = product
        self.rows = rows
        self.alpha: list[float] = []
        self.beta: list[float] = []
        self.asymmetry: list[float] = []
        self.exhausted = False
        self.basis = Basis(rows, start.dtype, start.device)
        self.basis.append(start / sqrt(rows.dot(start, start)))

    @property
    def steps(self) -> int:
        """Products spent so far."""
        return len(self.alpha)

    @property
    def norm(self) -> float:
        """Upper bound of ``‖T‖`` (Gershgorin), in units of the eigenvalues."""
        if not self.alpha:
            return 0.0
        off = np.concatenate([[0.0], self.beta[:-1], [0.0]])
        return float(np.max(np.abs(self.alpha) + np.abs(off[:-1]) + np.abs(off[1:])))

    @property
    def measured_rounding(self) -> float:
        """Norm of the rounding error of one product; see :func:`rounding_seen`."""
        return rounding_seen(self.asymmetry, self.rows.n, torch.finfo(self.basis.dtype).eps * self.norm)

    @property
    def breakdown(self) -> float:
        """A residual norm that is nothing but rounding."""
        return BREAKDOWN * self.measured_rounding

    def step(self) -> None:
        """Apply the operator once and extend T (collective); does nothing once the run is exhausted."""
        if self.exhausted:
            return
        last = self.basis.vector(self.steps)
        image = self.product(last).to(self.basis.dtype)
        self.alpha.append(self.rows.dot(last, image))
        if not np.isfinite(self.alpha[-1]):
            raise ComputeError(
                f"product {self.steps} returned NaN or inf; check the loss and its gradient at this point"
            )
        if self.beta:
            previous = self.basis.vector(self.steps - 2)
            self.asymmetry.append(self.rows.dot(previous, image) - self.beta[-1])
        residual = self.basis.project_out(image)
        norm = sqrt(self.rows.dot(residual, residual))
        self.beta.append(norm)
        if self.steps == self.rows.n or norm <= self.breakdown:
            # Dividing by a norm that is rounding would continue with a random vector as if it were a Krylov vector.
            self.exhausted = True
            return
        self.basis.append(residual / norm)

    def restart(self, start: Tensor) -> None:
        """Continue an exhausted run in the complement of what it has found (collective).

        T gets a zero off the diagonal. After n steps its eigenvalues are all those of A, with their multiplicities.

        Parameters
        ----------
        start : (rows,) tensor
            Row shard of a random vector; its part in the basis is removed.
        """
        fresh = self.basis.project_out(start)
        self.basis.append(fresh / sqrt(self.rows.dot(fresh, fresh)))
        self.beta[-1] = 0.0
        self.exhausted = False

    def state(self, start: int) -> dict[str, Array]:
        """T and the basis vectors from index ``start`` on, for a checkpoint (collective; vectors on rank 0 only)."""
        full = self.rows.collectives.gather_rows(
            self.basis.vectors(start, len(self.basis)).contiguous(), self.rows.counts
        )
        vectors = np.zeros((0, 0)) if full is None else full.cpu().numpy().T.copy()
        return {
            "alpha": np.array(self.alpha),
            "beta": np.array(self.beta),
            "asymmetry": np.array(self.asymmetry),
            "vectors": vectors,
        }

    def restore(self, alpha: Array, beta: Array, asymmetry: Array, shards: Iterable[Tensor], exhausted: bool) -> None:
        """Continue from a checkpoint.

        Parameters
        ----------
        alpha, beta, asymmetry : arrays
            As written by :meth:`state`.
        shards : iterable of (rows,) tensors
            This rank's row shards of all steps + 1 basis vectors (one less if exhausted).
        exhausted : bool
        """
        self.alpha, self.beta, self.asymmetry = alpha.tolist(), beta.tolist(), asymmetry.tolist()
        self.exhausted = exhausted
        self.basis = Basis(self.rows, self.basis.dtype, self.basis.device)
        for shard in shards:
            self.basis.append(shard.to(self.basis.device))
