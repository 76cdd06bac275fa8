"""How many threads a rank uses."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager


def my_cores() -> frozenset[int]:
    """Return the numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def fair_share(rank: int, cores_of_ranks: Sequence[frozenset[int]], environment: Mapping[str, str] = os.environ) -> int:
    """Return how many threads rank `rank` of a host should use, at least 1.

    Each core counts 1 ÷ (ranks that may run on it): with equal affinity masks that is cores ÷ ranks; with ranks bound
    to cores of their own, it is the number of these. OMP_NUM_THREADS wins.

    Parameters
    ----------
    rank : int
        Index into `cores_of_ranks`.
    cores_of_ranks : sequence of sets of int
        The affinity masks of the ranks of this host.

    Examples
    --------
    >>> from landscape.parallel.threads import fair_share
    >>> fair_share(0, [frozenset({0, 1, 2, 3})] * 2, environment={})
    2
    """
    asked = requested(environment)
    if asked is not None:
        return asked
    sharers = Counter(core for cores in cores_of_ranks for core in cores)
    # A small excess over the sum of fractions: 3 · (1/3) must count as one core.
    return max(1, int(sum(1 / sharers[core] for core in cores_of_ranks[rank]) + 1e-9))


def requested(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return the number of threads that OMP_NUM_THREADS asks for, None if it asks for nothing."""
    first = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdigit() and int(first) > 0 else None


def use_threads(threads: int) -> None:
    """Make torch use that many threads for one operation."""
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work on one thread inside: their number changes the order of its sums, hence the bits of the result."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
