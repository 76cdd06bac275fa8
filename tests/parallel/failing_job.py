"""Run by mpiexec: one rank, or all, come to the end named on the command line."""

from __future__ import annotations

import sys
import threading
import time

import torch

from landscape.errors import InputError
from landscape.parallel import ProcessGrid, watch


def raise_error() -> None:
    raise RuntimeError("boom")


how, failing = sys.argv[1], int(sys.argv[2])
grid = ProcessGrid.world()
grid.meet("first")
print(f"failing at {time.time()}", flush=True)
mine = grid.rank == failing
match how:
    case "raise" if mine:
        raise_error()
    case "raise while busy":
        if mine:
            raise_error()
        time.sleep(60.0)
    case "raise everywhere":
        raise_error()
    case "raise InputError" if mine:
        raise InputError("boom")
    case "raise in thread" if mine:
        threading.Thread(target=raise_error).start()
    case "sys.exit(7)" if mine:
        sys.exit(7)
    case "sys.exit(0)" if mine:
        sys.exit(0)
    case "raise SystemExit(7)" if mine:
        raise SystemExit(7)
    case "sys.exit(3) everywhere":
        if mine:
            time.sleep(2.0)
            print("written", flush=True)
        sys.exit(3)
    case "skip a call" if mine:
        grid.meet("eigenpairs")
    case "skip within a call":
        grid.meet("spectral_density")
        if mine:
            grid.meet("eigenpairs")
        grid.world.barrier()
    case "alone at the end":
        if mine:
            time.sleep(8.0)
            print("drawn", flush=True)
        sys.exit(0)
    case "late":
        watch.REPORT_SECONDS, watch.REMIND_SECONDS = 0.2, 0.5
        if mine:
            time.sleep(3.0)
        grid.meet("spectral_density")
        sys.exit(0)
grid.meet("spectral_density")
grid.world.all_reduce(torch.zeros(3))
if how == "raise in thread":
    time.sleep(60.0)
print("not reached", flush=True)
