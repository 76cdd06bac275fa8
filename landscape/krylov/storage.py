"""How the basis of a Lanczos run is kept: orthogonalized how far, in which dtype, and where."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from landscape._out_of_memory import advised
from landscape.parallel.rows import RowPartition, block_rows

# A chunk of the basis holds at least this many vectors, so that a pass over it is a matrix product …
LEAST_CHUNK = 16
# … and at most so many, where that is little memory: this many numbers over all ranks.
MOST_CHUNK = 256
CHUNK_NUMBERS = 1 << 22
TOO_LARGE = 'give memory_budget=, or memory="float16" or "minimal"'


@dataclass(frozen=True)
class Memory:
    """One way to keep the basis.

    Attributes
    ----------
    name : str
    orthogonalization : "full", "selective" or "none"
        Against the whole basis in every step; only where the estimated loss of orthogonality asks for it; never.
    storage : torch.dtype or None
        Of the kept vectors; None: that of the computation. The newest two are always kept in that, too.
    place : "device", "host" or "disk"
        Disk means an unnamed file in the folder for temporary files (``TMPDIR``).
    """

    name: str
    orthogonalization: str = "full"
    storage: torch.dtype | None = None
    place: str = "device"

    @property
    def keeps_basis(self) -> bool:
        """Whether there is a basis at all."""
        return self.orthogonalization != "none"

    @property
    def bits(self) -> str:
        """Which mode has the same bits: where vectors are kept changes nothing."""
        return self.name if self.place == "device" else "full"

    def dtype(self, compute: torch.dtype) -> torch.dtype:
        """Of the kept vectors in a computation in ``compute``."""
        return compute if self.storage is None else self.storage


FULL = Memory("full")
MODES = {
    mode.name: mode
    for mode in (
        FULL,
        Memory("host", place="host"),
        Memory("disk", place="disk"),
        Memory("selective", "selective"),
        Memory("float32", storage=torch.float32),
        Memory("float16", storage=torch.float16),
        Memory("bfloat16", storage=torch.bfloat16),
        Memory("minimal", "none"),
    )
}


def scale_for(storage: torch.dtype, n: int) -> float:
    """Factor, a power of two, by which unit vectors are multiplied before they are kept.

    Their numbers are about 1/√n; of float16, whose smallest normal number is 6e-5, they should be about 1.
    """
    return 2.0 ** min(n.bit_length() // 2, 15) if storage == torch.float16 else 1.0


def chunk_vectors(n: int) -> int:
    """Vectors per chunk of a basis: a function of the length alone, never of the number of ranks.

    Examples
    --------
    >>> chunk_vectors(1_000), chunk_vectors(100_000), chunk_vectors(10**9)
    (256, 41, 16)
    """
    return max(LEAST_CHUNK, min(MOST_CHUNK, CHUNK_NUMBERS // n))


class VectorStore:
    """Vectors in chunks, each chunk one matrix per row block.

    The operands of every BLAS call then depend on the partition of n and on the number of vectors alone, and so do the
    bits of its result; and the memory grows chunk by chunk, never by copying.

    Parameters
    ----------
    rows : RowPartition
    dtype : torch.dtype
        In which vectors are kept.
    device : torch.device
        Where they are kept.
    """

    def __init__(self, rows: RowPartition, dtype: torch.dtype, device: torch.device, pinned: bool = False) -> None:
        self.rows = rows
        self.dtype = dtype
        self.device = device
        self.pinned = pinned
        self.size = chunk_vectors(rows.n)
        self.lengths = [len(block) for block in rows.split(torch.empty(rows.rows, dtype=torch.bool))]
        self._chunks: list[list[Tensor]] = []

    def write(self, index: int, parts: list[Tensor]) -> None:
        """Keep one vector, given its row blocks."""
        chunk, row = divmod(index, self.size)
        while chunk >= len(self._chunks):
            with advised(lambda: ("the basis of a Lanczos run", TOO_LARGE)):
                self._chunks.append(
                    [
                        torch.empty(self.size, length, dtype=self.dtype, device=self.device, pin_memory=self.pinned)
                        for length in self.lengths
                    ]
                )
        for block, part in enumerate(parts):
            self.put(chunk, block, row, part[None])

    def put(self, chunk: int, block: int, start: int, values: Tensor) -> None:
        """Replace vectors of a chunk that is there, from ``start`` on, in one row block."""
        self._chunks[chunk][block][start : start + len(values)] = values

    def read(self, chunk: int, block: int, start: int, stop: int) -> Tensor:
        """Vectors ``start`` to ``stop`` of a chunk in one row block, ``(stop - start, rows of the block)``.

        Valid until the next call.
        """
        return self._chunks[chunk][block][start:stop]

    def ranges(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """The chunks that hold the vectors from ``start`` to ``stop``: index of the chunk, first and last row in it."""
        while start < stop:
            chunk, row = divmod(start, self.size)
            end = min(row + stop - start, self.size)
            yield chunk, row, end
            start += end - row


class DiskStore(VectorStore):
    """The same in an unnamed file, which is gone when the process ends, however it ends.

    It is read into one buffer of a chunk's block, not mapped: the system then counts it as cache, not as memory of
    the process.
    """

    def __init__(self, rows: RowPartition, dtype: torch.dtype) -> None:
        super().__init__(rows, dtype, torch.device("cpu"))
        self._file = tempfile.TemporaryFile(prefix="landscape-basis-", buffering=0)  # noqa: SIM115 - see the next line
        weakref.finalize(self, self._file.close)
        self._buffer = torch.empty(self.size * max([*self.lengths, 0]), dtype=dtype)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)]).tolist()

    def write(self, index: int, parts: list[Tensor]) -> None:
        """Keep one vector, given its row blocks."""
        chunk, row = divmod(index, self.size)
        for block, part in enumerate(parts):
            self.put(chunk, block, row, part[None])

    def put(self, chunk: int, block: int, start: int, values: Tensor) -> None:
        """Replace vectors of a chunk, from ``start`` on, in one row block."""
        self._transfer(os.pwritev, values.to("cpu", self.dtype).contiguous(), self._offset(chunk, block, start))

    def read(self, chunk: int, block: int, start: int, stop: int) -> Tensor:
        """Vectors ``start`` to ``stop`` of a chunk in one row block; valid until the next call."""
        values = self._buffer[: (stop - start) * self.lengths[block]]
        self._transfer(os.preadv, values, self._offset(chunk, block, start))
        return values.view(stop - start, self.lengths[block])

    def _offset(self, chunk: int, block: int, row: int) -> int:
        numbers = (chunk * self._starts[-1] + self._starts[block]) * self.size + row * self.lengths[block]
        return int(numbers) * self.dtype.itemsize

    def _transfer(self, call: object, values: Tensor, offset: int) -> None:
        left = values.numpy().data.cast("B")
        while len(left):
            done = call(self._file.fileno(), [left], offset)  # type: ignore[operator]
            if done == 0:
                raise OSError("the temporary file of the basis ended early")
            left, offset = left[done:], offset + done


def store_for(memory: Memory, rows: RowPartition, compute: torch.dtype, device: torch.device) -> VectorStore:
    """The store of a mode, for a computation in ``compute`` on ``device``."""
    dtype = memory.dtype(compute)
    if memory.place == "disk":
        return DiskStore(rows, dtype)
    host = memory.place == "host"
    return VectorStore(rows, dtype, torch.device("cpu") if host else device, pinned=host and device.type == "cuda")


@dataclass(frozen=True)
class Needs:
    """What a Lanczos run keeps on the rank that keeps the most, in bytes.

    Attributes
    ----------
    device, host, disk : int
        On the device of the computation (on a CPU that is the host), on the host of another device, in a file.
    """

    device: int
    host: int = 0
    disk: int = 0


def busiest_rows(n: int, ranks: int) -> int:
    """Rows of the rank that holds the most of a vector of ``n`` numbers."""
    block = block_rows(n)
    return min(n, ceil(ceil(n / block) / ranks) * block)


def needs(memory: Memory, n: int, steps: int, ranks: int = 1, itemsize: int = 4) -> Needs:
    """Memory of a Lanczos run besides that of its products.

    With r = n / ranks rounded up to whole row blocks, d bytes per number of the computation, s per number kept and c
    vectors per chunk: ``4 r d`` for the newest two vectors, the image and what is left of it; plus, for a basis of
    ``steps + 1`` vectors, ``c ⌈(steps + 1) / c⌉ r s``; plus one chunk's block where that is read from elsewhere or
    from another dtype.

    Parameters
    ----------
    memory : Memory
    n : int
        Length of a vector.
    steps : int
        Products of the run.
    ranks : int
        That share the rows.
    itemsize : int
        Bytes per number in the computation: 4 or 8.

    Examples
    --------
    >>> needs(MODES["full"], 5_000_000, 200).device / 5_000_000 / 4
    212.0
    >>> needs(MODES["minimal"], 5_000_000, 200).device / 5_000_000 / 4
    4.0
    """
    rows, chunk = busiest_rows(n, ranks), chunk_vectors(n)
    vectors = 4 * rows * itemsize
    if not memory.keeps_basis:
        return Needs(vectors)
    stored = itemsize if memory.storage is None else memory.storage.itemsize
    basis = ceil((steps + 1) / chunk) * chunk * rows * stored
    buffer = chunk * min(block_rows(n), rows) * itemsize
    if memory.place == "disk":
        return Needs(vectors + buffer, 0, basis)
    if memory.place == "host":
        return Needs(vectors + buffer, basis)
    return Needs(vectors + basis + (buffer if stored != itemsize else 0))
