"""Run by mpiexec on 1 to 4 ranks: every verb of collectives, grid and sums; rank 0 prints what must agree."""

from __future__ import annotations

import hashlib
import math

import pytest
import torch

from landscape.errors import ComputeError, InputError
from landscape.parallel import Collectives, ProcessGrid, exact_sum, mpi, order_free_sum
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
assert grid.world.all_gather_object(digests) == [digests] * grid.size
if grid.rank == 0:
    facts = grid.describe()
    print(*digests, facts["ranks"], facts["threads"], sep="\n")
