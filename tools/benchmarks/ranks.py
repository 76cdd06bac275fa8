"""Speed of all ranks together over one rank alone, and the cost model's forecast of it; the two sides interleaved.

Two ranks have a core each where there are two; more ranks than cores share them, and the forecast says so, too: then a
rank computes cores / ranks as fast.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from report import pin, summary, write

import landscape as ls
from landscape import zoo
from landscape.cost import measure, step_seconds
from landscape.parallel import mpiexec_command

COUNTS = (2, 3, 4)
REPEATS = 5
STEPS = 8


def run() -> None:
    """Measure on the ranks of this job; the first one prints what was found."""
    grid = ls.ProcessGrid.world()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pin(grid.rank)
    hessian = ls.Hessian(zoo.build("digits-cnn", epochs=1))
    hessian.prepare()
    alone = hessian.on(grid.alone())
    crowd = max(1.0, grid.size / cores)
    machine = measure(hessian)
    runs: dict[str, Callable[[Any], Any]] = {
        "default method, data shards": lambda operator: ls.spectral_density(operator, tol=1e-9, max_products=STEPS),
        "classical method, probes": lambda operator: ls.spectral_density(
            operator, method="classical", probes=2 * grid.size, steps=4
        ),
    }
    found: dict[str, Any] = {}
    for name, compute in runs.items():
        compute(hessian)
        together, single = [], []
        for _ in range(REPEATS):
            grid.world.barrier()
            start = time.perf_counter()
            compute(hessian)
            grid.world.barrier()
            together.append(time.perf_counter() - start)
            start = time.perf_counter()
            if grid.rank == 0:
                compute(alone)
            grid.world.barrier()
            single.append(time.perf_counter() - start)
        ratios = [one / all_of_them for one, all_of_them in zip(single, together, strict=True)]
        shards = grid.size if name.startswith("default") else 1
        product, exchange, sweep = step_seconds(machine, shards, STEPS, "full")
        work = sum(step_seconds(machine, 1, STEPS, "full")) * (1 if shards > 1 else grid.size)
        forecast = work / (crowd * (product + sweep) + exchange)
        found[name] = {**summary(ratios), "forecast": forecast, "fastest / fastest": min(single) / min(together)}
    found["machine"] = {
        "product seconds": machine.product_seconds,
        "latency seconds": machine.latency,
        "bytes per second": machine.bandwidth,
        "micro-batches": machine.batches,
        "cores": cores,
    }
    if grid.rank == 0:
        print(json.dumps(found), flush=True)


def main() -> None:
    """Measure on several numbers of ranks and report."""
    figures = {}
    for ranks in COUNTS:
        command = [*mpiexec_command(ranks), sys.executable, __file__, "--case"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        machine = found.pop("machine")
        for name, figure in found.items():
            figures[f"{name}: speed of {ranks} ranks / 1"] = {**figure, **machine}
    write("ranks", figures)


if __name__ == "__main__":
    if "--case" in sys.argv:
        run()
    else:
        main()
