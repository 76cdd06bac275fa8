"""The few verbs with which ranks exchange tensors, and their one-rank version."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from landscape.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

OPERATIONS = ("sum", "max", "min")


class Collectives(ABC):
    """What a group of ranks can do together; every method must be called by all ranks of the group, in the same order.

    The messages of `send_object` and `receive_object` are the exception: one rank sends, another one receives.

    Tensors may be on any device and of dtype int64, float32 or float64. `counts` lists how many rows each rank holds,
    zeros allowed, and is the same list on every rank.

    Attributes
    ----------
    rank, size : int
        Which rank of the group this is, and of how many.
    name : str
        "serial", "mpi" or "mpi+nccl".
    """

    rank: int
    size: int
    name: str

    @abstractmethod
    def all_reduce(self, tensor: Tensor, operation: str = "sum") -> None:
        """Replace `tensor` in place by its elementwise "sum", "max" or "min" over the ranks.

        The order of a floating-point sum depends on the number of ranks: see `order_free_sum` for one that does not.
        """

    @abstractmethod
    def broadcast(self, tensor: Tensor, root: int = 0) -> None:
        """Replace `tensor` in place by that of rank `root`."""

    @abstractmethod
    def all_gather_rows(self, local: Tensor, counts: Sequence[int]) -> Tensor:
        """Put the rows of all ranks, (counts[rank], …) each, below each other in rank order: (sum(counts), …)."""

    @abstractmethod
    def gather_rows(self, local: Tensor, counts: Sequence[int], root: int = 0) -> Tensor | None:
        """Do as `all_gather_rows` on rank `root`; the others get None."""

    @abstractmethod
    def reduce_scatter_rows(self, full: Tensor, counts: Sequence[int]) -> Tensor:
        """Sum `full`, (sum(counts), …), over the ranks and return the rows of this one, (counts[rank], …)."""

    @abstractmethod
    def all_gather_object(self, value: Any) -> list[Any]:
        """Collect one small picklable value of every rank, in rank order."""

    @abstractmethod
    def broadcast_object(self, value: Any, root: int = 0) -> Any:
        """Return the small picklable value of rank `root`."""

    @abstractmethod
    def max(self, value: float) -> float:
        """Return the largest `value` of all ranks; NaN if one of them is NaN."""

    @abstractmethod
    def barrier(self) -> None:
        """Wait until every rank is here."""

    @abstractmethod
    def send_object(self, value: Any, to: int) -> None:
        """Send a small picklable value to another rank, without waiting for it; messages arrive in their order."""

    @abstractmethod
    def receive_object(self, sources: Sequence[int], wait: bool = True) -> tuple[int, Any] | None:
        """Return who sent the next value to this rank, and the value.

        Parameters
        ----------
        sources : sequence of int
            Who may send now, for the message if one of them will not.
        wait : bool
            Until a value has come; otherwise return None if there is none.
        """

    @abstractmethod
    def finish_sending(self) -> None:
        """Wait until every value that this rank sent has been received."""


class Serial(Collectives):
    """Collectives of a single rank: nothing is exchanged, arguments are checked as with many.

    Examples
    --------
    >>> from landscape.parallel import Serial
    >>> Serial().max(2.0)
    2.0
    """

    rank = 0
    size = 1
    name = "serial"

    def all_reduce(self, tensor: Tensor, operation: str = "sum") -> None:
        """Leave `tensor` as it is: it is already the reduction over one rank."""
        check_operation(operation)

    def broadcast(self, tensor: Tensor, root: int = 0) -> None:
        """Leave `tensor` as it is."""
        check_root(root, self.size)

    def all_gather_rows(self, local: Tensor, counts: Sequence[int]) -> Tensor:
        """Return a copy of `local`, so that writing to the result never changes the argument."""
        check_rows(local, counts, self.rank, self.size)
        return local.clone()

    def gather_rows(self, local: Tensor, counts: Sequence[int], root: int = 0) -> Tensor | None:
        """Return a copy of `local`."""
        check_root(root, self.size)
        return self.all_gather_rows(local, counts)

    def reduce_scatter_rows(self, full: Tensor, counts: Sequence[int]) -> Tensor:
        """Return a copy of `full`."""
        check_full(full, counts, self.size)
        return full.clone()

    def all_gather_object(self, value: Any) -> list[Any]:
        """Return `[value]`."""
        return [value]

    def broadcast_object(self, value: Any, root: int = 0) -> Any:
        """Return `value`."""
        check_root(root, self.size)
        return value

    def max(self, value: float) -> float:
        """Return `value`."""
        return float(value)

    def barrier(self) -> None:
        """Return at once."""

    def send_object(self, value: Any, to: int) -> None:
        """Refuse: there is no other rank."""
        check_other(to, self.rank, self.size)

    def receive_object(self, sources: Sequence[int], wait: bool = True) -> tuple[int, Any] | None:
        """Refuse to wait: there is no other rank."""
        for source in sources:
            check_other(source, self.rank, self.size)
        if wait:
            raise InputError("a single rank would wait for ever: nobody can send to it")
        return None

    def finish_sending(self) -> None:
        """Return at once."""


def check_operation(operation: str) -> None:
    """Raise InputError unless `operation` is one of OPERATIONS."""
    if operation not in OPERATIONS:
        raise InputError(f"unknown reduction {operation!r}; the known ones are {', '.join(OPERATIONS)}")


def check_root(root: int, size: int) -> None:
    """Raise InputError unless `root` is a rank of a group of `size`."""
    if not 0 <= root < size:
        raise InputError(f"there is no rank {root} in a group of {size} (they count from 0)")


def check_other(other: int, rank: int, size: int) -> None:
    """Raise InputError unless `other` is another rank of a group of `size`."""
    check_root(other, size)
    if other == rank:
        raise InputError(f"rank {rank} cannot exchange messages with itself")


def check_counts(counts: Sequence[int], size: int) -> None:
    """Raise InputError unless `counts` holds one non-negative number of rows per rank."""
    if len(counts) != size or any(count < 0 for count in counts):
        raise InputError(f"counts must hold {size} numbers of rows ≥ 0, one per rank; got {list(counts)}")


def check_rows(local: Tensor, counts: Sequence[int], rank: int, size: int) -> None:
    """Raise InputError unless `local` has the counts[rank] rows that the other ranks expect of it."""
    check_counts(counts, size)
    if local.dim() == 0 or local.shape[0] != counts[rank]:
        raise InputError(f"rank {rank} should bring {counts[rank]} rows but its tensor has shape {tuple(local.shape)}")


def check_full(full: Tensor, counts: Sequence[int], size: int) -> None:
    """Raise InputError unless `full` has sum(counts) rows."""
    check_counts(counts, size)
    if full.dim() == 0 or full.shape[0] != sum(counts):
        raise InputError(
            f"expected {sum(counts)} rows, the sum of counts, but the tensor has shape {tuple(full.shape)}"
        )
