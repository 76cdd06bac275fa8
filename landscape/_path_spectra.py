"""Eigenpairs and densities at the points of a path: chains of points, which begin at the ends where they can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape._chains import Parts, Progress, in_chains
from landscape.curvature import Hessian
from landscape.eigen import settings_for, solve, start_vectors
from landscape.geometry.products import product
from landscape.krylov.ritz import OUTERMOST
from landscape.objective import Objective
from landscape.records import SpectralDensity
from landscape.records.parts import record_from, record_parts
from landscape.spectrum import spectral_density
from landscape.store import RunState

Array = NDArray[np.float64]
PAIRS, DENSITY = "pairs", "density"
# Of the change from point to point, how much the start at the next one is ahead.
AHEAD = 0.5


class PathSpectra:
    """The k largest eigenvalues, the smallest one and the density at points of a path (collective).

    First the eigenpairs of both ends, with which all others are compared. Then everything else in one go: the chains,
    inside which the vectors of one point start the runs at the next, and the densities, whose probes are random and the
    same at all points, so that each of them is a task of its own.

    Parameters
    ----------
    hessian : Hessian
        Prepared.
    s : (p,) array
        Ascending, 0 and 1 among them.
    objective_at : callable
        Share of the length → the objective there, of this rank alone.
    tangent : callable
        Share of the length → unit vector ``(n,)``.
    pairs, pair_tol : int, float
        How many of the largest, 0 for none and no smallest one; as for :func:`landscape.eigenpairs`.
    tol : float, optional
        As for :func:`landscape.spectral_density`; without it there are no densities.
    seed, chain : int
    """

    def __init__(
        self,
        hessian: Hessian,
        s: Array,
        objective_at: Callable[[float], Objective],
        tangent: Callable[[float], Array],
        *,
        pairs: int,
        pair_tol: float,
        tol: float | None,
        seed: int,
        chain: int,
    ) -> None:
        self._hessian, self._s = hessian, s
        self._objective_at, self._tangent = objective_at, tangent
        self._tol, self._seed, self._k = tol, seed, pairs
        # One run for both sides: its Krylov space serves them together.
        self._settings = settings_for(hessian, pairs, "largest", pair_tol, None, None, seed) if pairs else {}
        self._settings |= {"which": OUTERMOST, "k": min(pairs + 1, hessian.n)}
        self._ends = [int(np.flatnonzero(s == place)[0]) for place in (0.0, 1.0)]
        self._of_ends: dict[int, Parts] = {}
        first, last = self._ends
        self._beside = {first - 1: first, last + 1: last}
        self._chains = chains_from_ends(len(s), first, last, chain) if pairs else []

    @property
    def total(self) -> int:
        """Number of items, for progress."""
        return (2 if self._k else 0) + sum(map(len, self._chains)) + (len(self._s) if self._tol else 0)

    def compute(
        self, state: RunState | None, progress: Progress | None
    ) -> tuple[dict[str, NDArray[Any]], list[SpectralDensity], int]:
        """Arrays of the record from eigenpairs, the densities, and how many items were read from disk (collective)."""
        grid = self._hessian.grid
        resumed = 0
        if self._k:
            chains = [[(PAIRS, end)] for end in self._ends]
            found, resumed = in_chains(chains, self._of_end, grid, state, progress, "end")
            self._of_ends = {end: parts for end, (parts,) in zip(self._ends, found, strict=True)}

        def further(done: int, total: int, text: str) -> None:
            if progress is not None:
                progress(done + self.total - total, self.total, text)

        items: list[list[tuple[str, int]]] = [[(PAIRS, index) for index in chain] for chain in self._chains]
        items += [[(DENSITY, index)] for index in range(len(self._s) if self._tol else 0)]
        found, again = in_chains(items, self._at, grid, state, further)
        pairs = {
            index: parts
            for chain, each in zip(self._chains, found[: len(self._chains)], strict=True)
            for index, parts in zip(chain, each, strict=True)
        }
        densities = [record_from(SpectralDensity, *one) for (one,) in found[len(self._chains) :]]
        return _columns([pairs[index] for index in sorted(pairs)]), densities, resumed + again

    def _of_end(self, item: tuple[str, int], carried: Any) -> tuple[Parts, Any]:
        (arrays, facts), vectors = self._solved(item[1], None)
        return ({**arrays, "vectors": vectors}, facts), None

    def _at(self, item: tuple[str, int], carried: Any) -> tuple[Parts, Any]:
        kind, index = item
        if kind == DENSITY:
            here = self._hessian.of(self._objective_at(self._s[index]))
            return record_parts(spectral_density(here, tol=self._tol or 0.0, seed=self._seed)), None
        if carried is None and index in self._beside:
            carried = _onwards(self._of_ends[self._beside[index]][0]["vectors"], None)
        if index in self._of_ends:
            arrays, facts = self._of_ends[index]
            vectors = arrays["vectors"]
            arrays = {name: array for name, array in arrays.items() if name != "vectors"}
        else:
            (arrays, facts), vectors = self._solved(index, None if carried is None else carried[:, -1])
        parts = {**arrays, **self._overlaps(index, vectors[:, :-1])}, facts
        return parts, _onwards(vectors, None if carried is None else carried[:, :-1])

    def _solved(self, index: int, given: NDArray[Any] | None) -> tuple[Parts, NDArray[Any]]:
        """Eigenvalues with residuals, and the vectors of the largest with that of the smallest in the last column."""
        here = self._hessian.of(self._objective_at(self._s[index]))
        start = None if given is None else start_vectors(given, here, 1)
        # Along a chain the product that checks the residuals is spent once, as in a series.
        pairs, _ = solve(here, {**self._settings, "check": given is None}, start)
        order = np.argsort(-pairs.values, kind="stable")
        largest, smallest = order[: min(self._k, max(1, len(order) - (self._k < here.n)))], order[-1:]
        arrays = {
            "values": _filled(pairs.values[largest], self._k),
            "residuals": _filled(pairs.residuals[largest], self._k),
            "smallest": pairs.values[smallest],
            "smallest_residuals": pairs.residuals[smallest],
        }
        facts = {"products": pairs.products, "warm": given is not None}
        # In one memory order, whether they were just computed or read from disk: products depend on it in the last bit.
        return (arrays, facts), np.ascontiguousarray(pairs.vectors[:, np.concatenate([largest, smallest])])

    def _overlaps(self, index: int, vectors: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """How much of the path's direction, and of the spaces at both ends, the space of these vectors holds."""
        along = product(vectors.T, self._tangent(self._s[index])[:, None])
        of_ends = [
            float((product(vectors.T, self._of_ends[end][0]["vectors"][:, :-1]) ** 2).sum()) / vectors.shape[1]
            for end in self._ends
        ]
        return {"tangent_overlap": np.array([float((along**2).sum())]), "end_overlap": np.array(of_ends)}


def chains_from_ends(points: int, first: int, last: int, length: int) -> list[list[int]]:
    """Points in chains of neighbours that lead away from the ends of a path where they can.

    Parameters
    ----------
    points : int
    first, last : int
        Which of them are the ends.
    length : int
        Most points in a chain, the ends not counted.

    Examples
    --------
    >>> chains_from_ends(12, 1, 10, 3)
    [[1, 2, 3], [4, 5, 6], [10, 9, 8, 7], [0], [11]]
    """
    inner = _cut(range(first + 1, last), length)
    chains = [[first, *(inner[0] if inner else [])], *inner[1:-1]]
    chains.append([last, *(reversed(inner[-1]) if len(inner) > 1 else [])])
    return chains + _cut(range(first - 1, -1, -1), length) + _cut(range(last + 1, points), length)


def _onwards(vectors: NDArray[Any], before: NDArray[Any] | None) -> NDArray[Any]:
    """What a chain carries over: the vectors of a point, and in the last column what starts the run at the next one.

    That is their sum, with half of what they have changed by since the point before: the vectors turn on, but not as
    far as they did. The span counts, not the basis of it: those before are first rotated among themselves to be as near
    as they can be (Procrustes). Saves 4 % of the products of the sum alone, between seeds of digits-cnn.
    """
    start = vectors.sum(1, dtype=float)
    if before is not None:
        left, _, right = np.linalg.svd(product(before.T, vectors), full_matrices=False)
        rotated = product(before, left @ right)
        start += AHEAD * (vectors - rotated).sum(1)
    return np.concatenate([vectors, start[:, None].astype(vectors.dtype)], axis=1)


def _cut(points: range, length: int) -> list[list[int]]:
    """Equal parts, as few as possible."""
    count = -(-len(points) // length)
    return [list(points[len(points) * part // count : len(points) * (part + 1) // count]) for part in range(count)]


def _columns(found: Sequence[Parts]) -> dict[str, NDArray[Any]]:
    if not found:
        return {}
    arrays = {name: np.stack([one[name] for one, _ in found]) for name in found[0][0]}
    arrays |= {
        name: array[:, 0] for name, array in arrays.items() if name not in ("values", "residuals", "end_overlap")
    }
    return {
        **arrays,
        "product_counts": np.array([facts["products"] for _, facts in found], np.int64),
        "warm": np.array([facts["warm"] for _, facts in found], bool),
    }


def _filled(values: NDArray[Any], width: int) -> Array:
    row = np.full(width, np.nan)
    row[: len(values)] = values
    return row
