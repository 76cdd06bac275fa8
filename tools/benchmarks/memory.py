"""Peak memory of a Lanczos run over what its formula says, for every way to keep the basis; each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from report import summary, write

import landscape as ls
from landscape.krylov import MODES, Lanczos, gaussian, needs
from landscape.parallel import mpiexec_command
from landscape.parallel.rows import RowPartition

# Where there is a basis, it is most of the memory; where there is none, vectors must be longer than the 32 MB up to
# which the C library may keep freed memory for itself.
BASIS = (2_000_000, 100)
VECTORS = (20_000_000, 12)
MOST = 0.15
REPEATS = 3
LOOKS = 1e-3  # seconds; a product takes a hundred times as long
CASES = [
    *((name, "float32", 1, *BASIS) for name in ("full", "selective", "float16", "bfloat16")),
    *((name, "float64", 1, *BASIS) for name in ("full", "float32")),
    *((name, "float32", 2, *BASIS) for name in ("full", "float16")),
    *((name, "float32", 1, *VECTORS) for name in ("disk", "minimal")),
    ("minimal", "float64", 1, *VECTORS),
    ("minimal", "float32", 2, *VECTORS),
]


class Peak(threading.Thread):
    """Looks all the time at the memory of this process, without its libraries, which the system drops as it likes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before = self.peak = anonymous()
        self.running = True

    def run(self) -> None:
        """Look until told to end."""
        while self.running:
            self.peak = max(self.peak, anonymous())
            time.sleep(LOOKS)


def anonymous() -> int:
    """Bytes of this process in memory that are in no file."""
    resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def run(name: str, dtype: torch.dtype, n: int, steps: int) -> None:
    """One Lanczos run; print the measured bytes of every rank, the formula's, and the seconds."""
    grid = ls.ProcessGrid.world()
    rows = RowPartition(n, grid.data)
    generator = torch.Generator().manual_seed(0)
    values = 1e-3 * torch.randn(n, generator=generator, dtype=dtype)
    values[:10] = torch.linspace(0.5, 1, 10, dtype=dtype)
    values = rows.shard(values).clone()
    start = gaussian(rows, 0, 0, dtype, torch.device("cpu"))
    rows.dot(values, start)  # whatever is loaded at the first use
    del start
    peak = Peak()
    peak.start()
    began = time.perf_counter()
    lanczos = Lanczos(lambda v: values * v, rows, gaussian(rows, 0, 0, dtype, torch.device("cpu")), MODES[name])
    for _ in range(steps):
        lanczos.step()
    seconds = time.perf_counter() - began
    if lanczos.exhausted:
        raise RuntimeError("the run ended early")
    peak.running = False
    peak.join()
    measured = max(grid.world.all_gather_object(peak.peak - peak.before))
    if grid.rank == 0:
        formula = needs(MODES[name], n, steps, grid.size, dtype.itemsize).device
        print(json.dumps({"measured": measured, "formula": formula, "seconds": seconds}), flush=True)


def main() -> None:
    """Measure and report."""
    figures = {}
    for name, dtype, ranks, n, steps in CASES:
        launcher = mpiexec_command(ranks) if ranks > 1 else []
        command = [*launcher, sys.executable, __file__, "--case", name, dtype, str(n), str(steps)]
        runs = []
        for _ in range(REPEATS):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
            runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
        figure: dict[str, Any] = summary([one["measured"] / one["formula"] for one in runs])
        figure["within 15 %"] = abs(figure["median"] - 1) <= MOST
        where = f"{name}, {dtype}, n = {n:.0e}, {ranks} rank{'s' if ranks > 1 else ''}"
        figures[where] = {**figure, "formula": runs[0]["formula"], "measured": [one["measured"] for one in runs]}
    write("memory", figures)


if __name__ == "__main__":
    if "--case" in sys.argv:
        name, kind, numbers, products = sys.argv[-4:]
        run(name, getattr(torch, kind), int(numbers), int(products))
    else:
        main()
