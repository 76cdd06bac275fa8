"""Run by mpiexec: one rank, or all, come to the end named on the command line."""

from __future__ import annotations

import sys
import threading
import time

import torch

from landscape.errors import InputError
from landscape.parallel import ProcessGrid


def wait_for_all(grid: ProcessGrid) -> None:
    grid.meet("spectral_density")
    grid.world.all_reduce(torch.zeros(3))


def in_thread() -> None:
    raise RuntimeError("boom")


grid = ProcessGrid.world()
grid.meet("first")
how = sys.argv[1]
failing = int(sys.argv[2]) if len(sys.argv) > 2 else 1
print("started", flush=True)
match how:
    case "raise":
        if grid.rank == failing:
            raise RuntimeError("boom")
    case "raise_everywhere":
        raise RuntimeError("boom")
    case "input_error":
        if grid.rank == failing:
            raise InputError("boom")
    case "exit":
        if grid.rank == failing:
            sys.exit(7)
    case "exit_0":
        if grid.rank == failing:
            sys.exit(0)
    case "system_exit":
        if grid.rank == failing:
            raise SystemExit(7)
    case "exit_everywhere":
        if grid.rank == 0:
            time.sleep(1.0)
            print("written", flush=True)
        sys.exit(3)
    case "thread":
        if grid.rank == failing:
            threading.Thread(target=in_thread).start()
    case "while_busy":
        if grid.rank == failing:
            raise RuntimeError("boom")
        time.sleep(60.0)
    case "skip":
        if grid.rank == failing:
            grid.meet("eigenpairs")
    case "inner_skip":
        grid.meet("spectral_density")
        if grid.rank == failing:
            grid.meet("eigenpairs")
        grid.world.barrier()
    case "alone":
        if grid.rank == 0:
            time.sleep(8.0)
            print("drawn", flush=True)
        sys.exit(0)
wait_for_all(grid)
print("not reached", flush=True)
