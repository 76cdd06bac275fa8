"""The Lanczos recurrence on row shards, one step at a time, with as much orthogonalization as its memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import sqrt
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.errors import ComputeError, InputError
from landscape.krylov.omega import OmegaRecurrence
from landscape.krylov.orthogonalization import PASSES, Basis
from landscape.krylov.storage import FULL, Memory
from landscape.parallel.rows import RowPartition

Array = NDArray[np.float64]

# Median of the absolute value of a standard normal number.
NORMAL_MEDIAN = 0.6745
# A residual that is all rounding is this many times the rounding of one product at the most.
BREAKDOWN = 4.0
# An asymmetry of this share of the norm is no rounding, not even in bfloat16, where it is below a hundredth. A skew
# part shows with its square: from about a sixth of the norm on. Smaller ones only raise the noise floor.
SKEW = 0.05


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
    seen = sqrt(n) * median(map(abs, asymmetry)) / NORMAL_MEDIAN if asymmetry else 0.0
    return max(seen, least)


def check_symmetric(asymmetry: float, norm: float) -> None:
    """Refuse what is not a symmetric matrix, for the products that are spent anyway.

    Parameters
    ----------
    asymmetry : float
        ``⟨u, Av⟩ - ⟨Au, v⟩`` of two unit vectors.
    norm : float
        Of the operator, as far as it is known.

    Raises
    ------
    InputError
    """
    seen = abs(asymmetry)
    if seen > SKEW * norm:
        raise InputError(
            f"the operator is not symmetric: ⟨u, Av⟩ and ⟨Au, v⟩ of two unit vectors differ by {seen:.2g}, where "
            f"its norm is {norm:.2g}. Density and eigenpairs are defined for symmetric operators: use "
            "(A + Aᵀ)/2, AᵀA, or P^-½ A P^-½ instead of P⁻¹A; or its products are random, or far from accurate"
        )


class Lanczos:
    """Tridiagonalization ``A Q = Q T`` of a symmetric operator from one start vector.

    The vectors are in the dtype of the operator; dots, norms and T are in float64. Three differences from the textbook:
    the basis is orthogonalized twice in every step; the rounding of the operator is measured while it is applied (the
    asymmetry ``⟨q₋₁, A q⟩ - ⟨A q₋₁, q⟩``, at no extra product); and a residual that is nothing but rounding ends the
    run with an exact invariant subspace instead of being normalized.

    The other ways to keep the basis: ``selective`` orthogonalizes once, against the whole basis only where the omega
    recurrence asks for it; with vectors that are kept in a shorter dtype, the newest two are also kept as they are, so
    that the recurrence itself sees no rounding but that of the computation, and what is left of older vectors is their
    rounding's component along the new one, about its norm over √n; ``minimal`` keeps nothing but these two, and
    eigenvalues that have converged come back as copies (ghosts) that share their weight.

    Parameters
    ----------
    product : callable
        Row shard of v to row shard of Av (collective).
    rows : RowPartition
        Which rows this rank holds.
    start : (rows,) tensor
        Row shard of the start vector; it is normalized here.
    memory : Memory
        How the basis is kept.

    Attributes
    ----------
    alpha, beta : list of float
        Diagonal of T and the norms of the residuals; ``beta[:-1]`` is the off-diagonal.
    exhausted : bool
        An invariant subspace was found: the eigenvalues of T are eigenvalues of A.
    vectors : int
        How many Lanczos vectors there have been, kept or not.
    passes : int
        Over the whole basis, for orthogonalization, so far.
    """

    def __init__(
        self, product: Callable[[Tensor], Tensor], rows: RowPartition, start: Tensor, memory: Memory = FULL
    ) -> None:
        self.product = product
        self.rows = rows
        self.memory = memory
        self.alpha: list[float] = []
        self.beta: list[float] = []
        self.asymmetry: list[float] = []
        self.exhausted = False
        self.passes = 0
        self.vectors = 0
        self.basis = Basis(rows, start.dtype, start.device, memory)
        self.omega = OmegaRecurrence(float(torch.finfo(start.dtype).eps))
        self._last: Tensor | None = None
        self._previous: Tensor | None = None
        self._append(start / sqrt(rows.dot(start, start)))

    @property
    def steps(self) -> int:
        """Products spent so far."""
        return len(self.alpha)

    @property
    def norm(self) -> float:
        """Upper bound of ``‖T‖`` (Gershgorin), in units of the eigenvalues."""
        if not self.alpha:
            return 0.0
        off = np.array([0.0, *self.beta[: self.steps - 1], 0.0])
        return float(np.max(np.abs(self.alpha) + np.abs(off[:-1]) + np.abs(off[1:])))

    @property
    def measured_rounding(self) -> float:
        """Norm of the rounding error of one product; see :func:`rounding_seen`."""
        return rounding_seen(self.asymmetry, self.rows.n, torch.finfo(self.basis.dtype).eps * self.norm)

    @property
    def noise(self) -> float:
        """Norm of the error of one product as T sees it: rounding, and what shorter numbers in the basis cost.

        The vectors that are kept have an error of at most half a unit in the last place, and T one of about its square,
        in units of ``‖T‖``; measured on trained networks: a tenth of that.
        """
        if self.basis.exact:
            return self.measured_rounding
        kept = torch.finfo(self.memory.dtype(self.basis.dtype)).eps / 2
        return float(np.hypot(self.measured_rounding, kept**2 * self.norm))

    @property
    def breakdown(self) -> float:
        """A residual norm that is nothing but rounding."""
        return BREAKDOWN * self.measured_rounding

    def step(self) -> None:
        """Apply the operator once and extend T (collective); does nothing once the run is exhausted."""
        if self.exhausted or self._last is None:
            return
        image = self.product(self._last).to(self.basis.dtype)
        newest = [vector for vector in (self._last, self._previous) if vector is not None]
        scalars = self.rows.dots(newest, image)
        self.alpha.append(scalars[0])
        if not np.isfinite(self.alpha[-1]):
            raise ComputeError(
                f"product {self.steps} returned NaN or inf; check the loss and its gradient at this point"
            )
        if self._previous is not None:
            self.asymmetry.append(scalars[1] - self.beta[-1])
            check_symmetric(self.asymmetry[-1], self.norm)
        residual, norm = self._orthogonalized(image)
        self.beta.append(norm)
        whole = self.memory.keeps_basis and self.steps == self.rows.n
        if whole or norm <= self.breakdown:
            # Dividing by a norm that is rounding would continue with a random vector as if it were a Krylov vector.
            self.exhausted = True
            return
        self._append(self.rows.unit(residual, norm))

    def restart(self, start: Tensor) -> None:
        """Continue an exhausted run in the complement of what it has found (collective).

        T gets a zero off the diagonal. After n steps its eigenvalues are all those of A, with their multiplicities.
        Needs a basis with full orthogonalization, in the dtype of the computation.

        Parameters
        ----------
        start : (rows,) tensor
            Row shard of a random vector; its part in the basis is removed.
        """
        fresh = self.basis.project_out(start)
        self._append(fresh / sqrt(self.rows.dot(fresh, fresh)))
        self.beta[-1] = 0.0
        self.exhausted = False

    def facts(self) -> dict[str, Array]:
        """T and all that decisions depend on, for a checkpoint, without vectors."""
        facts = {"alpha": self.alpha, "beta": self.beta, "asymmetry": self.asymmetry}
        if self.memory.orthogonalization == "selective":
            facts |= {"omega": self.omega.now.tolist(), "omega_before": self.omega.before.tolist()}
        return {name: np.array(values) for name, values in facts.items()}

    def newest(self) -> Tensor:
        """Row shards of the newest two vectors in the dtype of the computation, ``(1 or 2, rows)``."""
        return torch.stack([vector for vector in (self._previous, self._last) if vector is not None])

    def restore(
        self, facts: Mapping[str, Any], shards: Iterable[Tensor], newest: Iterable[Tensor] | None = None
    ) -> None:
        """Continue from a checkpoint.

        Parameters
        ----------
        facts : dict
            As :meth:`facts`, with ``exhausted``, ``pending`` (of the omega recurrence) and ``vectors``.
        shards : iterable of (rows,) tensors
            This rank's row shards of the vectors of the basis.
        newest : iterable of (rows,) tensors, optional
            As of :meth:`newest`; not needed where the basis holds them as they are.
        """
        self.alpha, self.beta = facts["alpha"].tolist(), facts["beta"].tolist()
        self.asymmetry = facts["asymmetry"].tolist()
        self.exhausted, self.vectors = facts["exhausted"], facts["vectors"]
        if "omega" in facts:
            self.omega.now, self.omega.before = facts["omega"], facts["omega_before"]
            self.omega.pending = facts["pending"]
        device = self.basis.device
        self.basis = Basis(self.rows, self.basis.dtype, device, self.memory)
        for shard in shards:
            self.basis.append(shard.to(device))
        if newest is None:
            newest = [self.basis.vector(index) for index in range(len(self.basis))[-2:]]
        two = [shard.to(device).clone() for shard in newest]
        self._last, self._previous = two[-1], two[-2] if len(two) > 1 else None

    def _append(self, vector: Tensor) -> None:
        self._previous, self._last = self._last, vector
        self.vectors += 1
        if self.memory.keeps_basis:
            self.basis.append(vector)

    def _orthogonalized(self, image: Tensor) -> tuple[Tensor, float]:
        """What is left of an image (which is changed) without its components along the basis, and its norm."""
        if self.memory.orthogonalization == "full" and self.basis.exact:
            self.basis.project_out(image)
            self.passes += PASSES
            # Inside a block the projection is accumulated in the dtype of the vectors, which for a million rows leaves
            # 1e-5 in float32. That is orthogonal enough, but the asymmetry would take it for rounding of the operator.
            self._locally(image)
            return image, self._norm(image)
        older = max(len(self.basis) - 2, 0)
        for _ in range(PASSES):
            self._locally(image)
            if self.memory.orthogonalization == "full":
                self.basis.project_out(image, 1, older)
                self.passes += 1
        norm = self._norm(image)
        if self.memory.orthogonalization == "selective" and self._due(norm):
            self.basis.project_out(image, 1)
            self.passes += 1
            self.omega.orthogonalized()
            norm = self._norm(image)
        return image, norm

    def _due(self, norm: float) -> bool:
        """Whether the omega recurrence asks for orthogonality; the first rank alone decides (collective)."""
        noise = self.measured_rounding / sqrt(self.rows.n)
        due = self.omega.due(self.alpha, [*self.beta, max(norm, np.finfo(float).tiny)], noise)
        return bool(self.rows.collectives.broadcast_object(due))

    def _locally(self, image: Tensor) -> None:
        """Subtract the components along the newest two vectors (collective)."""
        newest = [vector for vector in (self._last, self._previous) if vector is not None]
        for vector, component in zip(newest, self.rows.dots(newest, image), strict=True):
            image.sub_(vector, alpha=component)

    def _norm(self, vector: Tensor) -> float:
        return sqrt(self.rows.dot(vector, vector))
