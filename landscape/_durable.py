"""A Lanczos run that survives a kill: what it has computed is on disk every few seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.curvature import Operator
from landscape.krylov import Lanczos, Memory, Quadrature, gaussian
from landscape.krylov.storage import FULL
from landscape.parallel.rows import RowPartition
from landscape.store import RunState

Array = NDArray[np.float64]

# Vectors go to the disk in pieces of about this many bytes: the first rank gathers one piece at a time.
PIECE_BYTES = 1 << 26


@dataclass(frozen=True)
class Recurrence:
    """What a finished or half-done run knows besides its basis.

    Attributes
    ----------
    probe : int
        Which start vector.
    alpha, beta : (m,) float64
    rounding : float
        Norm of the rounding error of one product, in units of the eigenvalues.
    exhausted : bool
        An invariant subspace was found.
    resumed : int
        Steps that were read from disk.
    complement : tuple of Quadrature
        Rules of short runs outside what this one has resolved.
    """

    probe: int
    alpha: Array
    beta: Array
    rounding: float
    exhausted: bool
    resumed: int
    complement: tuple[Quadrature, ...] = ()

    @property
    def products(self) -> int:
        """Of the run and the short ones."""
        return len(self.alpha) + sum(len(rule.nodes) for rule in self.complement)


class DurableLanczos:
    """Lanczos for one probe of an operator, checkpointed to a :class:`~landscape.store.RunState`.

    Segments hold T so far and the basis vectors that are new since the last segment; the first rank of the group
    writes. A checkpoint is one or several segments, of which the last one says that it is complete; without a basis it
    replaces the one before. A resumed run continues with the same bits on any number of ranks.

    Parameters
    ----------
    operator : Operator
    seed, probe : int
        Of the start vector.
    state : RunState or None
        None on all ranks of a group, or given on all.
    every : float
        Seconds between checkpoints.
    complete : bool
        Go on after an invariant subspace until all n eigenvalues are found.
    memory : Memory
        How the basis is kept.
    """

    def __init__(
        self,
        operator: Operator,
        seed: int,
        probe: int,
        state: RunState | None,
        every: float,
        complete: bool = False,
        memory: Memory = FULL,
    ) -> None:
        self.seed = seed
        self.probe = probe
        self.complete = complete
        self.state = state
        self.every = every
        self.rows = rows = RowPartition(operator.n, operator.grid.data)
        start = gaussian(rows, seed, probe, operator.dtype, operator.device)
        # Not self.rows: in a circle with this object, the operator and all it keeps would wait for the collector.
        self.lanczos = Lanczos(lambda shard: operator.apply_rows(shard, rows), rows, start, memory)
        self.resumed = 0
        self._saved = self._progress
        self._saved_vectors = 0
        self._last = time.monotonic()
        if state is not None:
            self._restore(state)

    @property
    def steps(self) -> int:
        """Products of this run, including those before a restart."""
        return self.lanczos.steps

    @property
    def _progress(self) -> tuple[int, int, bool]:
        return self.steps, self.lanczos.vectors, self.lanczos.exhausted

    def advance(self) -> None:
        """One product, and a checkpoint if one is due (collective)."""
        lanczos, basis = self.lanczos, self.lanczos.basis
        lanczos.step()
        if lanczos.exhausted and self.complete and self.steps < self.rows.n:
            # Streams of restarts are counted after those of all probes, which are far fewer than 2**32.
            lanczos.restart(gaussian(self.rows, self.seed, 2**32 + self.steps, basis.dtype, basis.device))
        if self.state is None:
            return
        due = float(time.monotonic() - self._last >= self.every)
        if self.rows.collectives.max(due):
            self.save()

    def save(self) -> None:
        """Put everything new on disk (collective)."""
        if self.state is None or self._saved == self._progress:
            return
        lanczos, first = self.lanczos, self.rows.collectives.rank == 0
        attributes = {"steps": self.steps, "exhausted": lanczos.exhausted, "pending": lanczos.omega.pending}
        total, start = len(lanczos.basis), self._saved_vectors
        piece = max(1, PIECE_BYTES // (self.rows.n * lanczos.basis.dtype.itemsize))
        while start + piece < total:
            vectors = self._gathered(lanczos.basis.vectors(start, start + piece))
            if first:
                self.state.append({"vectors": vectors}, attributes | {"start": start, "complete": False})
            start += piece
        arrays = lanczos.facts() | {"vectors": self._gathered(lanczos.basis.vectors(start, total))}
        if not lanczos.basis.exact or not lanczos.memory.keeps_basis:
            arrays["newest"] = self._gathered(lanczos.newest().T)
        attributes |= {"start": start, "complete": True, "vectors": lanczos.vectors}
        if first:
            write = self.state.append if lanczos.memory.keeps_basis else self.state.replace
            write(arrays, attributes)
        self._saved, self._saved_vectors = self._progress, total
        self._last = time.monotonic()

    def _gathered(self, shards: Tensor) -> NDArray[Any]:
        """Vectors ``(vectors, n)`` on the first rank from their row shards; nothing on the others (collective)."""
        full = self.rows.collectives.gather_rows(shards.contiguous(), self.rows.counts)
        return np.zeros((0, 0)) if full is None else np.ascontiguousarray(full.cpu().numpy().T)

    def result(self) -> Recurrence:
        """T and what was measured on the way."""
        lanczos = self.lanczos
        return Recurrence(
            self.probe,
            np.array(lanczos.alpha),
            np.array(lanczos.beta),
            lanczos.noise,
            lanczos.exhausted,
            self.resumed,
        )

    def _restore(self, state: RunState) -> None:
        ranks, lanczos = self.rows.collectives, self.lanczos
        facts, owners = _last_checkpoint(state) if ranks.rank == 0 else (None, [])
        newest = facts.pop("newest", None) if facts is not None else None
        facts = ranks.broadcast_object(None if facts is None else facts | {"newest vectors": _count(newest)})
        if facts is None:
            return
        vectors = _vectors(state, owners) if ranks.rank == 0 else iter(())
        shards = shards_in_turn(self.rows, vectors, facts["kept"], lanczos.basis.dtype)
        two = shards_in_turn(
            self.rows, iter(newest if newest is not None else ()), facts["newest vectors"], lanczos.basis.dtype
        )
        lanczos.restore(facts, shards, two if facts["newest vectors"] else None)
        self.resumed = self.steps
        self._saved, self._saved_vectors = self._progress, len(lanczos.basis)


def _last_checkpoint(state: RunState) -> tuple[dict[str, Any] | None, list[int]]:
    """Facts of the last complete checkpoint, and which segment holds each vector of its basis."""
    facts: dict[str, Any] | None = None
    owners: dict[int, int] = {}
    for index, (arrays, attributes) in enumerate(state.segments()):
        vectors = arrays.pop("vectors")
        start = attributes.get("start", len(owners))
        owners |= dict.fromkeys(range(start, start + len(vectors)), index)
        # What a killed process wrote of an unfinished checkpoint is written again by a later one.
        if attributes.get("complete", True):
            kept = start + len(vectors)
            facts = {**arrays, **attributes, "kept": kept, "vectors": attributes.get("vectors", kept)}
    return facts, [owners[index] for index in range(facts["kept"])] if facts is not None else []


def _vectors(state: RunState, owners: list[int]) -> Iterator[NDArray[Any]]:
    """The vectors of a basis in their order, one segment in memory at a time."""
    done = 0
    for index, (arrays, attributes) in enumerate(state.segments()):
        start = attributes.get("start", done)
        for position, vector in enumerate(arrays["vectors"], start):
            if position < len(owners) and owners[position] == index:
                yield vector
                done += 1


def _count(vectors: NDArray[Any] | None) -> int:
    return 0 if vectors is None else len(vectors)


def shards_in_turn(
    rows: RowPartition, vectors: Iterator[NDArray[Any]], count: int, dtype: torch.dtype
) -> Iterator[Tensor]:
    """Hand every rank its rows of vectors that the first rank reads (collective, one vector at a time).

    Parameters
    ----------
    rows : RowPartition
    vectors : iterator of (n,) arrays
        On the first rank; anything on the others.
    count : int
    dtype : torch.dtype
        Of the vectors.

    Yields
    ------
    (rows,) tensor
    """
    for _ in range(count):
        vector = torch.empty(rows.n, dtype=dtype)
        if rows.collectives.rank == 0:
            vector = torch.from_numpy(next(vectors).copy())
        rows.collectives.broadcast(vector)
        yield rows.shard(vector)


def shards_of_first_rank(
    rows: RowPartition, vectors: NDArray[Any] | None, count: int, dtype: torch.dtype
) -> Iterator[Tensor]:
    """Hand every rank its rows of vectors that the first rank has read (collective, one vector at a time).

    Parameters
    ----------
    rows : RowPartition
    vectors : (count, n) array
        On the first rank; anything on the others.
    count : int
    dtype : torch.dtype
        Of the vectors.

    Yields
    ------
    (rows,) tensor
    """
    yield from shards_in_turn(rows, iter(vectors if vectors is not None else ()), count, dtype)
