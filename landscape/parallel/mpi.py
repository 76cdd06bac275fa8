"""Collectives over an MPI communicator, in host memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import ComputeError, InputError
from landscape.parallel.collectives import (
    Collectives,
    check_full,
    check_operation,
    check_other,
    check_root,
    check_rows,
)
from landscape.parallel.watch import Watch, name_ranks

if TYPE_CHECKING:
    from torch import Tensor

SMALL_BYTES = 1 << 16
"""Up to here the message itself is polled for; above, all ranks meet first and then call the blocking version."""

CHUNK_ELEMENTS = 1 << 27
"""Longer messages are cut: MPI libraries before version 4 count elements in 32 bits; this also bounds their buffers."""

OBJECT_TAG = 1
"""Marks the messages of send_object; the pieces of long rows have tag 0."""

_DTYPES = ("int64", "float64", "float32")


class Mpi(Collectives):
    """Collectives over `communicator`, an mpi4py intracommunicator; tensors of other devices go through host memory.

    Parameters
    ----------
    communicator : mpi4py.MPI.Intracomm
        Used by nothing else.
    watch : Watch
        Polls while this rank waits, and ends the job when a rank that is waited for has left it.
    """

    name = "mpi"

    def __init__(self, communicator: Any, watch: Watch) -> None:
        from mpi4py import MPI

        self._communicator = communicator
        self.watch = watch
        self.rank = int(communicator.Get_rank())
        self.size = int(communicator.Get_size())
        self._pickle = MPI.pickle
        self._in_place = MPI.IN_PLACE
        self._operations = {"sum": MPI.SUM, "max": MPI.MAX, "min": MPI.MIN}
        world = MPI.COMM_WORLD
        mine, all_of_them = communicator.Get_group(), world.Get_group()
        self._sending: list[Any] = []
        self._members = tuple(MPI.Group.Translate_ranks(mine, list(range(self.size)), all_of_them))

    def all_reduce(self, tensor: Tensor, operation: str = "sum") -> None:
        """Replace `tensor` in place by its elementwise reduction over the ranks, in pieces of CHUNK_ELEMENTS."""
        check_operation(operation)
        how = self._operations[operation]
        for values in _pieces(tensor):
            if values.nbytes <= SMALL_BYTES:
                self.reduce_small(values, operation, f"all_reduce({operation})")
            else:
                self._meet(f"all_reduce({operation})")
                self._communicator.Allreduce(self._in_place, values, op=how)

    def broadcast(self, tensor: Tensor, root: int = 0) -> None:
        """Replace `tensor` in place by that of rank `root`, in pieces of CHUNK_ELEMENTS."""
        check_root(root, self.size)
        self._meet("broadcast")
        for values in _pieces(tensor):
            self._communicator.Bcast(values, root=root)

    def all_gather_rows(self, local: Tensor, counts: Sequence[int]) -> Tensor:
        """Put the rows of all ranks below each other in rank order: (sum(counts), …)."""
        check_rows(local, counts, self.rank, self.size)
        mine, lengths = _host(local), _lengths(counts, local.shape[1:])
        whole = np.empty(sum(lengths), dtype=mine.dtype)
        self._meet("all_gather_rows")
        if len(whole) <= CHUNK_ELEMENTS:
            self._communicator.Allgatherv(mine, [whole, lengths])
        else:
            for root, (start, length) in enumerate(_intervals(lengths)):
                part = whole[start : start + length]
                if root == self.rank:
                    part[:] = mine
                for piece in _split(part):
                    self._communicator.Bcast(piece, root=root)
        return _like(whole, local, (sum(counts), *local.shape[1:]))

    def gather_rows(self, local: Tensor, counts: Sequence[int], root: int = 0) -> Tensor | None:
        """Do as `all_gather_rows` on rank `root`; the others get None."""
        check_rows(local, counts, self.rank, self.size)
        check_root(root, self.size)
        mine, lengths = _host(local), _lengths(counts, local.shape[1:])
        receives = self.rank == root
        whole = np.empty(sum(lengths) if receives else 0, dtype=mine.dtype)
        self._meet("gather_rows")
        if sum(lengths) <= CHUNK_ELEMENTS:
            self._communicator.Gatherv(mine, [whole, lengths] if receives else None, root=root)
        elif not receives:
            for piece in _split(mine):
                self._communicator.Send(piece, dest=root)
        else:
            for source, (start, length) in enumerate(_intervals(lengths)):
                part = whole[start : start + length]
                if source == root:
                    part[:] = mine
                    continue
                for piece in _split(part):
                    self._communicator.Recv(piece, source=source)
        return _like(whole, local, (sum(counts), *local.shape[1:])) if receives else None

    def reduce_scatter_rows(self, full: Tensor, counts: Sequence[int]) -> Tensor:
        """Sum `full` over the ranks and return the rows of this one, (counts[rank], …)."""
        check_full(full, counts, self.size)
        values, lengths = _host(full), _lengths(counts, full.shape[1:])
        rows = np.empty(lengths[self.rank], dtype=values.dtype)
        self._meet("reduce_scatter_rows")
        if len(values) <= CHUNK_ELEMENTS:
            self._communicator.Reduce_scatter(values, rows, recvcounts=lengths, op=self._operations["sum"])
        else:
            for root, (start, length) in enumerate(_intervals(lengths)):
                targets = _split(rows) if root == self.rank else None
                for piece in _split(values[start : start + length]):
                    target = next(targets) if targets is not None else None
                    self._communicator.Reduce(piece, target, op=self._operations["sum"], root=root)
        return _like(rows, full, (counts[self.rank], *full.shape[1:]))

    def all_gather_object(self, value: Any) -> list[Any]:
        """Collect one small picklable value of every rank, in rank order."""
        mine = np.frombuffer(self._pickle.dumps(value), dtype=np.uint8)
        lengths = np.empty(self.size, dtype=np.int64)
        length = np.array([len(mine)], dtype=np.int64)
        self._poll(self._communicator.Iallgather(length, lengths), "all_gather_object")
        whole = np.empty(int(lengths.sum()), dtype=np.uint8)
        self._communicator.Allgatherv(mine, [whole, lengths.tolist()])
        intervals = _intervals(lengths.tolist())
        return [self._pickle.loads(whole[start : start + size].tobytes()) for start, size in intervals]

    def broadcast_object(self, value: Any, root: int = 0) -> Any:
        """Return the small picklable value of rank `root`."""
        check_root(root, self.size)
        content = self._pickle.dumps(value) if self.rank == root else b""
        length = np.array([len(content)], dtype=np.int64)
        self.reduce_small(length, "sum", "broadcast_object")
        buffer = np.empty(int(length[0]), dtype=np.uint8)
        if self.rank == root:
            buffer[:] = np.frombuffer(content, dtype=np.uint8)
        self._communicator.Bcast(buffer, root=root)
        return value if self.rank == root else self._pickle.loads(buffer.tobytes())

    def max(self, value: float) -> float:
        """Return the largest `value` of all ranks; NaN if one of them is NaN."""
        undefined = math.isnan(value)
        # MPI leaves the maximum of NaN open, hence the flag.
        pair = np.array([float(undefined), -math.inf if undefined else float(value)])
        self.reduce_small(pair, "max", "max")
        return math.nan if pair[0] else float(pair[1])

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self._meet("barrier")

    def send_object(self, value: Any, to: int) -> None:
        """Send a small picklable value to another rank, without waiting for it; messages arrive in their order."""
        check_other(to, self.rank, self.size)
        self._sending = [request for request in self._sending if not request.Test()]
        self._sending.append(self._communicator.isend(value, dest=to, tag=OBJECT_TAG))

    def receive_object(self, sources: Sequence[int], wait: bool = True) -> tuple[int, Any] | None:
        """Return who sent the next value to this rank, and the value; None if there is none and `wait` is false."""
        for source in sources:
            check_other(source, self.rank, self.size)
        arrival = _Arrival(self._communicator)
        if wait:
            members = tuple(self._members[rank] for rank in (*sources, self.rank))
            self.watch.wait(arrival, "receive_object", members)
        elif not arrival.Test():
            return None
        return arrival.source, arrival.message.recv()

    def finish_sending(self) -> None:
        """Wait until every value that this rank sent has been received."""
        for request in self._sending:
            self._poll(request, "finish_sending")
        self._sending = []

    def reduce_small(self, values: np.ndarray[Any, Any], operation: str, what: str) -> None:
        """Replace a short host array by its reduction over the ranks; `what` names the call to those who watch."""
        self._poll(self._communicator.Iallreduce(self._in_place, values, op=self._operations[operation]), what)

    def _meet(self, what: str) -> None:
        """Return when every rank has come, so that a blocking call after it cannot hang for lack of a rank."""
        self._poll(self._communicator.Ibarrier(), what)

    def _poll(self, request: Any, what: str) -> None:
        self.watch.wait(request, what, self._members)


class _Arrival:
    """A message that has yet to come, as something that can be waited for."""

    def __init__(self, communicator: Any) -> None:
        from mpi4py import MPI

        self._communicator = communicator
        self._status = MPI.Status()
        self.message: Any = None

    def Test(self) -> bool:  # noqa: N802 - the name that requests of MPI have
        """Whether it has come."""
        if self.message is None:
            self.message = self._communicator.improbe(tag=OBJECT_TAG, status=self._status)
        return self.message is not None

    @property
    def source(self) -> int:
        """Who sent it."""
        return int(self._status.Get_source())


class Meetings:
    """Checks at the beginning of every public collective call that all ranks are at the same one.

    Parameters
    ----------
    collectives : Mpi
        All ranks; used by nothing else, so that a rank in another collective cannot be mistaken for one at a meeting.
    """

    def __init__(self, collectives: Mpi) -> None:
        self._collectives = collectives
        self._count = 0

    def meet(self, name: str) -> None:
        """Return when all ranks are at the call `name`.

        Raises
        ------
        ComputeError
            On every rank, naming all calls, if they differ.
        """
        watch = self._collectives.watch
        watch.call = ""
        self._count += 1
        text = f"{name} (collective call {self._count})"
        # The extremes of a digest are equal exactly if the digests are.
        digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
        extremes = np.array([digest, -digest])
        self._collectives.reduce_small(extremes, "max", name)
        if extremes[0] != -extremes[1]:
            ranks_of: dict[str, list[int]] = {}
            for rank, call in enumerate(self._collectives.all_gather_object(text)):
                ranks_of.setdefault(call, []).append(rank)
            calls = "; ".join(f"{name_ranks(ranks)} came to {call}" for call, ranks in ranks_of.items())
            raise ComputeError(f"the ranks are at different calls: {calls}. Every rank must make the same ones")
        watch.call = name


def _pieces(tensor: Tensor) -> Iterator[np.ndarray[Any, Any]]:
    """Yield flat host views of a tensor of any device, at most CHUNK_ELEMENTS each; what is written there goes back."""
    check_dtype(tensor)
    values = tensor.detach()
    if tensor.is_cpu and tensor.is_contiguous() and tensor.numel() <= CHUNK_ELEMENTS:
        yield values.numpy().reshape(-1)
        return
    flat = values.view(-1) if values.is_contiguous() else values.contiguous().view(-1)
    for start in range(0, max(flat.numel(), 1), CHUNK_ELEMENTS):
        piece = flat[start : start + CHUNK_ELEMENTS]
        host = piece.cpu()
        yield host.numpy()
        if host.data_ptr() != piece.data_ptr():
            piece.copy_(host)
    if not values.is_contiguous():
        values.copy_(flat.view(values.shape))


def _host(tensor: Tensor) -> np.ndarray[Any, Any]:
    check_dtype(tensor)
    flat: np.ndarray[Any, Any] = tensor.detach().cpu().contiguous().view(-1).numpy()
    return flat


def _like(values: np.ndarray[Any, Any], model: Tensor, shape: Sequence[int]) -> Tensor:
    import torch

    return torch.from_numpy(values).view(*shape).to(model.device)


def _lengths(counts: Sequence[int], rest: Sequence[int]) -> list[int]:
    return [int(count) * math.prod(rest) for count in counts]


def _intervals(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return (start, length) of consecutive parts."""
    ends = np.cumsum(lengths).tolist()
    return [(end - length, length) for end, length in zip(ends, lengths, strict=True)]


def _split(values: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    for start in range(0, len(values), CHUNK_ELEMENTS):
        yield values[start : start + CHUNK_ELEMENTS]


def check_dtype(tensor: Tensor) -> None:
    """Raise InputError unless ranks can exchange `tensor`."""
    import torch

    if tensor.dtype not in (torch.int64, torch.float64, torch.float32):
        raise InputError(f"ranks exchange tensors of {', '.join(_DTYPES)}, not {tensor.dtype}; convert it first")
