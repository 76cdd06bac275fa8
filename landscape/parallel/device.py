"""Bulk tensors from GPU to GPU, without a way through host memory, where every rank has a GPU of its own.

A probe at the first use decides, for all ranks together: on any doubt tensors go through host memory, as with `Mpi`.
"""

from __future__ import annotations

import math
import os
import platform
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from landscape.parallel import failure
from landscape.parallel.collectives import check_full, check_operation, check_root, check_rows
from landscape.parallel.mpi import Mpi, check_dtype
from landscape.parallel.watch import name_ranks

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")

BACKENDS = {"cuda": "nccl"}
"""Which kind of process group carries the tensors of which kind of device."""

PROBE_SECONDS = 60.0
"""So long may connecting and the first exchanges take; afterwards the watch over the ranks says who is missing."""

# A rank may be late by as long as its device is busy: never a reason to end the job.
_NO_LIMIT = timedelta(days=7)
_ADDRESS_SECONDS = 5.0
_ABORT_SECONDS = 5.0

_chosen: dict[Mpi, dict[torch.device, tuple[Mpi, str]]] = {}


class DeviceGroup:
    """What ranks do with tensors of one kind of device, through a process group of torch.distributed.

    The group stands by itself: it is not torch's default group, which belongs to the script of the user, and to
    libraries that exchange something as soon as there is one.

    Parameters
    ----------
    backend : str
        "nccl" or, on the host, "gloo".
    store : torch.distributed.Store
        Where the ranks find each other.
    rank, size : int
    limit : timedelta
        How long to wait for the others on the host, until `lift_limit`.
    """

    def __init__(self, backend: str, store: Any, rank: int, size: int, limit: timedelta) -> None:
        self.backend, self.rank, self.size = backend, rank, size
        self._torch: Any = import_module("torch.distributed")  # what it exports depends on how torch was built
        self._store = store
        if backend == "gloo":
            self._group: Any = self._torch.ProcessGroupGloo(store, rank, size, limit)
        else:
            options = self._torch.ProcessGroupNCCL.Options()
            options._timeout = _NO_LIMIT  # with a limit, torch itself would end the process
            self._group = self._torch.ProcessGroupNCCL(store, rank, size, options)
        kinds = self._torch.ReduceOp
        self._operations = {"sum": kinds.SUM, "max": kinds.MAX, "min": kinds.MIN}

    def all_reduce(self, tensor: Tensor, operation: str = "sum") -> None:
        """Replace `tensor` in place by its elementwise reduction over the ranks."""
        options = self._torch.AllreduceOptions()
        options.reduceOp = self._operations[operation]
        self._in_place(tensor, lambda flat: self._group.allreduce([flat], options))

    def broadcast(self, tensor: Tensor, root: int = 0) -> None:
        """Replace `tensor` in place by that of rank `root`."""
        options = self._torch.BroadcastOptions()
        options.rootRank, options.rootTensor = root, 0
        self._in_place(tensor, lambda flat: self._group.broadcast([flat], options))

    def all_gather_rows(self, local: Tensor, counts: Sequence[int]) -> Tensor:
        """Put the rows of all ranks below each other in rank order: (sum(counts), …).

        All ranks must bring equally many: they are padded to the most. The partitions of a vector differ by a block, so
        that this moves little more than the rows; in the worst case, one rank with all rows, `size` times as much.
        """
        import torch

        local, most, rest = local.detach(), max(counts), local.shape[1:]
        if most * math.prod(rest) == 0:
            return local.new_empty((sum(counts), *rest))
        mine = local.contiguous()
        if counts[self.rank] < most:
            mine = local.new_zeros((most, *rest))
            mine[: counts[self.rank]] = local
        blocks = local.new_empty((self.size, most, *rest))
        self._group._allgather_base(blocks.view(-1), mine.view(-1)).wait()
        if sum(counts) == self.size * most:
            return blocks.view(-1, *rest)
        return torch.cat([block[:count] for block, count in zip(blocks, counts, strict=True)])

    def reduce_scatter_rows(self, full: Tensor, counts: Sequence[int]) -> Tensor:
        """Sum `full` over the ranks and return the rows of this one, (counts[rank], …).

        Unequal blocks are padded to the largest, in a copy of `full`; the traffic stays half that of `all_reduce`.
        """
        full, most, rest = full.detach(), max(counts), full.shape[1:]
        rows = full.new_empty((most, *rest))
        if rows.numel() > 0:
            blocks = full.contiguous()
            if sum(counts) < self.size * most:
                blocks = full.new_zeros((self.size, most, *rest))
                for block, part in zip(blocks, full.split(list(counts)), strict=True):
                    block[: len(part)] = part
            options = self._torch.ReduceScatterOptions()
            options.reduceOp = self._operations["sum"]
            self._group._reduce_scatter_base(rows.view(-1), blocks.view(-1), options).wait()
        return rows[: counts[self.rank]]

    def lift_limit(self) -> None:
        """Wait for the others as long as they need."""
        self._group._set_default_timeout(_NO_LIMIT)

    def shutdown(self) -> None:
        """End the group; every rank has made its last call."""
        self._group.shutdown()
        self._forget()

    def abort(self) -> None:
        """End the group, whatever the other ranks do."""
        self._group.abort()
        self._forget()

    def _forget(self) -> None:
        """End the threads of the group and of the store now, in this order, and not while the interpreter ends."""
        self._group = None
        self._store = None

    def _in_place(self, tensor: Tensor, start: Callable[[Tensor], Any]) -> None:
        values = tensor.detach()
        if values.numel() == 0:
            return
        flat = values.contiguous()
        # Waiting lets the device's stream wait for the exchange, not the host.
        start(flat).wait()
        if not values.is_contiguous():
            values.copy_(flat)


class DeviceCollectives(Mpi):
    """Collectives whose tensors stay on the device; everything else, gathering on one rank too, goes over MPI.

    The ranks meet over MPI before every exchange: a rank that does not come is named there, and nothing hangs on the
    device. Sums that must not depend on the number of ranks are sums of integers: any order gives the same bits.
    The parts of a grid that is split into several probe groups have no such group: theirs go through host memory.

    Parameters
    ----------
    base : Mpi
        The same ranks; its communicator is used here, too.
    group : DeviceGroup
    device : torch.device
        Tensors of this kind of device go through `group`.
    """

    def __init__(self, base: Mpi, group: DeviceGroup, device: torch.device) -> None:
        super().__init__(base._communicator, base.watch)
        self.name = f"mpi+{group.backend}"
        self.base = base
        self._group = group
        self._kind = device.type

    def all_reduce(self, tensor: Tensor, operation: str = "sum") -> None:
        """Replace `tensor` in place by its elementwise reduction over the ranks."""
        if tensor.device.type != self._kind:
            super().all_reduce(tensor, operation)
            return
        check_operation(operation)
        check_dtype(tensor)
        self._meet(f"all_reduce({operation})")
        self._group.all_reduce(tensor, operation)

    def broadcast(self, tensor: Tensor, root: int = 0) -> None:
        """Replace `tensor` in place by that of rank `root`."""
        if tensor.device.type != self._kind:
            super().broadcast(tensor, root)
            return
        check_root(root, self.size)
        check_dtype(tensor)
        self._meet("broadcast")
        self._group.broadcast(tensor, root)

    def all_gather_rows(self, local: Tensor, counts: Sequence[int]) -> Tensor:
        """Put the rows of all ranks below each other in rank order: (sum(counts), …)."""
        if local.device.type != self._kind:
            return super().all_gather_rows(local, counts)
        check_rows(local, counts, self.rank, self.size)
        check_dtype(local)
        self._meet("all_gather_rows")
        return self._group.all_gather_rows(local, counts)

    def reduce_scatter_rows(self, full: Tensor, counts: Sequence[int]) -> Tensor:
        """Sum `full` over the ranks and return the rows of this one, (counts[rank], …)."""
        if full.device.type != self._kind:
            return super().reduce_scatter_rows(full, counts)
        check_full(full, counts, self.size)
        check_dtype(full)
        self._meet("reduce_scatter_rows")
        return self._group.reduce_scatter_rows(full, counts)


def device_of_rank(device: torch.device, local_rank: int, ranks_on_host: int) -> torch.device:
    """Return the GPU of its own that "cuda" means on one of several ranks of a host; any other device as it is.

    Examples
    --------
    >>> import torch
    >>> from landscape.parallel.device import device_of_rank
    >>> device_of_rank(torch.device("cuda:1"), local_rank=0, ranks_on_host=2)
    device(type='cuda', index=1)
    """
    import torch

    if str(device) != "cuda" or ranks_on_host == 1:
        return device
    gpus = torch.cuda.device_count()
    return torch.device("cuda", local_rank % gpus) if gpus else device


def collectives_for(world: Mpi, device: torch.device) -> tuple[Mpi, str]:
    """Return the collectives for tensors of `device`, and why they go through host memory, if they do (collective).

    The choice is made once per device; all ranks must bring the same kind of device.
    """
    base = world.base if isinstance(world, DeviceCollectives) else world
    known = _chosen.setdefault(base, {})
    # Together: a rank that comes with another device than before must not probe alone.
    if base.max(float(device not in known)):
        known[device] = choose(base, device, BACKENDS[device.type])
    return known[device]


def choose(base: Mpi, device: torch.device, backend: str, seconds: float = PROBE_SECONDS) -> tuple[Mpi, str]:
    """Return DeviceCollectives if they work, otherwise `base` and why, with a warning on rank 0 (collective).

    They do if every rank has a device of its own and the first exchanges give the exact results within `seconds`.
    """
    reason, group = _connect(base, device, backend, seconds)
    if group is not None and not reason:
        group.lift_limit()
        failure.at_end(group.shutdown)
        return DeviceCollectives(base, group, device), ""
    if group is not None:
        within(_ABORT_SECONDS, group.abort)
    if base.rank == 0:
        warnings.warn(
            f"tensors of {device.type} are exchanged through host memory, not by {backend}: {reason}",
            stacklevel=2,
        )
    return base, reason


def within(seconds: float, action: Callable[[], T]) -> tuple[str, T | None]:
    """Do `action` in a thread; return "" and its result, or what went wrong and None.

    Native code that does not return is left behind in its thread.
    """
    done: list[tuple[str, T | None]] = []

    def run() -> None:
        try:
            done.append(("", action()))
        except Exception as error:
            first = str(error).strip().split("\n")[0].rstrip(".")
            done.append((f"{type(error).__name__}: {first}" if first else type(error).__name__, None))

    thread = threading.Thread(target=run, name="landscape-probe", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        # A thread that comes back while the interpreter ends would crash it; most come back when their own limits end.
        failure.at_end(partial(thread.join, seconds))
    return done[0] if done else (f"no answer within {seconds:.3g} s", None)


def identity(device: torch.device) -> tuple[Any, ...]:
    """Return what tells a device from those of the other ranks; the host counts as one device per process."""
    import torch

    if device.type != "cuda":
        return platform.node(), os.getpid()
    unique = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    # Indices count the visible devices only.
    return platform.node(), str(unique or (os.environ.get("CUDA_VISIBLE_DEVICES", ""), device.index))


def exercise(group: DeviceGroup, device: torch.device) -> None:
    """Exchange small tensors whose results are known.

    Raises
    ------
    ArithmeticError
        If a result is wrong.
    """
    import torch

    rank, size = group.rank, group.size
    # More than float64 holds: integers must be added as such.
    pattern = torch.arange(1000, dtype=torch.int64, device=device) + (1 << 53)
    total = pattern * (size * (size + 1) // 2)
    mine = pattern * (rank + 1)
    counts = [1000 // size + (other < 1000 % size) for other in range(size)]
    start = sum(counts[:rank])
    share = slice(start, start + counts[rank])
    rows = group.reduce_scatter_rows(mine, counts)
    group.all_reduce(mine)
    whole = group.all_gather_rows(pattern[share], counts)
    sent = pattern + rank
    group.broadcast(sent, size - 1)
    for what, value, expected in (
        ("a sum", mine, total),
        ("the rows of a sum", rows, total[share]),
        ("rows", whole, pattern),
        ("a broadcast", sent, pattern + size - 1),
    ):
        if not torch.equal(value, expected):
            raise ArithmeticError(f"{what} of integers came out wrong")


def _connect(base: Mpi, device: torch.device, backend: str, seconds: float) -> tuple[str, DeviceGroup | None]:
    """Make and try the group; return the same reason on every rank if it does not work (collective)."""
    brought = base.all_gather_object((_unusable(backend), *within(seconds, lambda: identity(device))))
    reason = _first(refused or failed for refused, failed, _ in brought) or _shared([who for *_, who in brought])
    if reason:
        return reason, None
    hosts = {who[0] for *_, who in brought}
    deadline = time.monotonic() + seconds
    limit = timedelta(seconds=seconds / 2)  # shorter, so that what waits in native code gives up by itself
    failed, server = within(seconds, lambda: _serve(limit)) if base.rank == 0 else ("", None)
    addresses = ["127.0.0.1"] if len(hosts) == 1 else _addresses() if base.rank == 0 else []
    failed, addresses, port = base.broadcast_object((failed, addresses, server.port if server is not None else 0))
    if failed:
        return failed, None
    made: list[DeviceGroup] = []

    def probe() -> None:
        store = server if base.rank == 0 else _reach(addresses, port, limit)
        made.append(DeviceGroup(backend, store, base.rank, base.size, limit))
        exercise(made[0], device)

    failed, _ = within(max(deadline - time.monotonic(), 1.0), probe)
    return _first(base.all_gather_object(failed)), made[0] if made else None


def _unusable(backend: str) -> str:
    """Why this installation of torch cannot try it; empty if it can."""
    import torch.distributed as dist

    if not dist.is_available():
        return "this torch has no torch.distributed"
    there = {"nccl": dist.is_nccl_available, "gloo": dist.is_gloo_available}.get(backend)
    return "" if there is not None and there() else f"this torch has no {backend}"


def _first(reasons: Iterable[str]) -> str:
    return next((f"{reason} (rank {rank})" for rank, reason in enumerate(reasons) if reason), "")


def _shared(devices: Sequence[Any]) -> str:
    ranks_of: dict[Any, list[int]] = {}
    for rank, device in enumerate(devices):
        ranks_of.setdefault(device, []).append(rank)
    crowded = next((ranks for ranks in ranks_of.values() if len(ranks) > 1), None)
    return f"{name_ranks(crowded)} share one device; start one rank per device" if crowded else ""


def _serve(limit: timedelta) -> Any:
    torch_distributed: Any = import_module("torch.distributed")
    # Port 0: the system picks a free one, and nobody can take it in between.
    return torch_distributed.TCPStore("localhost", 0, None, True, limit, wait_for_workers=False)


def _reach(addresses: Sequence[str], port: int, limit: timedelta) -> Any:
    """Return the store of rank 0 at the first of its addresses that answers."""
    torch_distributed: Any = import_module("torch.distributed")
    for address in addresses:
        try:
            socket.create_connection((address, port), _ADDRESS_SECONDS).close()
        except OSError:
            continue
        return torch_distributed.TCPStore(address, port, None, False, limit, wait_for_workers=False)
    raise ConnectionError(f"rank 0 cannot be reached at port {port} of {', '.join(addresses)}")


def _addresses() -> list[str]:
    """Names and addresses under which other hosts may reach this one, the likely ones first."""
    found = [platform.node(), socket.getfqdn()]
    # Connecting a datagram socket sends nothing; it tells the address of the interface that leads outside.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        try:
            outside.connect(("192.0.2.1", 9))  # an address for documentation, RFC 5737
            found.append(outside.getsockname()[0])
        except OSError:
            pass
    return list(dict.fromkeys(found))
