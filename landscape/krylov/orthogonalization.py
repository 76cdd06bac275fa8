"""A growing orthonormal basis, stored as row blocks, and the projection of a vector onto its complement."""

from __future__ import annotations

import torch
from torch import Tensor

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
        How the vectors are stored.
    """

    def __init__(self, rows: RowPartition, dtype: torch.dtype, device: torch.device) -> None:
        self.rows = rows
        self.dtype = dtype
        self.device = device
        self.steps = 0
        # One (capacity, rows of the block) matrix per local block: the operands of every BLAS call then depend on the
        # partition of n alone, and so do the bits of its result.
        self._blocks: list[Tensor] = [
            torch.empty(0, len(block), dtype=dtype, device=device)
            for block in rows.split(torch.empty(rows.rows, dtype=torch.bool))
        ]

    def __len__(self) -> int:
        return self.steps

    def append(self, shard: Tensor) -> None:
        """Add a vector, given its row shard."""
        if self._blocks and self.steps == self._blocks[0].shape[0]:
            self._grow(max(16, 2 * self.steps))
        for store, part in zip(self._blocks, self.rows.split(shard), strict=True):
            store[self.steps] = part
        self.steps += 1

    def vector(self, index: int) -> Tensor:
        """The row shard of one vector, ``(rows,)``."""
        return self._joined([store[index] for store in self._blocks])

    def vectors(self, start: int, stop: int) -> Tensor:
        """The row shards of some vectors, ``(rows, stop - start)``."""
        if not self._blocks:
            return torch.empty(0, stop - start, dtype=self.dtype, device=self.device)
        return torch.cat([store[start:stop].T for store in self._blocks])

    def project_out(self, shard: Tensor, passes: int = PASSES) -> Tensor:
        """Subtract from a vector its components along the basis (collective).

        Parameters
        ----------
        shard : (rows,) tensor
            Changed in place.

        Returns
        -------
        The same tensor.
        """
        self.split_off(shard, passes)
        return shard

    def split_off(self, shard: Tensor, passes: int = PASSES) -> Tensor:
        """Do as :meth:`project_out`, and return what was subtracted (collective).

        The coefficients are summed over the blocks in float64; inside a block they are dot products in the storage
        dtype, which is enough: the second pass removes what the rounding of the first leaves.

        Parameters
        ----------
        shard : (rows,) tensor
            Changed in place.

        Returns
        -------
        (vectors,) float64, on the host
            The coefficients: the given vector is their combination of the basis plus what is left of it.
        """
        parts = self.rows.split(shard)
        total = torch.zeros(self.steps, dtype=torch.float64)
        for _ in range(passes):
            partial = [store[: self.steps] @ part for store, part in zip(self._blocks, parts, strict=True)]
            stacked = (
                torch.stack(partial).double().cpu() if partial else torch.zeros(0, self.steps, dtype=torch.float64)
            )
            coefficients = self.rows.sum_blocks(stacked).to(device=self.device, dtype=self.dtype)
            for store, part in zip(self._blocks, parts, strict=True):
                part -= coefficients @ store[: self.steps]
            total += coefficients.cpu().double()
        return total

    def combine(self, coefficients: Tensor) -> Tensor:
        """Row shards of linear combinations of the first vectors.

        Parameters
        ----------
        coefficients : (vectors, columns) tensor

        Returns
        -------
        (rows, columns) tensor
        """
        count = coefficients.shape[0]
        weights = coefficients.to(device=self.device, dtype=self.dtype).T.contiguous()
        if not self._blocks:
            return torch.empty(0, len(weights), dtype=self.dtype, device=self.device)
        return torch.cat([(weights @ store[:count]).T for store in self._blocks])

    def replace(self, coefficients: Tensor) -> None:
        """Put linear combinations of the vectors in their place.

        Parameters
        ----------
        coefficients : (vectors, columns) tensor
            Orthonormal columns, no more than rows.
        """
        weights = coefficients.to(device=self.device, dtype=self.dtype).T.contiguous()
        for store in self._blocks:
            store[: len(weights)] = weights @ store[: self.steps]
        self.steps = len(weights)

    def drop_last(self) -> Tensor:
        """Remove the last vector and return its row shard."""
        last = self.vector(self.steps - 1)
        self.steps -= 1
        return last

    def _grow(self, capacity: int) -> None:
        for index, store in enumerate(self._blocks):
            larger = torch.empty(capacity, store.shape[1], dtype=self.dtype, device=self.device)
            larger[: self.steps] = store[: self.steps]
            self._blocks[index] = larger

    def _joined(self, parts: list[Tensor]) -> Tensor:
        if not parts:
            return torch.empty(0, dtype=self.dtype, device=self.device)
        return torch.cat(parts)
