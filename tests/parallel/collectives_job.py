"""Run by mpiexec on 1 to 4 ranks: every verb of collectives, grid and sums; rank 0 prints what must agree."""

from __future__ import annotations

import hashlib
import math
import time
import warnings

import pytest
import torch
import torch.distributed as dist

from landscape.errors import ComputeError, InputError
from landscape.objective import Objective
from landscape.parallel import Collectives, ProcessGrid, device, exact_sum, mpi, order_free_sum
from landscape.parallel.watch import Watch

TERMS, N = 11, 4321


def make_grid() -> ProcessGrid:
    grid = ProcessGrid.world()
    assert ProcessGrid.world() is grid
    if grid.size > 1:
        return grid
    # A launcher of one process needs no MPI, but MPI must work with one.
    from mpi4py import MPI

    watch = Watch(MPI.COMM_WORLD.Dup())
    return ProcessGrid(mpi.Mpi(MPI.COMM_WORLD.Dup(), watch), mpi.Mpi(MPI.COMM_WORLD.Dup(), watch))


def check_reductions(world: Collectives) -> None:
    rank, size = world.rank, world.size
    for length in (0, 1, 10, 20000):
        for dtype in (torch.float32, torch.float64, torch.int64):
            values = torch.arange(length).to(dtype)
            for operation, expected in (
                ("sum", values * sum(range(1, size + 1))),
                ("max", values * size),
                ("min", values),
            ):
                mine = values * (rank + 1)
                world.all_reduce(mine, operation)
                assert torch.equal(mine, expected), (length, dtype, operation)
    matrix = torch.full((30, 20), float(rank)).t()  # not contiguous
    world.all_reduce(matrix)
    assert torch.equal(matrix, torch.full((20, 30), float(sum(range(size)))))
    for root in range(size):
        message = torch.full((7, 3), float(rank)).t()
        world.broadcast(message, root)
        assert torch.equal(message, torch.full((3, 7), float(root)))
        assert world.broadcast_object({"rank": rank, "text": "λ"}, root) == {"rank": root, "text": "λ"}
    assert world.all_gather_object("x" * rank) == ["x" * other for other in range(size)]
    assert world.max(-1.0 - rank) == -1.0
    assert world.max(math.inf if rank == 0 else 0.0) == math.inf
    assert math.isnan(world.max(math.nan if rank == size - 1 else 0.0))
    world.barrier()


def check_rows(world: Collectives) -> None:
    rank, size = world.rank, world.size
    layouts = [[5] * size, [0] * (size - 1) + [4], [3] + [0] * (size - 1), [2 * r + 1 for r in range(size)], [0] * size]
    for counts in layouts:
        start, total = sum(counts[:rank]), sum(counts)
        for rest in ((), (3,), (2, 2)):
            whole = torch.arange(float(total * math.prod(rest))).view(total, *rest)
            mine = whole[start : start + counts[rank]]
            assert torch.equal(world.all_gather_rows(mine, counts), whole)
            for root in range(size):
                gathered = world.gather_rows(mine, counts, root)
                assert torch.equal(gathered, whole) if rank == root else gathered is None
            full = whole.to(torch.int64) * (rank + 1)
            rows = world.reduce_scatter_rows(full, counts)
            assert torch.equal(rows, mine.to(torch.int64) * sum(range(1, size + 1)))
            assert torch.equal(full, whole.to(torch.int64) * (rank + 1))
            assert rows.dtype == torch.int64


def check_input(world: Collectives) -> None:
    for call in (
        lambda: world.all_reduce(torch.zeros(2), "mean"),
        lambda: world.all_reduce(torch.zeros(2, dtype=torch.bfloat16)),
        lambda: world.broadcast(torch.zeros(2), world.size),
        lambda: world.all_gather_rows(torch.zeros(2), [3] * world.size),
        lambda: world.reduce_scatter_rows(torch.zeros(2), [2] * (world.size + 1)),
    ):
        with pytest.raises(InputError):
            call()


def term(index: int, dtype: torch.dtype, growth: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(index)
    scale = growth if index == TERMS - 2 else 1.0
    return (torch.randn(N, generator=generator, dtype=torch.float64) * scale).to(dtype)


def check_sums(world: Collectives) -> list[str]:
    digests = []
    for dtype in (torch.float32, torch.float64):
        for growth in (1.0, 2.0**20):
            for shift in (0, 1):  # who holds which term
                mine = [index for index in range(TERMS) if (index + shift) % world.size == world.rank]
                passes = []

                def terms(mine=mine, passes=passes, dtype=dtype, growth=growth):
                    passes.append(1)
                    return (term(index, dtype, growth) for index in mine)

                total = order_free_sum(terms, N, TERMS, 0 in mine, world)
                assert len(passes) == (1 if growth == 1.0 else 2)
                counts = [N // world.size] * world.size
                counts[-1] += N - sum(counts)
                rows = order_free_sum(terms, N, TERMS, 0 in mine, world, counts=counts)
                assert torch.equal(world.all_gather_rows(rows, counts), total)
                digests.append(hashlib.sha256(total.numpy().tobytes()).hexdigest())
    with pytest.raises(ComputeError) as caught:
        order_free_sum(lambda: [torch.full((3,), math.nan)], 3, world.size, world.rank == 0, world)
    assert all(f"term 0 of rank {rank}" in str(caught.value) for rank in range(world.size))
    assert exact_sum([1e100, 1.0, -1e100] if world.rank == 0 else [0.5], world) == 1.0 + 0.5 * (world.size - 1)
    return digests


def check_grid(grid: ProcessGrid) -> None:
    grid.meet("one")
    for groups in range(1, grid.size + 1):
        if grid.size % groups:
            continue
        part = grid.split(groups)
        shards = grid.size // groups
        assert (part.probe_groups, part.data_shards, part.probe_group) == (groups, shards, grid.rank // shards)
        members = part.data.all_gather_object(grid.rank)
        assert members == list(range(part.probe_group * shards, (part.probe_group + 1) * shards))
        assert part.data.rank == grid.rank % shards
        part.meet("two")
    assert grid.alone().world.all_gather_object(grid.rank) == [grid.rank]
    assert grid.alone().size == 1
    grid.meet("three")


HOST = torch.device("cpu")


def chosen(world: mpi.Mpi, backend: str, seconds: float = 60.0) -> tuple[mpi.Mpi, str, list[str]]:
    """What the probe decides, why, and the warnings of this rank."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return *device.choose(world, HOST, backend, seconds), [str(one.message) for one in caught]


def check_fallback(world: mpi.Mpi) -> None:
    """Whatever goes wrong on one rank, all go through host memory, for the same reason, with one warning."""
    last = world.rank == world.size - 1

    def wrong(group: device.DeviceGroup, where: torch.device) -> None:
        if last:
            raise ArithmeticError("a sum came out wrong.\nDetails")

    def slow(group: device.DeviceGroup, where: torch.device) -> None:
        time.sleep(1.5 if last else 0.0)

    def refused(limit: object) -> None:
        raise OSError("no port")

    cases = [
        ("backend", None, None, "this torch has no smoke signals (rank 0)"),
        ("exercise", wrong, "gloo", f"ArithmeticError: a sum came out wrong (rank {world.size - 1})"),
        ("exercise", slow, "gloo", "no answer within 1 s"),
        ("_serve", refused, "gloo", "OSError: no port"),
    ]
    if world.size == 1:
        del cases[2]  # it takes as long as it waits
    else:
        who = ", ".join(map(str, range(world.size)))
        cases.append(("identity", lambda where: ("host", 0), "gloo", f"ranks {who} share one device; start"))
    for name, replacement, backend, expected in cases:
        kept = getattr(device, name, None)
        if replacement is not None:
            setattr(device, name, replacement)
        collectives, reason, warned = chosen(world, backend or "smoke signals", 1.0 if replacement is slow else 60.0)
        if replacement is not None:
            setattr(device, name, kept)
        assert collectives is world and reason.startswith(expected), reason
        assert [reason in text for text in warned] == [True] * (world.rank == 0), warned


def check_choice(grid: ProcessGrid) -> None:
    """An objective on a device with collectives of its own uses them, and says so; its numbers keep their bits."""

    def build(grid: ProcessGrid) -> Objective:
        torch.manual_seed(0)
        model, data = torch.nn.Linear(5, 3), (torch.randn(24, 5), torch.randn(24, 3))
        return Objective(model, torch.nn.MSELoss(), data, micro_batch=2, grid=grid)

    plain = build(grid)
    assert plain.grid is grid and grid.for_device(HOST) is grid
    device.BACKENDS["cpu"] = "gloo"
    fast = build(grid)
    assert fast.grid.for_device(HOST).world is fast.grid.world is fast.grid.data  # found once
    assert build(fast.grid).grid.world is fast.grid.world
    assert torch.equal(fast.gradient(), plain.gradient())
    assert fast.loss() == plain.loss()
    facts = fast.grid.describe()
    assert facts["backend"] == "mpi+gloo" and "staged_because" not in facts and "data_backend" not in facts
    check_grid(fast.grid)
    if grid.size == 4:
        assert fast.grid.split(2).describe()["data_backend"] == "mpi"
    del device.BACKENDS["cpu"]


def check_reason_is_told(grid: ProcessGrid) -> None:
    device.BACKENDS["cpu"] = "smoke signals"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        device._chosen.clear()
        staged = grid.for_device(HOST)
    assert staged.world is grid.world
    assert staged.describe() == grid.describe() | {"staged_because": "this torch has no smoke signals (rank 0)"}
    assert "staged_because" not in staged.alone().describe()
    del device.BACKENDS["cpu"]


grid = make_grid()
for chunk in (mpi.CHUNK_ELEMENTS, 3):
    mpi.CHUNK_ELEMENTS = chunk
    check_rows(grid.world)
    if chunk > 3:
        check_reductions(grid.world)
        check_input(grid.world)
mpi.CHUNK_ELEMENTS = 1000
check_reductions(grid.world)
digests = check_sums(grid.world)
check_grid(grid)
if dist.is_available() and dist.is_gloo_available():
    world, reason, warned = chosen(grid.world, "gloo")
    assert (world.name, reason, warned) == ("mpi+gloo", "", [])
    assert isinstance(world, device.DeviceCollectives) and not dist.is_initialized()
    check_rows(world)
    check_reductions(world)
    check_input(world)
    assert check_sums(world) == digests
    if grid.size in (1, 3):
        check_fallback(grid.world)
    if grid.size > 1:
        check_choice(grid)
if grid.size > 1:
    check_reason_is_told(grid)
assert grid.world.all_gather_object(digests) == [digests] * grid.size
if grid.rank == 0:
    facts = grid.describe()
    print(*digests, facts["ranks"], facts["threads"], sep="\n")
