"""The fixed partition of a vector into row blocks, and sums over them that do not depend on the number of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from landscape.parallel.collectives import Collectives

# At most this many blocks for small vectors, so that up to 64 ranks share the work evenly …
MOST_BLOCKS = 64
# … a multiple of this, so that every block starts on a cache line (a BLAS call then sees the same operands on any rank)
# and is long enough to be worth a call …
ALIGNMENT = 512
# … and at most this many rows per block, so that a thousand ranks share a long vector.
MOST_ROWS = 1 << 16


def block_rows(n: int) -> int:
    """Rows per block for a vector of ``n`` numbers: a function of n alone, never of the number of ranks."""
    rows = -(-n // MOST_BLOCKS)
    return min(-(-rows // ALIGNMENT) * ALIGNMENT, MOST_ROWS)


@dataclass(frozen=True)
class RowPartition:
    """Which rows of an ``(n,)`` vector this rank holds: a contiguous range of whole blocks.

    Attributes
    ----------
    n : int
        Length of the full vector.
    collectives : Collectives
        The ranks that share the rows.
    """

    n: int
    collectives: Collectives

    @cached_property
    def block(self) -> int:
        """Rows per block."""
        return block_rows(self.n)

    @cached_property
    def blocks(self) -> int:
        """Number of blocks of the full vector."""
        return -(-self.n // self.block)

    @cached_property
    def block_counts(self) -> list[int]:
        """Blocks per rank."""
        size = self.collectives.size
        edges = [self.blocks * rank // size for rank in range(size + 1)]
        return [stop - start for start, stop in pairwise(edges)]

    @cached_property
    def counts(self) -> list[int]:
        """Rows per rank."""
        edges = [0]
        for blocks in self.block_counts:
            edges.append(min(self.n, edges[-1] + blocks * self.block))
        return [stop - start for start, stop in pairwise(edges)]

    @cached_property
    def first_block(self) -> int:
        """Index of this rank's first block."""
        return sum(self.block_counts[: self.collectives.rank])

    @cached_property
    def start(self) -> int:
        """First row of this rank."""
        return sum(self.counts[: self.collectives.rank])

    @cached_property
    def rows(self) -> int:
        """Rows of this rank."""
        return self.counts[self.collectives.rank]

    def split(self, shard: Tensor) -> list[Tensor]:
        """This rank's blocks of a row shard, each ``(block,)`` (the last one of the vector may be shorter)."""
        return list(shard.split(self.block)) if shard.shape[0] else []

    def sum_blocks(self, partial: Tensor) -> Tensor:
        """Sum of per-block values over all blocks in block order.

        Parameters
        ----------
        partial : (blocks of this rank, ...) float64
            One row per local block.

        Returns
        -------
        (...) float64, the same bits on every rank and for every number of ranks
        """
        everything = self.collectives.all_gather_rows(partial.contiguous(), self.block_counts)
        total = torch.zeros_like(everything[0])
        for row in everything:
            total += row
        return total

    def dot(self, left: Tensor, right: Tensor) -> float:
        """Inner product of two row shards, accumulated in float64."""
        return self.dots([left], right)[0]

    def dots(self, lefts: Sequence[Tensor], right: Tensor) -> list[float]:
        """Inner products of several row shards with one, accumulated in float64, in one exchange."""
        blocks = zip(self.split(right), *(self.split(left) for left in lefts), strict=True)
        partial = []
        for part, *others in blocks:
            double = part.double()
            partial.append(torch.stack([torch.dot(other.double(), double) for other in others]))
        stacked = torch.stack(partial).cpu() if partial else torch.zeros(0, len(lefts), dtype=torch.float64)
        return [float(total) for total in self.sum_blocks(stacked)]

    def unit(self, shard: Tensor, norm: float) -> Tensor:
        """A row shard divided by its norm, in place.

        In float64: rounded to float32, the divisor would change the length of all vectors by 1e-8 in the same
        direction, which over a million rows looks like an error of the operator.
        """
        for part in self.split(shard):
            part.copy_(part.double() / norm)
        return shard

    def gather(self, shard: Tensor) -> Tensor:
        """The full vector from its row shards."""
        return self.collectives.all_gather_rows(shard.contiguous(), self.counts)

    def shard(self, full: Tensor) -> Tensor:
        """This rank's rows of a full vector."""
        return full[self.start : self.start + self.rows]
