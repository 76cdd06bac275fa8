"""Means over the micro-batches of an objective, which its ranks share, with the true denominator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from landscape._data import Batch, batch_size
from landscape._network import Network
from landscape._out_of_memory import advised
from landscape.parallel import ProcessGrid, order_free_sum
from landscape.parallel.rows import RowPartition


class Means:
    """What an objective computes from its micro-batches, one after the other, and never holds at the same time."""

    grid: ProcessGrid
    theta: Tensor
    _network: Network
    _batches: list[Batch]
    _denominators: list[float]
    _counted: list[int]

    @property
    def batches(self) -> int:
        """Number of micro-batches over all ranks that have any weight."""
        return len(self._counted)

    @property
    def denominator(self) -> float:
        """What the sum over all samples is divided by."""
        return math.fsum(self._denominators[index] for index in self._counted)

    def mine(self) -> Iterator[tuple[int, Batch, float]]:
        """This rank's micro-batches: index, batch on the device, denominator."""
        for index in self._counted[self.grid.data.rank :: self.grid.data.size]:
            yield index, self._on_device(self._batches[index]), self._denominators[index]

    def mean_of(
        self,
        contribution: Callable[[Batch, float], Tensor],
        rows: RowPartition | None = None,
        length: int | None = None,
    ) -> Tensor:
        """Sum a vector over all micro-batches and divide by the true denominator (collective).

        Parameters
        ----------
        contribution : callable
            ``contribution(batch, denominator)`` → ``(n,)``, the sum over the samples of one micro-batch.
        rows : RowPartition, optional
            Return only this rank's rows.
        length : int, optional
            Of the vectors, if it is not n.

        Returns
        -------
        float64 tensor, the same bits for every number of ranks
        """
        return self.mean_over(lambda _, batch, denominator: contribution(batch, denominator), rows, length)

    def mean_over(
        self,
        contribution: Callable[[int, Batch, float], Tensor],
        rows: RowPartition | None = None,
        length: int | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """As :meth:`mean_of`; the contribution is also told which micro-batch it is, by its index (collective).

        Where the result is rounded to ``dtype`` anyway, it may come in it: with the same bits.
        """
        data = self.grid.data

        def contributions() -> Iterator[Tensor]:
            for index, batch, denominator in self.mine():
                yield self._within_memory(contribution, index, batch, denominator)

        def describe(local: int) -> str:
            return self.describe_batch(self._counted[data.rank + local * data.size])

        with self._network.scope():
            total = order_free_sum(
                contributions,
                self.theta.numel() if length is None else length,
                self.batches,
                data.rank == 0,
                data,
                counts=None if rows is None else rows.counts,
                device=self.theta.device,
                describe=describe,
                # The quotient of two float32 numbers rounds to the same float32 with or without float64 in between.
                dtype=dtype if np.float32(self.denominator) == self.denominator else torch.float64,
            )
        return total.div_(self.denominator)

    def _within_memory(
        self, contribution: Callable[[int, Batch, float], Tensor], index: int, batch: Batch, denominator: float
    ) -> Tensor:
        with advised(partial(self._out_of_memory, index, batch)):
            return contribution(index, batch, denominator)

    def _out_of_memory(self, index: int, batch: Batch) -> tuple[str, str]:
        """Where memory ended, and what to do about it."""
        samples = batch_size(batch)
        smaller = f"smaller micro-batches need less, such as micro_batch={samples // 2} (--micro-batch)"
        return self.describe_batch(index), smaller if samples > 1 else "use a device with more memory"

    def describe_batch(self, index: int) -> str:
        """Name a micro-batch for a message."""
        start = sum(batch_size(batch) for batch in self._batches[:index])
        stop = start + batch_size(self._batches[index])
        return f"micro-batch {index} of {len(self._batches)} (samples {start} to {stop - 1})"

    def _on_device(self, batch: Batch) -> Batch:
        return tree_map(lambda leaf: leaf.to(self.theta.device) if isinstance(leaf, Tensor) else leaf, batch)
