"""Extreme eigenpairs by the Lanczos recurrence in a basis of bounded size, on row shards, one product at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.errors import ComputeError
from landscape.krylov.lanczos import BREAKDOWN, rounding_seen
from landscape.krylov.orthogonalization import Basis
from landscape.parallel.rows import RowPartition

Array = NDArray[np.float64]

# Fewest products between two restarts, where the basis allows them; measured best on trained networks.
LEAST_ROOM = 5
# Eigenvalues below this fraction of the largest need only be as accurate as one of this size: the rounding of float32
# products allows no more.
SMALL = 1e-3

# The part of a residual that more products remove is negligible below this fraction of the rounding of a product.
LEFT_OVER = 0.1
# Rounding of earlier steps may be amplified this much in a residual that would be zero.
AMPLIFIED = 1e3
# What a checkpoint holds besides arrays.
FACTS = ("products", "restarts", "rotations", "fresh_starts", "columns", "locked", "norm", "largest", "error")

WHICH = ("largest", "smallest", "magnitude", "both")


@dataclass(frozen=True)
class RitzPairs:
    """Approximate eigenpairs in a basis Q, the most wanted first.

    Attributes
    ----------
    values : (m,) float64
    coefficients : (m, m) float64
        Orthonormal; ``Q @ coefficients[:, i]`` is the vector of ``values[i]``.
    residuals : (m,) float64
        ``‖Av - λv‖`` as it follows from the products that were computed, exact to the rounding of one product; with the
        error of the last :meth:`RestartedLanczos.check`.
    limits : (m,) float64
        Largest residual allowed: ``tol`` times ``|λ|``, or times a thousandth of the largest ``|λ|`` if that is more.
    bounds : (m,) float64
        The part of the residuals that more products can remove; the rest is rounding.
    active : (m,) bool
        False for pairs of an invariant subspace that was found and put aside.
    """

    values: Array
    coefficients: Array
    residuals: Array
    limits: Array
    bounds: Array
    active: NDArray[np.bool_]


def by_interest(values: Array, which: str) -> NDArray[np.intp]:
    """Order of eigenvalues by how much they are wanted.

    Parameters
    ----------
    values : (m,) array
    which : "largest", "smallest", "magnitude" or "both"
        ``"both"`` takes the largest, the smallest, the second largest and so on.

    Returns
    -------
    (m,) indices

    Examples
    --------
    >>> by_interest(np.array([3.0, -4.0, 1.0, 2.0]), "both").tolist()
    [0, 1, 3, 2]
    """
    ascending = np.argsort(values, kind="stable")
    if which == "smallest":
        return ascending
    descending = np.argsort(-values, kind="stable")
    if which == "largest":
        return descending
    if which == "magnitude":
        return np.argsort(-np.abs(values), kind="stable")
    order = np.empty_like(ascending)
    high = -(-len(values) // 2)
    # Both halves of one order, so that equal values are not taken twice.
    order[0::2], order[1::2] = descending[:high], descending[::-1][: len(values) - high]
    return order


class RestartedLanczos:
    """Rayleigh–Ritz in a Krylov basis that is cut back to its best vectors whenever it is full.

    Thick restarts (Wu and Simon, SIAM J. Matrix Anal. Appl. 22 (2000) 602). Differences from the textbook: every image
    is orthogonalized twice against the whole basis and **all** coefficients are kept, so that ``A Q = Q C + β q eᵀ``
    holds for the computed products to the rounding of vector arithmetic, C being symmetric up to the rounding of the
    products; hence the residuals are known without further products. A restart keeps vectors of both ends of the
    spectrum, see :func:`kept_at_restart`. The caller may look at the pairs and stop before the basis is full. A
    residual that is nothing but rounding ends the Krylov space with an exact invariant subspace: its pairs are locked
    (they no longer change), and a fresh random vector in their complement goes on, which finds further copies of
    multiple eigenvalues.

    Every rank takes the same decisions, those of the first one.

    Parameters
    ----------
    product : callable
        Row shard of v to row shard of Av (collective).
    rows : RowPartition
    start : (rows,) tensor
        Row shard of the start vector, not zero; it is normalized here.
    wanted : int
        How many pairs, at most n.
    which : str
        See :func:`by_interest`.
    tol : float
        Wanted residual relative to ``|λ|``; it decides what is complete, and what a restart takes for found.
    size : int
        Most vectors at one time whose images are known; one more is stored. At least ``wanted + 2``, or n.
    fresh : callable
        Index to row shard of a random vector.

    Attributes
    ----------
    products, restarts : int
    rotations : int
        How often the vectors of the basis were replaced.
    largest : float
        The largest ``|λ|`` of a Ritz value that was looked at.
    error : float
        Of the residuals, as far as :meth:`check` has seen, in units of the eigenvalues; they contain it.
    """

    def __init__(
        self,
        product: Callable[[Tensor], Tensor],
        rows: RowPartition,
        start: Tensor,
        *,
        wanted: int,
        which: str,
        tol: float,
        size: int,
        fresh: Callable[[int], Tensor],
    ) -> None:
        self.product = product
        self.rows = rows
        self.wanted = wanted
        self.which = which
        self.tol = tol
        self.size = min(size, rows.n)
        self.fresh = fresh
        self.products = 0
        self.restarts = 0
        self.rotations = 0
        self.fresh_starts = 0
        self.columns = 0  # vectors whose images are known
        self.locked = 0  # the first so many are eigenvectors
        self.norm = 0.0  # the largest ‖Aq‖ of a unit vector
        self.largest = 0.0
        self.error = 0.0
        self.asymmetry: list[float] = []
        self.hidden: Array = np.zeros(0)  # what may exist outside of the locked subspace, at the most
        # Image j is the combination of the basis with the coefficients in column j.
        self.projected: Array = np.zeros((self.size + 1, self.size))
        self.basis = Basis(rows, start.dtype, start.device)
        self.basis.append(start / sqrt(rows.dot(start, start)))

    @property
    def sealed(self) -> bool:
        """Whether the basis spans an invariant subspace, so that only a fresh vector can go on."""
        return self.columns == len(self.basis)

    @property
    def measured_rounding(self) -> float:
        """Norm of the rounding error of one product; see :func:`~landscape.krylov.lanczos.rounding_seen`."""
        return rounding_seen(self.asymmetry, self.rows.n, torch.finfo(self.basis.dtype).eps * self.norm)

    @property
    def breakdown(self) -> float:
        """A residual norm that is nothing but rounding."""
        return BREAKDOWN * self.measured_rounding

    def step(self) -> None:
        """Apply the operator once; before that, make room or find a fresh vector if need be (collective).

        Does nothing once all n pairs are known.
        """
        if self.columns == self.rows.n:
            return
        if self.sealed:
            self._append_fresh()
        elif self.columns == self.size:
            self._restart()
        column = self.columns
        image = self.product(self.basis.vector(column)).to(self.basis.dtype)
        self.products += 1
        coefficients = self.basis.split_off(image).numpy()
        norm = sqrt(self.rows.dot(image, image))
        length = float(np.hypot(np.linalg.norm(coefficients), norm))
        if not np.isfinite(length):
            raise ComputeError(
                f"product {self.products} returned NaN or inf; check the loss and its gradient at this point"
            )
        self.norm = max(self.norm, length)
        if column:
            self.asymmetry.append(float(coefficients[column - 1] - self.projected[column, column - 1]))
        self.projected[: column + 1, column] = coefficients
        self.columns = column + 1
        # What follows is collective: a rank of its own rounding must not decide alone.
        if self.rows.collectives.broadcast_object(self.columns == self.rows.n or norm <= self.breakdown):
            self.set_aside()
            return
        self.projected[column + 1, column] = norm
        self.basis.append(image / norm)

    def ritz(self) -> RitzPairs:
        """The pairs that the basis holds, from the projected matrix of this rank."""
        total, locked = self.columns, self.locked
        coupled = self.projected[: len(self.basis), :total]
        values, coefficients = np.diag(coupled).copy(), np.eye(total)
        if locked < total:
            block = coupled[locked:total, locked:]
            values[locked:], coefficients[locked:, locked:] = np.linalg.eigh((block + block.T) / 2)
        images = coupled @ coefficients
        bounds = np.zeros(total) if self.sealed else np.abs(images[total])
        images[:total] -= coefficients * values
        self.largest = max(self.largest, float(np.abs(values).max()))
        order = by_interest(values, self.which)
        return RitzPairs(
            values[order],
            coefficients[:, order],
            np.hypot(np.linalg.norm(images, axis=0), self.error)[order],
            self.tol * np.maximum(np.abs(values), SMALL * self.largest)[order],
            bounds[order],
            (np.arange(total) >= locked)[order],
        )

    def agreed_ritz(self) -> RitzPairs:
        """The pairs as the first rank sees them (collective)."""
        ranks = self.rows.collectives
        ritz: RitzPairs = ranks.broadcast_object(self.ritz() if ranks.rank == 0 else None)
        return ritz

    def complete(self, ritz: RitzPairs) -> bool:
        """Whether the wanted pairs are there and have converged, multiple ones as far as that can be known."""
        if len(ritz.values) < self.wanted:
            return False
        done = self._done(ritz)
        if not done[: self.wanted].all():
            return False
        if not self.locked or self.columns == self.rows.n:
            return True
        active = np.flatnonzero(ritz.active)
        if len(active) == 0:
            return not self._may_hide_a_better_one(ritz.values)
        # The vector that goes on sees all eigenvalues outside of the locked subspace: the best of them must be known.
        best = active[by_interest(ritz.values[active], self.which)[: self._ends]]
        return bool(done[best].all())

    def nearly_exhausted(self, ritz: RitzPairs) -> bool:
        """Whether little more than rounding is left of all residuals, so that :meth:`set_aside` should be called."""
        small = self._done(ritz) & (ritz.bounds <= AMPLIFIED * self.measured_rounding)
        return bool(ritz.active.any() and small[ritz.active].all() and self.columns < self.rows.n)

    def set_aside(self) -> None:
        """Lock all pairs that the basis holds (collective).

        The residual of the basis, if there is one, goes on in place of a fresh vector, and its coupling is not
        forgotten.
        """
        ritz = self.agreed_ritz()
        outside = ritz.values[ritz.active]
        self.hidden = outside[by_interest(outside, self.which)[: self._ends]]
        roomy = self.columns <= self.size // 2 or self.columns == self.rows.n
        kept = self.columns if roomy else min(self.wanted, self.columns)
        self._rotate(ritz.coefficients[:, :kept], kept)

    def vectors(self, ritz: RitzPairs, count: int) -> Tensor:
        """Row shards of the unit vectors of the first pairs, ``(rows, count)`` (collective)."""
        shards = self.basis.combine(torch.from_numpy(ritz.coefficients[:, :count].copy()))
        for column in shards.T:
            column /= sqrt(self.rows.dot(column, column))
        return shards

    def check(self, ritz: RitzPairs, signs: Array) -> None:
        """Spend one product to see how wrong the residuals of the first pairs are (collective).

        The combination ``Σ ±vᵢ/√k`` of the pairs is multiplied by A and compared with what the coefficients say. Over
        random signs the squared distance is on average the mean of the squared errors of the residual vectors. From
        now on the residuals contain it, as an error in a random direction.

        Parameters
        ----------
        ritz : RitzPairs
        signs : (k,) array of ±1
            For the k first pairs.
        """
        mixture = ritz.coefficients[:, : len(signs)] @ (signs / sqrt(len(signs)))
        vector = self.basis.combine(torch.from_numpy(mixture[:, None]))[:, 0].contiguous()
        image = self.product(vector).to(self.basis.dtype)
        self.products += 1
        expected = self.projected[: len(self.basis), : self.columns] @ mixture
        image = image - self.basis.combine(torch.from_numpy(expected[:, None]))[:, 0]
        self.error = max(self.error, sqrt(self.rows.dot(image, image)))

    def state(self, start: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays, with the basis vectors from index ``start`` on, and facts for a checkpoint (collective).

        The vectors are there on the first rank only.
        """
        shards = self.basis.vectors(start, len(self.basis)).contiguous()
        full = self.rows.collectives.gather_rows(shards, self.rows.counts)
        arrays: dict[str, NDArray[Any]] = {
            "projected": self.projected[: len(self.basis), : self.columns],
            "asymmetry": np.array(self.asymmetry),
            "hidden": self.hidden,
            "vectors": np.zeros((0, 0)) if full is None else full.cpu().numpy().T.copy(),
        }
        return arrays, {name: getattr(self, name) for name in FACTS}

    def restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any], shards: Iterable[Tensor]) -> None:
        """Continue from a checkpoint.

        Parameters
        ----------
        arrays, facts : dict
            As written by :meth:`state`, without the vectors.
        shards : iterable of (rows,) tensors
            This rank's row shards of all basis vectors.
        """
        for name in FACTS:
            setattr(self, name, facts[name])
        self.asymmetry, self.hidden = arrays["asymmetry"].tolist(), arrays["hidden"]
        projected = arrays["projected"]
        self.projected[:] = 0
        self.projected[: projected.shape[0], : projected.shape[1]] = projected
        self.basis = Basis(self.rows, self.basis.dtype, self.basis.device)
        for shard in shards:
            self.basis.append(shard.to(self.basis.device))

    @property
    def _ends(self) -> int:
        return 2 if self.which == "both" else 1

    def _append_fresh(self) -> None:
        vector = self.fresh(self.fresh_starts)
        self.fresh_starts += 1
        # Normalized in between: where the complement is small, little is left of the vector.
        for _ in range(2):
            vector = self.basis.project_out(vector)
            vector = vector / sqrt(self.rows.dot(vector, vector))
        self.basis.append(vector)

    def _restart(self) -> None:
        """Cut the full basis back."""
        ritz = self.agreed_ritz()
        active = np.flatnonzero(ritz.active)
        wanted = int(ritz.active[: self.wanted].sum())
        if self.size - self.locked - wanted < 2:
            # Locked pairs that are not wanted stand in the way; should they be met again, they are still not wanted.
            needed = np.flatnonzero(~ritz.active)[: self.wanted - wanted]
            self._rotate(ritz.coefficients[:, np.concatenate([needed, active])], len(needed))
            return
        ascending = np.argsort(ritz.values[active], kind="stable")
        ranks = np.sort(np.argsort(ascending)[:wanted])
        low = int((ranks == np.arange(wanted)).sum())
        found = (ritz.residuals <= ritz.limits)[active][ascending]
        low, high = kept_at_restart(ritz.values[active][ascending], found, low, wanted - low)
        kept = active[np.concatenate([ascending[:low], ascending[len(ascending) - high :]])]
        locked = np.flatnonzero(~ritz.active)
        self._rotate(ritz.coefficients[:, np.concatenate([locked, kept])], len(locked))
        self.restarts += 1

    def _done(self, ritz: RitzPairs) -> NDArray[np.bool_]:
        # Once a residual is nothing but rounding, more products do not make it smaller.
        return (ritz.residuals <= ritz.limits) | (ritz.bounds <= LEFT_OVER * self.measured_rounding)

    def _rotate(self, rotation: Array, locked: int) -> None:
        """Replace the vectors by combinations of them, the first of which are locked."""
        total, kept = rotation.shape
        residual = None if self.sealed else self.basis.drop_last()
        images = self.projected[: total + 1, :total] @ rotation
        self.projected[:] = 0
        self.projected[:kept, :kept] = rotation.T @ images[:total]
        self.basis.replace(torch.from_numpy(rotation))
        if residual is not None:
            self.projected[kept, :kept] = images[total]
            self.basis.append(residual)
        self.columns, self.locked = kept, locked
        self.rotations += 1

    def _may_hide_a_better_one(self, values: Array) -> bool:
        """Whether a copy of the best locked values, if there were one outside, would be wanted."""
        everything = np.concatenate([values, self.hidden])
        chosen = everything[by_interest(everything, self.which)[: self.wanted]]
        pair = [
            np.sort(np.abs(part) if self.which == "magnitude" else part) for part in (chosen, values[: self.wanted])
        ]
        return bool(np.abs(pair[0] - pair[1]).max() > self.breakdown)


def kept_at_restart(values: Array, found: NDArray[np.bool_], low: int, high: int) -> tuple[int, int]:
    """How many Ritz vectors to keep at both ends of the spectrum.

    What is kept does not slow down what is sought: the convergence of the outermost wanted pair that is not yet found
    is about ``exp(-2 p √γ)`` in the p products up to the next restart, with γ its distance from the values that are not
    kept, in units of their width. The choice maximizes ``p √γ`` (Yamazaki, Bai, Simon, Wang, Wu, ACM Trans. Math.
    Softw. 37 (2010) 27). Outliers at the unwanted end are thus kept rather than suppressed again in every cycle:
    measured on trained networks, half of the products that ARPACK spends on the smallest eigenvalues.

    Parameters
    ----------
    values : (m,) float64
        Ritz values, ascending.
    found : (m,) bool
        Those that have converged.
    low, high : int
        How many are wanted at the low and at the high end; ``low + high < m``.

    Returns
    -------
    low, high : int
        At least as many.

    Examples
    --------
    >>> kept_at_restart(np.array([0, 0.1, 0.3, 0.4, 0.6, 0.7, 0.8, 5, 9]), np.zeros(9, bool), 1, 0)
    (2, 2)
    """
    total = len(values)
    room = max(1, min(total - low - high, max(LEAST_ROOM, (total - low - high) // 4)))
    lows, highs = np.meshgrid(np.arange(low, total), np.arange(high, total), indexing="ij")
    fits = lows + highs <= total - room
    lows, highs = lows[fits], highs[fits]
    bottom, top = values[lows], values[total - 1 - highs]
    width = np.maximum(top - bottom, np.finfo(float).tiny)
    gap = np.full(len(lows), np.inf)
    below, above = np.flatnonzero(~found[:low]), np.flatnonzero(~found[total - high :])
    if len(below):
        gap = np.minimum(gap, (bottom - values[below[0]]) / width)
    if len(above):
        gap = np.minimum(gap, (values[total - high + above[-1]] - top) / width)
    if not np.isfinite(gap).all():
        gap = np.ones(len(lows))
    best = int(np.argmax((total - lows - highs) * np.sqrt(np.maximum(gap, 0))))
    return int(lows[best]), int(highs[best])
