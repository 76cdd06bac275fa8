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
from landscape.krylov import Lanczos, gaussian
from landscape.parallel.rows import RowPartition
from landscape.store import RunState

Array = NDArray[np.float64]


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
    """

    probe: int
    alpha: Array
    beta: Array
    rounding: float
    exhausted: bool
    resumed: int


class DurableLanczos:
    """Lanczos for one probe of an operator, checkpointed to a :class:`~landscape.store.RunState`.

    Segments hold T so far and the basis vectors that are new since the last segment; the first rank of the group
    writes. A resumed run continues with the same bits on any number of ranks.

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
    """

    def __init__(
        self,
        operator: Operator,
        seed: int,
        probe: int,
        state: RunState | None,
        every: float,
        complete: bool = False,
    ) -> None:
        self.seed = seed
        self.probe = probe
        self.complete = complete
        self.state = state
        self.every = every
        self.rows = RowPartition(operator.n, operator.grid.data)
        start = gaussian(self.rows, seed, probe, operator.dtype, operator.device)
        self.lanczos = Lanczos(lambda shard: operator.apply_rows(shard, self.rows), self.rows, start)
        self.resumed = 0
        self._saved_vectors = 0
        self._last = time.monotonic()
        if state is not None:
            self._restore(state)

    @property
    def steps(self) -> int:
        """Products of this run, including those before a restart."""
        return self.lanczos.steps

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
        if self.state is None or self._saved_vectors == len(self.lanczos.basis) + int(self.lanczos.exhausted):
            return
        arrays = self.lanczos.state(self._saved_vectors)
        if self.rows.collectives.rank == 0:
            self.state.append(arrays, {"steps": self.steps, "exhausted": self.lanczos.exhausted})
        self._saved_vectors = len(self.lanczos.basis) + int(self.lanczos.exhausted)
        self._last = time.monotonic()

    def result(self) -> Recurrence:
        """T and what was measured on the way."""
        lanczos = self.lanczos
        return Recurrence(
            self.probe,
            np.array(lanczos.alpha),
            np.array(lanczos.beta),
            lanczos.measured_rounding,
            lanczos.exhausted,
            self.resumed,
        )

    def _restore(self, state: RunState) -> None:
        ranks = self.rows.collectives
        segments = list(state.segments()) if ranks.rank == 0 else []
        facts: dict[str, Any] | None = None
        if segments:
            arrays, attributes = segments[-1]
            parts = [part["vectors"] for part, _ in segments]
            facts = {name: arrays[name] for name in ("alpha", "beta", "asymmetry")}
            facts |= {"exhausted": bool(attributes["exhausted"]), "vectors": sum(len(part) for part in parts)}
        facts = ranks.broadcast_object(facts)
        if facts is None:
            return
        basis = self.lanczos.basis
        full = np.concatenate(parts) if segments else None
        shards = shards_of_first_rank(self.rows, full, facts["vectors"], basis.dtype)
        self.lanczos.restore(facts["alpha"], facts["beta"], facts["asymmetry"], shards, facts["exhausted"])
        self.resumed = self.steps
        self._saved_vectors = len(self.lanczos.basis) + int(self.lanczos.exhausted)


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
    for index in range(count):
        vector = torch.empty(rows.n, dtype=dtype)
        if rows.collectives.rank == 0 and vectors is not None:
            vector = torch.from_numpy(vectors[index].copy())
        rows.collectives.broadcast(vector)
        yield rows.shard(vector)
