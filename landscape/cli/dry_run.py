"""`--dry-run`: what a command would cost, without doing it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from landscape.cli.jobs.spectrum import SpectrumCommand
    from landscape.cost import Machine, Plan


def forecast(command: SpectrumCommand) -> int:
    """Measure one product, and print what the density would cost on 1 to 1024 ranks (collective)."""
    from landscape.cost import RANKS, measure, plan
    from landscape.parallel import ProcessGrid
    from landscape.spectrum import DEFAULT_PRODUCTS

    job = command.job
    grid = ProcessGrid.world()
    command.build(grid)
    machine = measure(command.operator)
    classical = job.method == "classical"
    steps = min(job.steps if classical else job.max_products or DEFAULT_PRODUCTS, machine.n)
    probes = job.probes if classical else 0
    memory = None if job.memory == "auto" else job.memory
    counts = sorted({*RANKS, grid.size})
    plans = [plan(machine, ranks, steps, probes, memory) for ranks in counts]
    if grid.rank == 0:
        print("\n".join(in_lines(machine, plans, steps, probes)), flush=True)
    return 0


def in_lines(machine: Machine, plans: list[Plan], steps: int, probes: int) -> list[str]:
    """The forecast as a table."""
    from landscape._capacity import in_words
    from landscape.cost import breaking_point

    how = "measured" if machine.measured else "assumed: start with mpiexec -n 2 to measure"
    products = f"{probes} probes of {steps} products" if probes else f"at most {steps} products"
    lines = [
        f"dry run: {products}, {machine.n} parameters, {machine.batches} micro-batches; nothing is computed",
        f"  one product          {_seconds(machine.product_seconds)}, {_known(machine.product_bytes)} at its peak",
        f"  model and data       {_known(machine.resident_bytes)} per rank",
        f"  between ranks        {machine.latency * 1e6:.0f} µs, {in_words(machine.bandwidth)}/s ({how})",
        f"  {'ranks':>5} {'memory per rank':>16} {'of it vectors':>14} {'traffic':>10} {'time':>9} {'efficiency':>11}",
    ]
    for one in plans:
        lines.append(
            f"  {one.ranks:>5} {in_words(one.total_bytes):>16} {in_words(one.vector_bytes):>14} "
            f"{in_words(one.traffic_bytes):>10} {_seconds(one.seconds):>9} {one.efficiency:>10.0%}"
            + (f"  {'; '.join(one.limits)}" if one.limits else "")
        )
    broken = breaking_point(plans)
    if broken is None:
        lines.append(f"it scales up to {plans[-1].ranks} ranks")
    else:
        lines.append(f"it breaks at {broken.ranks} ranks: {'; '.join(broken.limits) or 'inefficient'}")
    lines.append("traffic is that of one rank and one product; time is that of all products, should tol not be reached")
    return lines


def _known(number: float) -> str:
    from landscape._capacity import in_words

    return "an amount that cannot be measured here" if math.isnan(number) else in_words(number)


def _seconds(seconds: float) -> str:
    if seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 600:
        return f"{seconds:.3g} s"
    return f"{seconds / 3600:.3g} h"
