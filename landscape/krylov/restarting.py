"""Extreme eigenpairs by the (block) Lanczos recurrence in a basis of bounded size, on row shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.errors import ComputeError
from landscape.krylov.lanczos import BREAKDOWN, check_symmetric, rounding_seen
from landscape.krylov.orthogonalization import Basis
from landscape.krylov.ritz import OUTERMOST, RitzPairs, by_interest, kept_at_restart
from landscape.parallel.rows import RowPartition

Array = NDArray[np.float64]

# Eigenvalues below this fraction of the largest need only be as accurate as one of this size: the rounding of float32
# products allows no more.
SMALL = 1e-3

# The part of a residual that more products remove is negligible below this fraction of the rounding of a product.
LEFT_OVER = 0.1
# Rounding of earlier steps may be amplified this much in a residual that would be zero.
AMPLIFIED = 1e3
# What a checkpoint holds besides arrays.
FACTS = ("products", "restarts", "rotations", "fresh_starts", "columns", "locked", "norm", "largest", "error")


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

    With p start vectors it is a block method (Grimes, Lewis, Simon, SIAM J. Matrix Anal. Appl. 15 (1994) 228) in the
    form of a band: p vectors wait for their products, each image is orthogonalized against all vectors and waits in
    turn, and one that is nothing but rounding is left out, so that the band becomes narrower where the space of one
    start vector is exhausted. Hence any number of products may follow a restart or precede a stop. The space of p
    vectors holds p copies of a multiple eigenvalue; it needs more products than that of one vector to find simple ones.

    Every rank takes the same decisions, those of the first one.

    Parameters
    ----------
    product : callable
        Row shard of v to row shard of Av (collective).
    rows : RowPartition
    start : (rows,) or (rows, p) tensor
        Row shards of the start vectors, not zero; they are orthonormalized here.
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
    products_of : callable, optional
        Row shards of several vectors, ``(rows, q)``, to those of their images (collective), where that is cheaper than
        q times ``product``.
    shift : float
        A multiple of the identity in the operator, such as weight decay: ``tol`` is relative to what is added to it.

    Attributes
    ----------
    products, restarts : int
    rotations : int
        How often the vectors of the basis were replaced.
    largest : float
        The largest ``|λ - shift|`` of a Ritz value that was looked at.
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
        products_of: Callable[[Tensor], Tensor] | None = None,
        shift: float = 0.0,
    ) -> None:
        self.product = product
        self.products_of = products_of
        self.shift = shift
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
        starts = start[:, None] if start.dim() == 1 else start
        self.block = min(starts.shape[1], rows.n)
        # Image j is the combination of the basis with the coefficients in column j.
        self.projected: Array = np.zeros((self.size + self.block, self.size))
        self.basis = Basis(rows, start.dtype, start.device)
        for column in starts.T[: self.block]:
            self._append_start(column)

    @property
    def sealed(self) -> bool:
        """Whether the basis spans an invariant subspace, so that only a fresh vector can go on."""
        return self.columns == len(self.basis)

    @property
    def waiting(self) -> int:
        """Vectors of the basis whose images are not known: the width of the band."""
        return len(self.basis) - self.columns

    @property
    def measured_rounding(self) -> float:
        """Norm of the rounding error of one product; see :func:`~landscape.krylov.lanczos.rounding_seen`."""
        return rounding_seen(self.asymmetry, self.rows.n, torch.finfo(self.basis.dtype).eps * self.norm)

    @property
    def breakdown(self) -> float:
        """A residual norm that is nothing but rounding."""
        return BREAKDOWN * self.measured_rounding

    def step(self, most: int | None = None) -> None:
        """Apply the operator to all waiting vectors; before that, make room or find fresh ones if need be (collective).

        Does nothing once all n pairs are known.

        Parameters
        ----------
        most : int, optional
            At most so many products.
        """
        if self.columns == self.rows.n:
            return
        if self.sealed:
            for _ in range(min(self.block, self.rows.n - self.columns)):
                self._append_fresh()
        elif self.columns == self.size:
            self._restart()
        count = min(self.waiting, self.size - self.columns, self.waiting if most is None else max(most, 1))
        for image in self._images(count):
            self._take(image)
        # What follows is collective: a rank of its own rounding must not decide alone.
        if self.waiting == 0:
            self.set_aside()

    def _images(self, count: int) -> Iterator[Tensor]:
        """Images of the vectors that have waited longest."""
        first = self.columns
        if count > 1 and self.products_of is not None:
            yield from self.products_of(self.basis.vectors(first, first + count)).to(self.basis.dtype).T
            return
        for index in range(first, first + count):
            yield self.product(self.basis.vector(index)).to(self.basis.dtype)

    def _take(self, image: Tensor) -> None:
        """Express the next image by the basis; what is left of it is a new vector, if it is more than rounding."""
        column, image = self.columns, image.contiguous()
        self.products += 1
        newest = [self.basis.vector(index) for index in range(column, max(column - 2, -1), -1)]
        seen = self.rows.dots(newest, image)
        coefficients = self.basis.split_off(image).numpy()
        # Inside a block the projection is accumulated in the dtype of the vectors; see Lanczos.
        for back, (vector, left) in enumerate(zip(newest, self.rows.dots(newest, image), strict=True)):
            image.sub_(vector, alpha=left)
            coefficients[column - back] += left
        norm = sqrt(self.rows.dot(image, image))
        length = float(np.hypot(np.linalg.norm(coefficients), norm))
        if not np.isfinite(length):
            raise ComputeError(
                f"product {self.products} returned NaN or inf; check the loss and its gradient at this point"
            )
        self.norm = max(self.norm, length)
        if column:
            self.asymmetry.append(seen[1] - float(self.projected[column, column - 1]))
            check_symmetric(self.asymmetry[-1], self.norm)
        self.projected[: len(self.basis), column] = coefficients
        self.columns = column + 1
        nothing = len(self.basis) == self.rows.n or norm <= self.breakdown
        if self.rows.collectives.broadcast_object(nothing):
            return
        self.projected[len(self.basis), column] = norm
        self.basis.append(self.rows.unit(image, norm))

    def ritz(self) -> RitzPairs:
        """The pairs that the basis holds, from the projected matrix of this rank."""
        total, locked = self.columns, self.locked
        coupled = self.projected[: len(self.basis), :total]
        values, coefficients = np.diag(coupled).copy(), np.eye(total)
        if locked < total:
            block = coupled[locked:total, locked:]
            values[locked:], coefficients[locked:, locked:] = np.linalg.eigh((block + block.T) / 2)
        images = coupled @ coefficients
        bounds = np.linalg.norm(images[total:], axis=0)
        images[:total] -= coefficients * values
        sizes = np.abs(values - self.shift)
        self.largest = max(self.largest, float(sizes.max()))
        order = by_interest(values, self.which)
        return RitzPairs(
            values[order],
            coefficients[:, order],
            np.hypot(np.linalg.norm(images, axis=0), self.error)[order],
            self.tol * np.maximum(sizes, SMALL * self.largest)[order],
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

        The vectors that wait, if there are any, go on in place of fresh ones, and their coupling is not forgotten.
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
        return 2 if self.which in ("both", OUTERMOST) else 1

    def _append_start(self, shard: Tensor) -> None:
        """Add a start vector, or a fresh one if it lies in the space of those before it."""
        length = sqrt(self.rows.dot(shard, shard))
        if len(self.basis) == 0:
            self.basis.append(shard / length)
            return
        rest = self.basis.project_out(shard / length)
        left = sqrt(self.rows.dot(rest, rest))
        if self.rows.collectives.broadcast_object(left <= self.rows.n * torch.finfo(rest.dtype).eps):
            self._append_fresh()
            return
        rest = self.basis.project_out(rest / left)  # normalized in between, as below
        self.basis.append(rest / sqrt(self.rows.dot(rest, rest)))

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
        low, high = kept_at_restart(ritz.values[active][ascending], found, low, wanted - low, self.block)
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
        images = self.projected[: len(self.basis), :total] @ rotation
        waiting = [self.basis.drop_last() for _ in range(self.waiting)][::-1]
        self.projected[:] = 0
        self.projected[:kept, :kept] = rotation.T @ images[:total]
        self.projected[kept : kept + len(waiting), :kept] = images[total:]
        self.basis.replace(torch.from_numpy(rotation))
        for vector in waiting:
            self.basis.append(vector)
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
