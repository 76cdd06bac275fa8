"""When a long run had better end with short ones from other start vectors, and these short runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from landscape._durable import DurableLanczos
from landscape.curvature import Operator
from landscape.krylov import Outside, Quadrature, gaussian, outside_rule, resolved_pairs
from landscape.records import SpectralDensity

# Fewest products of one short run: of 2, 3, 4 and 5, the least error in plots (nine trained networks).
STEPS = 4
# More short runs than this gain less than longer ones.
PROBES = 6
# Of the products of a run that ends without having reached its tolerance, this share goes to short runs: with a third
# the long run resolves too little, with a tenth the noise stays.
SHARE = 0.2
# Before so many products more of the same run is better in any case.
LEAST_STEPS = 60
# Short runs that may end a run that would reach its tolerance with them, by this margin.
MOST = 10
MARGIN = 0.95
# Their streams are counted from here, after those of probes, restarts and data sampling.
FIRST_STREAM = 2**34


@dataclass(frozen=True)
class Plan:
    """So many short runs of so many products."""

    probes: int = 0
    steps: int = STEPS

    @property
    def products(self) -> int:
        """Of all."""
        return self.probes * self.steps


def reserved(limit: int) -> Plan:
    """The short runs for which a long run leaves room before its last product.

    Examples
    --------
    >>> reserved(60), reserved(90), reserved(200)
    (Plan(probes=0, steps=4), Plan(probes=4, steps=4), Plan(probes=6, steps=6))
    """
    products = max(0, min(int(SHARE * limit), limit - LEAST_STEPS))
    steps = max(STEPS, products // PROBES)
    return Plan(products // steps, steps)


def worth(density: SpectralDensity, done: int, limit: int, tol: float) -> Plan:
    """The short runs that should end the run now; none: go on.

    Parameters
    ----------
    density : SpectralDensity
        So far.
    done, limit : int
        Products so far, and the most there may be.
    tol : float
    """
    if done < LEAST_STEPS:
        return Plan()
    parts = density.error_parts()
    affordable = range(2, min(MOST, (limit - done) // STEPS) + 1, 2)
    # What they cannot reduce is looked at first.
    if parts["quadrature"] + parts["rounding"] <= MARGIN * tol:
        for probes in affordable:
            if dataclasses.replace(density, complement_probes=probes).predicted_error() <= MARGIN * tol:
                return Plan(probes)
    if done != limit - reserved(limit).products:
        return Plan()
    return reserved(limit) if parts["probe"] > parts["quadrature"] else Plan()


def short_runs(operator: Operator, run: DurableLanczos, steps: int) -> Iterator[Quadrature]:
    """Gauss rules of short runs outside what a run has resolved, one after the other (collective).

    Parameters
    ----------
    operator : Operator
    run : DurableLanczos
        With its basis.
    steps : int
        Products of each.
    """
    data, lanczos, rows = operator.grid.data, run.lanczos, run.rows
    found = None
    if data.rank == 0:
        _, resolved, vectors = resolved_pairs(np.array(lanczos.alpha), np.array(lanczos.beta), rows.n)
        found = vectors[:, resolved]
    outside = Outside(lanczos.basis, data.broadcast_object(found))
    probe = 0
    while True:
        start = gaussian(rows, run.seed, FIRST_STREAM + probe, operator.dtype, operator.device)
        yield outside_rule(lanczos, outside, start, steps)
        probe += 1
