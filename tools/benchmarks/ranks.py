"""Speed of all ranks together over one rank alone, in one job: one core per rank, the two sides interleaved."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from report import pin, summary, write

import landscape as ls
from landscape import zoo

REPEATS = 11


def main() -> None:
    """Measure and report; run by several ranks."""
    grid = ls.ProcessGrid.world()
    pin(grid.rank)
    hessian = ls.Hessian(zoo.build("digits-cnn", epochs=1))
    alone = hessian.on(grid.alone())
    runs: dict[str, Callable[[Any], Any]] = {
        "default method, data shards": lambda operator: ls.spectral_density(operator, tol=1e-9, max_products=8),
        "classical method, probes": lambda operator: ls.spectral_density(
            operator, method="classical", probes=2 * grid.size, steps=4
        ),
    }
    figures = {}
    for name, run in runs.items():
        run(hessian)
        ratios = []
        for _ in range(REPEATS):
            grid.world.barrier()
            start = time.perf_counter()
            run(hessian)
            grid.world.barrier()
            together = time.perf_counter() - start
            start = time.perf_counter()
            if grid.rank == 0:
                run(alone)
            grid.world.barrier()
            ratios.append((time.perf_counter() - start) / together)
        figures[f"{name}: speed of {grid.size} ranks / 1"] = summary(ratios)
    if grid.rank == 0:
        write("ranks", figures)


if __name__ == "__main__":
    main()
