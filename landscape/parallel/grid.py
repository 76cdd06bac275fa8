"""The ranks of a job, arranged as probe groups × data shards."""

from __future__ import annotations

import atexit
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, overload

from landscape.errors import InputError
from landscape.parallel import failure
from landscape.parallel import launcher as launching
from landscape.parallel import threads as threading_model
from landscape.parallel.collectives import Collectives, Serial
from landscape.parallel.starting import siblings_watched

if TYPE_CHECKING:
    import torch

    from landscape.parallel.mpi import Meetings

_lock = threading.Lock()
_world: ProcessGrid | None = None


class _World:
    """On the class, the function that makes the grid of all ranks; on a grid, the collectives of all its ranks."""

    @overload
    def __get__(self, grid: None, owner: type[ProcessGrid]) -> Callable[[], ProcessGrid]: ...
    @overload
    def __get__(self, grid: ProcessGrid, owner: type[ProcessGrid]) -> Collectives: ...

    def __get__(self, grid: ProcessGrid | None, owner: type[ProcessGrid]) -> Callable[[], ProcessGrid] | Collectives:
        return grid_of_all_ranks if grid is None else grid._all


class ProcessGrid:
    """P ranks as `probe_groups` groups of `data_shards` ranks each; rank r is in group r // data_shards.

    Made by `ProcessGrid.world()` or `ProcessGrid.serial()`, not by its constructor.

    Attributes
    ----------
    rank, size : int
        This rank among all ranks of the grid.
    probe_groups, data_shards : int
        Their product is `size`.
    probe_group : int
        The group that this rank is in.
    world, data : Collectives
        Among all ranks, and among those of this rank's group.
    backend : str
        "serial", "mpi" or, where tensors go from GPU to GPU, "mpi+nccl".
    ranks_on_host : int
        How many ranks share this computer.
    local_rank : int
        This rank among them.

    Examples
    --------
    >>> from landscape.parallel import ProcessGrid
    >>> grid = ProcessGrid.serial()
    >>> grid.rank, grid.size
    (0, 1)
    """

    world = _World()

    def __init__(
        self,
        world: Collectives,
        data: Collectives,
        *,
        probe_groups: int = 1,
        communicator: Any = None,
        meetings: Meetings | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        self._all = world
        self.data = data
        self.rank = world.rank
        self.size = world.size
        self.backend = world.name
        self.probe_groups = probe_groups
        self.data_shards = world.size // probe_groups
        self.probe_group = world.rank // self.data_shards
        self._communicator = communicator
        self._meetings = meetings
        self._facts = facts or {}
        self.ranks_on_host = int(self._facts.get("ranks_on_host", 1))
        self.local_rank = int(self._facts.get("local_rank", 0))

    @classmethod
    def serial(cls) -> ProcessGrid:
        """Return a grid of this process alone."""
        return cls(Serial(), Serial())

    @property
    def threads(self) -> int:
        """How many threads torch uses for one operation on this rank."""
        if "threads" in self._facts:
            return int(self._facts["threads"])
        import torch

        return torch.get_num_threads()

    def split(self, probe_groups: int) -> ProcessGrid:
        """Return the same ranks arranged as `probe_groups` groups (collective).

        Raises
        ------
        InputError
            If `probe_groups` does not divide the number of ranks.
        """
        if probe_groups < 1 or self.size % probe_groups:
            divisors = ", ".join(str(d) for d in range(1, self.size + 1) if self.size % d == 0)
            raise InputError(f"{self.size} ranks cannot form {probe_groups} probe groups of equal size; use {divisors}")
        if probe_groups == self.probe_groups:
            return self
        data: Collectives
        if probe_groups == self.size:
            data = Serial()
        elif probe_groups == 1:
            data = self.world
        else:
            data = self._split_communicator(self.rank // (self.size // probe_groups))
        return ProcessGrid(
            self.world,
            data,
            probe_groups=probe_groups,
            communicator=self._communicator,
            meetings=self._meetings,
            facts=self._facts,
        )

    def own_device(self, device: torch.device) -> torch.device:
        """Return `device`, but for "cuda" on a host with several ranks: the GPU of this one, made the current one.

        That is number `local_rank` modulo the number of GPUs. What else in this process says "cuda" then means it, too.
        """
        from landscape.parallel.device import device_of_rank

        own = device_of_rank(device, self.local_rank, self.ranks_on_host)
        if own != device:
            import torch

            torch.cuda.set_device(own)
        return own

    def for_device(self, device: torch.device) -> ProcessGrid:
        """Return this grid with the collectives for tensors of `device`, all ranks' of the same kind (collective).

        For the host, and on one rank, that is this grid. For GPUs a probe decides at the first call whether tensors go
        from one to the other or through host memory: see `landscape.parallel.device`.
        """
        from landscape.parallel.device import BACKENDS, collectives_for
        from landscape.parallel.mpi import Mpi

        if device.type not in BACKENDS or self.size == 1 or not isinstance(self.world, Mpi):
            return self
        world, reason = collectives_for(self.world, device)
        return ProcessGrid(
            world,
            world if self.data is self.world else self.data,
            probe_groups=self.probe_groups,
            communicator=self._communicator,
            meetings=self._meetings,
            facts={**self._facts, **({"staged_because": reason} if reason else {})},
        )

    def alone(self) -> ProcessGrid:
        """Return a grid of this rank on its own."""
        return ProcessGrid(Serial(), Serial(), facts=self._facts)

    def meet(self, name: str) -> None:
        """Meet the other ranks at the beginning of the public collective call `name` (collective).

        Raises
        ------
        ComputeError
            On every rank, if they are not all at this call: one has skipped a call or made an additional one.
        """
        if self._meetings is not None:
            self._meetings.meet(name)

    def describe(self) -> dict[str, Any]:
        """Return what a result should say about how it was computed: ranks, groups, threads, libraries.

        With tensors on GPUs, also why they go through host memory, if they do (`staged_because`), and the collectives
        of the probe groups if they differ from those of all ranks (`data_backend`).
        """
        mixed = self.data.size > 1 and self.data.name != self.backend
        staged = self.size > 1 and "staged_because" in self._facts
        return {
            "backend": self.backend,
            **({"data_backend": self.data.name} if mixed else {}),
            **({"staged_because": self._facts["staged_because"]} if staged else {}),
            "ranks": self.size,
            "probe_groups": self.probe_groups,
            "data_shards": self.data_shards,
            "threads": self.threads,
            "ranks_on_host": self.ranks_on_host,
            **{key: self._facts[key] for key in ("hosts", "mpi", "launcher") if key in self._facts},
        }

    def _split_communicator(self, color: int) -> Collectives:
        from landscape.parallel.mpi import Mpi

        if not isinstance(self.world, Mpi):
            raise InputError("only a grid of several ranks can be split")
        return Mpi(self._communicator.Split(color, self.rank), self.world.watch)


def grid_of_all_ranks() -> ProcessGrid:
    """Return the grid of all ranks of this job, one probe group; the same object at every call (collective).

    Known as `ProcessGrid.world`. Without an MPI launcher, or if it started one process, that is `serial()`. Otherwise
    the first call starts MPI, compares its size with the launcher's, sets the number of threads, and makes a failure of
    one rank end all.

    Raises
    ------
    InputError
        If there is no MPI, or one that does not belong to the launcher.
    """
    global _world
    with _lock:
        if _world is None:
            _world = _start() if launching.under_launcher() else ProcessGrid.serial()
        return _world


def _start() -> ProcessGrid:
    """Start MPI and return the grid of all ranks."""
    found = launching.find_launcher()
    ours = "mpi4py.MPI" not in sys.modules
    try:
        import mpi4py

        if ours:
            # The end of this process is ours to arrange: see failure.py.
            mpi4py.rc.finalize = False
        with siblings_watched() if ours else nullcontext(), warnings.catch_warnings():
            # mpi4py suspects a launcher of another MPI in four lines; check_size below says it in one.
            warnings.simplefilter("ignore", RuntimeWarning)
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        started = found.name if found is not None else "a launcher"
        raise InputError(
            f"{started} started several processes, but MPI cannot be loaded here ({error}); install an MPI library, "
            "for instance with: pip install 'landscape-spectra[mpich]', or start a single process"
        ) from error
    from landscape.parallel.mpi import Meetings, Mpi
    from landscape.parallel.watch import Watch

    library = MPI.Get_library_version()
    size = MPI.COMM_WORLD.Get_size()
    if found is not None and found.size is not None and found.size != size and ours:
        atexit.register(MPI.Finalize)
    launching.check_size(found, size, library)
    host = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED)
    masks = host.allgather(threading_model.my_cores())
    watch = Watch(MPI.COMM_WORLD.Dup(), crowded=len(masks) > len(frozenset().union(*masks)))
    failure.install(watch, finalize=ours)
    communicator = MPI.COMM_WORLD.Dup()
    world = Mpi(communicator, watch)
    threads = -int(world.max(-threading_model.fair_share(host.Get_rank(), masks)))
    hosts = len(set(world.all_gather_object(MPI.Get_processor_name())))
    threading_model.use_threads(threads)
    facts = {
        "threads": threads,
        "ranks_on_host": host.Get_size(),
        "local_rank": host.Get_rank(),
        "hosts": hosts,
        "mpi": launching.first_line(library),
        "launcher": found.name if found is not None else "none",
    }
    host.Free()
    meetings = Meetings(Mpi(communicator.Dup(), watch))
    return ProcessGrid(world, world, communicator=communicator, meetings=meetings, facts=facts)
