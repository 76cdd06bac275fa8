"""A growing orthonormal basis, stored as row blocks, and the projection of a vector onto its complement."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.krylov.storage import FULL, Memory, VectorStore, scale_for, store_for
from landscape.parallel.rows import RowPartition

# Twice is enough (Giraud, Langou, Rozložník, van den Eshof, Numer. Math. 101 (2005) 87): one pass of classical
# Gram-Schmidt loses orthogonality with the square of the condition number, two passes do not.
PASSES = 2


class Basis:
    """Orthonormal vectors of length n, of which this rank holds a row shard.

    Parameters
    ----------
    rows : RowPartition
        Which rows are here.
    dtype, device
        Of the computation.
    memory : Memory
        How and where the vectors are kept.
    """

    def __init__(self, rows: RowPartition, dtype: torch.dtype, device: torch.device, memory: Memory = FULL) -> None:
        self.rows = rows
        self.dtype = dtype
        self.device = device
        self.memory = memory
        self.steps = 0
        self._scale = scale_for(memory.dtype(dtype), rows.n)
        self._store: VectorStore = store_for(memory, rows, dtype, device)

    def __len__(self) -> int:
        return self.steps

    @property
    def exact(self) -> bool:
        """Whether vectors come back as they were given."""
        return self.memory.dtype(self.dtype) == self.dtype

    def append(self, shard: Tensor) -> None:
        """Add a vector, given its row shard."""
        self._store.write(self.steps, self.rows.split(shard if self.exact else shard * self._scale))
        self.steps += 1

    def vector(self, index: int) -> Tensor:
        """The row shard of one vector, ``(rows,)``."""
        return self.vectors(index, index + 1)[:, 0]

    def vectors(self, start: int, stop: int) -> Tensor:
        """The row shards of some vectors, ``(rows, stop - start)``."""
        result = torch.empty(stop - start, self.rows.rows, dtype=self.dtype, device=self.device)
        done = 0
        for chunk, low, high in self._store.ranges(start, stop):
            for block, part in enumerate(self.rows.split(result.T)):
                part[:, done : done + high - low] = self._store.read(chunk, block, low, high).T
            done += high - low
        return result.div_(self._scale).T

    def project_out(self, shard: Tensor, passes: int = PASSES, count: int | None = None) -> Tensor:
        """Subtract from a vector its components along the basis (collective).

        Parameters
        ----------
        shard : (rows,) tensor
            Changed in place.
        count : int, optional
            Only along the first so many vectors.

        Returns
        -------
        The same tensor.
        """
        self.split_off(shard, passes, count)
        return shard

    def split_off(self, shard: Tensor, passes: int = PASSES, count: int | None = None) -> Tensor:
        """Do as :meth:`project_out`, and return what was subtracted (collective).

        The coefficients are summed over the blocks in float64; inside a block they are dot products in the dtype of
        the computation, which is enough: the second pass removes what the rounding of the first leaves.

        Parameters
        ----------
        shard : (rows,) tensor
            Changed in place.

        Returns
        -------
        (vectors,) float64, on the host
            The coefficients: the given vector is their combination of the basis plus what is left of it.
        """
        count = self.steps if count is None else count
        total = torch.zeros(count, dtype=torch.float64)
        for _ in range(passes):
            found = self.components(shard, count)
            self.subtract(shard, found)
            total += found
        return total

    def components(self, shard: Tensor, count: int) -> Tensor:
        """Dot products of a vector with the first so many vectors (collective).

        Parameters
        ----------
        shard : (rows,) tensor
        count : int

        Returns
        -------
        (count,) float64, on the host
        """
        parts = self.rows.split(shard)
        partial: list[list[Tensor]] = [[] for _ in parts]
        for chunk, low, high in self._store.ranges(0, count):
            for block, part in enumerate(parts):
                partial[block].append(self._matrix(chunk, block, low, high) @ part)
        stacked = torch.zeros(len(parts), count, dtype=torch.float64)
        if parts and count:
            stacked = torch.stack([torch.cat(pieces) for pieces in partial]).double().cpu()
        return self.rows.sum_blocks(stacked).div_(self._scale)

    def subtract(self, shard: Tensor, coefficients: Tensor) -> None:
        """Subtract a combination of the first vectors from a vector, in place.

        Parameters
        ----------
        shard : (rows,) tensor
        coefficients : (vectors,) float64
        """
        weights, start = coefficients.to(device=self.device, dtype=self.dtype) / self._scale, 0
        parts = self.rows.split(shard)
        for chunk, low, high in self._store.ranges(0, len(coefficients)):
            for block, part in enumerate(parts):
                part -= weights[start : start + high - low] @ self._matrix(chunk, block, low, high)
            start += high - low

    def combine(self, coefficients: Tensor) -> Tensor:
        """Row shards of linear combinations of the first vectors.

        Parameters
        ----------
        coefficients : (vectors, columns) tensor

        Returns
        -------
        (rows, columns) tensor
        """
        weights = coefficients.to(device=self.device, dtype=self.dtype).T.contiguous()
        blocks = [self._combined(weights, block).T for block in range(len(self._store.lengths))]
        if not blocks:
            return torch.empty(0, len(weights), dtype=self.dtype, device=self.device)
        return torch.cat(blocks)

    def replace(self, coefficients: Tensor) -> None:
        """Put linear combinations of the vectors in their place.

        Parameters
        ----------
        coefficients : (vectors, columns) tensor
            Orthonormal columns, no more than rows.
        """
        weights = coefficients.to(device=self.device, dtype=self.dtype).T.contiguous()
        for block in range(len(self._store.lengths)):
            rotated, done = self._combined(weights, block) * self._scale, 0
            for chunk, low, high in self._store.ranges(0, len(weights)):
                self._store.put(chunk, block, low, rotated[done : done + high - low])
                done += high - low
        self.steps = len(weights)

    def drop_last(self) -> Tensor:
        """Remove the last vector and return its row shard."""
        last = self.vector(self.steps - 1)
        self.steps -= 1
        return last

    def _combined(self, weights: Tensor, block: int) -> Tensor:
        """Combinations of the first vectors in one block, ``(combinations, rows of the block)``."""
        result = torch.zeros(len(weights), self._store.lengths[block], dtype=self.dtype, device=self.device)
        start = 0
        for chunk, low, high in self._store.ranges(0, weights.shape[1]):
            result += weights[:, start : start + high - low] @ self._matrix(chunk, block, low, high)
            start += high - low
        return result.div_(self._scale)

    def _matrix(self, chunk: int, block: int, low: int, high: int) -> Tensor:
        """Some vectors of a chunk in one block, as the computation needs them."""
        return self._store.read(chunk, block, low, high).to(device=self.device, dtype=self.dtype)
