"""What a density costs on any number of ranks, from one measured product: memory, traffic, time, where it breaks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, isnan, log2, nan
from pathlib import Path
from statistics import median

import torch

from landscape._capacity import host_bytes, in_words
from landscape.curvature import Operator
from landscape.krylov import MODES, Basis, gaussian, needs
from landscape.parallel import Collectives, Serial
from landscape.parallel.rows import RowPartition, block_rows
from landscape.spectrum import probe_groups

# Taken where there is a single rank, whose collectives cannot be measured: an ordinary network between computers.
USUAL_LATENCY = 2e-5  # seconds per small collective and doubling of the ranks
USUAL_BANDWIDTH = 2e9  # bytes per second and rank
# Small collectives of one step: the scale, the peak and the count of the sum, two meetings for the long ones, and the
# scalar products of the recurrence (two, one per pass of the orthogonalization, and the norm).
SMALL_COLLECTIVES = 10
# An efficiency below which a plan is called broken.
POOR = 0.8
RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# Sweeps over the basis in one step: two passes, each of which reads it twice; the others are measured on trained nets.
SWEEPS = {"full": 4.0, "selective": 1.5, "none": 0.0}
# Vectors of the basis, and numbers of a vector, with which a sweep and a message are timed.
TIMED_VECTORS = 16
TIMED_NUMBERS = 1 << 22


@dataclass(frozen=True)
class Machine:
    """What was measured on this computer, for one operator.

    Attributes
    ----------
    n, batches : int
        Parameters and micro-batches.
    itemsize : int
        Bytes per number of a vector.
    product_seconds : float
        One product over all micro-batches, by one rank.
    product_bytes : float
        What one product allocates at its peak; NaN if it cannot be measured here.
    resident_bytes : float
        Model, data and libraries of one rank; NaN if it cannot be measured here.
    sweep_bandwidth : float
        Bytes per second of a basis that is read once.
    latency : float
        Seconds of a small collective between two ranks; it grows with the logarithm of their number.
    bandwidth : float
        Bytes per second that a rank gets of a long sum or gathering.
    measured : bool
        Whether the last two were measured, by a job of several ranks.
    available_bytes : float
        Memory of the device, or of the computer by the ranks on it.
    """

    n: int
    batches: int
    itemsize: int
    product_seconds: float
    product_bytes: float
    resident_bytes: float
    sweep_bandwidth: float
    latency: float = USUAL_LATENCY
    bandwidth: float = USUAL_BANDWIDTH
    measured: bool = False
    available_bytes: float = inf


@dataclass(frozen=True)
class Plan:
    """A run on so many ranks.

    Attributes
    ----------
    ranks, shards : int
        All ranks, and how many of them share the data of one probe.
    memory : str
        How the basis is kept.
    vector_bytes, total_bytes : float
        Of the Lanczos vectors on one rank; with model, data and a product.
    traffic_bytes : float
        Sent and received by one rank for one product.
    seconds : float
        Of the whole run.
    efficiency : float
        Time of one rank by (ranks times this time).
    limits : tuple of str
        What keeps it from being faster or from running at all.
    """

    ranks: int
    shards: int
    memory: str
    vector_bytes: float
    total_bytes: float
    traffic_bytes: float
    seconds: float
    efficiency: float
    limits: tuple[str, ...]


def measure(operator: Operator, repeats: int = 3) -> Machine:
    """Time products, sweeps over a basis, and collectives (collective).

    Parameters
    ----------
    operator : Operator
    repeats : int
        Of the product; the median counts.
    """
    grid, n, device = operator.grid, operator.n, operator.device
    alone = operator.on(grid.alone())
    alone.prepare()
    rows = RowPartition(n, Serial())
    vector = gaussian(rows, 0, 0, operator.dtype, device)
    resident: float = _resident("VmRSS")
    _reset_peak(device)
    alone.apply_rows(vector, rows)  # traces, warms up
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        alone.apply_rows(vector, rows)
        _wait(device)
        seconds.append(time.perf_counter() - started)
    if device.type == "cuda":
        peak = float(torch.cuda.max_memory_allocated(device))
        available = float(torch.cuda.mem_get_info(device)[1])
        resident = 0.0
    else:
        peak, available = _resident("VmHWM") - resident, host_bytes() / grid.ranks_on_host
    latency, bandwidth = _collectives(grid.data, grid.size) if grid.size > 1 else (USUAL_LATENCY, USUAL_BANDWIDTH)
    machine = Machine(
        n=n,
        batches=operator.objective.batches,
        itemsize=operator.dtype.itemsize,
        product_seconds=median(seconds),
        product_bytes=peak,
        resident_bytes=resident,
        sweep_bandwidth=_sweep_bandwidth(n, operator.dtype, device),
        latency=latency,
        bandwidth=bandwidth,
        measured=grid.size > 1,
        available_bytes=float(available),
    )
    # One machine for all: the slowest would be as right, the first one is simple.
    first: Machine = grid.world.broadcast_object(machine)
    return first


def step_seconds(machine: Machine, shards: int, steps: int, memory: str) -> tuple[float, float, float]:
    """Mean seconds of one step on ranks that share the data: product, collectives, orthogonalization."""
    mode, n = MODES[memory], machine.n
    product = machine.product_seconds * ceil(machine.batches / shards) / machine.batches
    exchange = 0.0
    if shards > 1:
        small = SMALL_COLLECTIVES * machine.latency * log2(shards)
        exchange = small + traffic(machine, shards) / machine.bandwidth
    rows = min(n, ceil(ceil(n / block_rows(n)) / shards) * block_rows(n))
    stored = machine.itemsize if mode.storage is None else mode.storage.itemsize
    swept = SWEEPS[mode.orthogonalization] * steps / 2 * rows * stored
    return product, exchange, swept / machine.sweep_bandwidth


def traffic(machine: Machine, shards: int) -> float:
    """Bytes that one rank sends and receives for one product: a vector is gathered, a sum in 64 bits is scattered."""
    return (machine.itemsize + 8) * machine.n * (shards - 1) / shards


def plan(machine: Machine, ranks: int, steps: int, probes: int = 0, memory: str | None = None) -> Plan:
    """Predict a run.

    Parameters
    ----------
    machine : Machine
        See :func:`measure`.
    ranks : int
    steps : int
        Products of one Lanczos run.
    probes : int
        Of the classical method; 0 for the default method, one run on all ranks.
    memory : str, optional
        How the basis is kept; default: as accurately as the memory allows.

    Examples
    --------
    >>> machine = Machine(10**6, 64, 4, 1.0, 1e8, 1e9, 1e10)
    >>> found = plan(machine, 128, 100)
    >>> found.efficiency < 0.5, found.limits[0]
    (True, '64 micro-batches: at most 64 of 128 ranks compute')
    """
    groups = probe_groups(ranks, probes) if probes else 1
    shards = ranks // groups
    rounds = ceil(probes / groups) if probes else 1
    fixed = sum(value for value in (machine.product_bytes, machine.resident_bytes) if not isnan(value))
    chosen = memory is None
    memory = memory or _fitting(machine, shards, steps, fixed)
    product, exchange, sweep = step_seconds(machine, shards, steps, memory)
    seconds = rounds * steps * (product + exchange + sweep)
    one = max(probes, 1) * steps * sum(step_seconds(machine, 1, steps, memory))
    vectors = needs(MODES[memory], machine.n, steps, shards, machine.itemsize).device
    limits = []
    if shards > machine.batches:
        limits.append(f"{machine.batches} micro-batches: at most {machine.batches} of {shards} ranks compute")
    elif ceil(machine.batches / shards) * shards > 1.1 * machine.batches:
        limits.append(f"{machine.batches} micro-batches do not divide evenly by {shards} ranks")
    if exchange > 0.2 * (product + exchange + sweep):
        slow = SMALL_COLLECTIVES * machine.latency * log2(shards) > exchange / 2
        limits.append(f"{'latency' if slow else 'bandwidth'}: {exchange / (product + exchange + sweep):.0%} exchange")
    if probes and ranks % probes and groups < min(ranks, probes):
        limits.append(f"{probes} probes do not divide evenly by {ranks} ranks")
    if memory != "full" and chosen:
        limits.append(f"the full basis does not fit into {in_words(machine.available_bytes)}: {memory}")
    if fixed + vectors > machine.available_bytes:
        limits.append(f"does not fit into {in_words(machine.available_bytes)} even so: more ranks or computers")
    return Plan(
        ranks,
        shards,
        memory,
        vectors,
        fixed + vectors,
        traffic(machine, shards) if shards > 1 else 0.0,
        seconds,
        one / (ranks * seconds),
        tuple(limits),
    )


def breaking_point(plans: Sequence[Plan]) -> Plan | None:
    """The plan with the fewest ranks that is inefficient or does not fit; None if all are fine."""
    return next((one for one in plans if one.efficiency < POOR or "even so" in " ".join(one.limits)), None)


def _fitting(machine: Machine, shards: int, steps: int, fixed: float) -> str:
    kinds = ("full", "float32", "float16", "minimal") if machine.itemsize == 8 else ("full", "float16", "minimal")
    for name in kinds:
        if fixed + needs(MODES[name], machine.n, steps, shards, machine.itemsize).device <= machine.available_bytes:
            return name
    return "minimal"


def _sweep_bandwidth(n: int, dtype: torch.dtype, device: torch.device) -> float:
    """Bytes per second at which a basis is read by its orthogonalization."""
    rows = RowPartition(min(n, TIMED_NUMBERS), Serial())
    basis = Basis(rows, dtype, device)
    for index in range(TIMED_VECTORS + 1):
        vector = gaussian(rows, 0, index, dtype, device)
        if index < TIMED_VECTORS:
            basis.append(vector / vector.norm())
    basis.project_out(vector, 1)
    _wait(device)
    started = time.perf_counter()
    basis.project_out(vector, 1)
    _wait(device)
    return 2 * TIMED_VECTORS * rows.n * dtype.itemsize / (time.perf_counter() - started)


def _collectives(ranks: Collectives, size: int, repeats: int = 30) -> tuple[float, float]:
    """Latency between two ranks and bandwidth of one, from a small reduction and a long gathering."""
    ranks.barrier()
    small = []
    for _ in range(repeats):
        started = time.perf_counter()
        ranks.max(1.0)
        small.append(time.perf_counter() - started)
    rows = RowPartition(TIMED_NUMBERS, ranks)
    full = torch.zeros(TIMED_NUMBERS, dtype=torch.int64)
    long = []
    for _ in range(4):
        ranks.barrier()
        started = time.perf_counter()
        rows.gather(ranks.reduce_scatter_rows(full, rows.counts))
        long.append(time.perf_counter() - started)
    moved = 2 * 8 * TIMED_NUMBERS * (size - 1) / size
    return median(small) / max(log2(size), 1), moved / min(long[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _resident(field: str) -> float:
    """Bytes of this process in memory now (VmRSS) or at the most so far (VmHWM); NaN where nobody tells."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return nan
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith(field)), nan)
