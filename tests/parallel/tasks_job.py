"""Run by mpiexec on 1 to 4 ranks: messages, shared tasks, and what happens when a rank fails or skips a call."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from landscape.errors import InputError
from landscape.parallel import Collectives, ProcessGrid
from landscape.parallel.tasks import share_tasks


def check_messages(world: Collectives) -> None:
    rank, size = world.rank, world.size
    for bad in (rank, size):
        with pytest.raises(InputError):
            world.send_object("to whom?", bad)
        with pytest.raises(InputError):
            world.receive_object([bad], wait=False)
    assert world.receive_object([], wait=False) is None
    world.barrier()
    for other in range(size):
        if other != rank:
            for number in range(3):
                world.send_object({"from": rank, "number": number, "large": np.full(number * 50000, rank)}, other)
    expected = {other: 0 for other in range(size) if other != rank}
    while any(number < 3 for number in expected.values()):
        waiting = [other for other, number in expected.items() if number < 3]
        source, value = world.receive_object(waiting)
        assert (value["from"], value["number"]) == (source, expected[source])  # in the order in which they were sent
        assert np.array_equal(value["large"], np.full(value["number"] * 50000, source))
        expected[source] += 1
    world.finish_sending()
    assert world.all_gather_object(rank) == list(range(size))  # not mistaken for messages


def check_tasks(world: Collectives) -> None:
    for tasks in ([], [5], [3, 1], list(range(7)), list(range(100, 0, -1))):
        done: list[tuple[int, tuple[int, int]]] = []
        began: list[int] = []

        def work(task: int, began: list[int] = began) -> tuple[int, int]:
            began.append(task)
            return task**2, world.rank

        share_tasks(tasks, work, world, lambda task, result, done=done: done.append((task, result)))
        everything = [task for part in world.all_gather_object(began) for task in part]
        assert sorted(everything) == sorted(tasks)  # each once
        if world.rank == 0:
            assert sorted(task for task, _ in done) == sorted(tasks)
            assert all(square == task**2 for task, (square, _) in done)
            assert [task for task, (_, rank) in done if rank == 0] == began
        else:
            assert not done
    share_tasks(range(3), lambda task: None, world)


def check_balance(world: Collectives) -> None:
    """A rank that needs ten times as long gets less, and nobody waits long for the others at the end."""
    mine, ended = [], []
    seconds = 0.05 if world.rank == world.size - 1 and world.size > 1 else 0.005
    share_tasks(range(120), lambda task: (mine.append(task), time.sleep(seconds)), world, None)
    ended.append(time.perf_counter())
    numbers = world.all_gather_object(len(mine))
    assert sum(numbers) == 120
    if world.size > 1:
        assert numbers[-1] < min(numbers[:-1]) / 2


how = sys.argv[1] if len(sys.argv) > 1 else "all"
grid = ProcessGrid.world()
match how:
    case "all":
        check_messages(grid.world)
        check_tasks(grid.world)
        check_balance(grid.world)
        assert grid.world.receive_object([], wait=False) is None
        grid.world.barrier()
        if grid.rank == 0:
            print("done", flush=True)
    case "fail":

        def fail(task: int) -> int:
            time.sleep(0.01)
            if grid.rank == 1 and task > 3:
                raise RuntimeError("boom")
            return task

        grid.meet("loss_surface")
        share_tasks(range(500), fail, grid.world)
        print("not reached", flush=True)
    case "skip":
        grid.meet("loss_surface")
        if grid.rank == 1:
            grid.meet("eigenpairs")
        share_tasks(range(4), lambda task: task, grid.world)
        print("not reached", flush=True)
    case "leave":
        grid.meet("loss_surface")
        if grid.rank == 1:
            sys.exit(7)
        share_tasks(range(40), lambda task: task, grid.world)
        print("not reached", flush=True)
