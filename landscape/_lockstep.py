"""Densities of several operators whose Lanczos runs advance together: one joint product per step serves all of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from landscape._arguments import check_positive, check_whole
from landscape._budget import check_fits
from landscape._durable import Recurrence
from landscape.curvature import Operator
from landscape.krylov import Lanczos, gaussian
from landscape.parallel.rows import RowPartition
from landscape.records import SpectralDensity
from landscape.spectrum import DEFAULT_PRODUCTS, ROUND, _density

Progress = Callable[[int, int, str], None]
# Operator → vector, for those that still run, to operator → product.
Joint = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def densities_in_lockstep(
    operators: Mapping[str, Operator],
    joint: Joint,
    *,
    tol: float,
    max_products: int | None,
    seed: int,
    progress: Progress | None,
) -> dict[str, SpectralDensity]:
    """Deflated densities of several operators, as ``spectral_density`` of each would give (collective).

    Every run has its own start vector, recurrence, predicted error and end; when one ends, the joint product goes on
    without it.

    Parameters
    ----------
    operators : dict
        Name → operator; on one grid. Only what it is is asked of it, never a product.
    joint : callable
        One product of each operator that is asked, in one sweep over the data (collective).
    tol, max_products, seed
        As for ``spectral_density``, of each.
    progress : callable, optional
        ``progress(done, total, text)`` after each sweep.

    Returns
    -------
    dict
        Name → density; ``seconds`` is that of all together.
    """
    _check(tol, max_products, seed)
    started = time.monotonic()
    runs = {name: _Run(operator, tol, max_products, seed) for name, operator in operators.items()}
    first = next(iter(operators.values()), None)
    if first is not None:
        check_fits(
            sum(run.limit * run.rows.rows for run in runs.values()),
            first.dtype,
            first.device,
            first.grid.ranks_on_host,
            "give a smaller max_products or more ranks, or take one after the other by spectral_density",
        )
    sweeps = 0
    total = max(run.limit for run in runs.values())
    while active := [name for name, run in runs.items() if not run.done()]:
        images = joint({name: runs[name].vector() for name in active})
        for name in active:
            runs[name].advance(images[name])
        sweeps += 1
        if progress is not None:
            progress(sweeps, total, f"{len(active)} of {len(runs)} not yet known")
    seconds = time.monotonic() - started
    return {name: run.result(seconds, sweeps) for name, run in runs.items()}


class _Run:
    """One Lanczos run that waits for its products."""

    def __init__(self, operator: Operator, tol: float, max_products: int | None, seed: int) -> None:
        self.operator, self.tol, self.seed = operator, tol, seed
        self.limit = min(max_products or DEFAULT_PRODUCTS, operator.n)
        # Few parameters: find all eigenvalues, as spectral_density does.
        self.complete = self.limit == operator.n <= DEFAULT_PRODUCTS
        self.rows = RowPartition(operator.n, operator.grid.data)
        self.image: Tensor | None = None
        self.lanczos = Lanczos(self._product, self.rows, self._random(0))
        self.stopped = False
        self.looked = -1

    def vector(self) -> Tensor:
        """The vector whose product is wanted, ``(n,)`` on every rank (collective)."""
        return self.rows.gather(self.lanczos.newest()[-1])

    def advance(self, image: Tensor) -> None:
        """Take the product (collective)."""
        self.image = self.rows.shard(image)
        self.lanczos.step()
        if self.lanczos.exhausted and self.complete and self.lanczos.steps < self.rows.n:
            self.lanczos.restart(self._random(2**32 + self.lanczos.steps))

    def done(self) -> bool:
        """Whether no more products are needed, which the first rank decides (collective)."""
        steps = self.lanczos.steps
        if self.stopped or steps >= self.limit or self.lanczos.exhausted:
            return True
        if steps and steps % ROUND == 0 and not self.complete and self.looked != steps:
            self.looked = steps
            grid = self.operator.grid
            error = self.density().error if grid.rank == 0 else 0.0
            self.stopped = bool(grid.world.broadcast_object(error) <= self.tol)
        return self.stopped

    def density(self) -> SpectralDensity:
        """The record so far."""
        lanczos = self.lanczos
        recurrence = Recurrence(0, np.array(lanczos.alpha), np.array(lanczos.beta), lanczos.noise, lanczos.exhausted, 0)
        return _density(self.operator, [recurrence], self._settings())

    def result(self, seconds: float, sweeps: int) -> SpectralDensity:
        """The finished record (collective)."""
        provenance = {
            "configuration": {**self.operator.describe(), **self._settings()},
            "grid": self.operator.grid.describe(),
            "sweeps": sweeps,
        }
        density = dataclasses.replace(
            self.density(),
            products=self.lanczos.steps,
            seconds=seconds,
            gradient_equivalents=float("nan"),
            provenance=provenance,
        )
        return self.operator.grid.world.broadcast_object(density)

    def _settings(self) -> dict[str, Any]:
        return {
            "method": "deflated",
            "tol": self.tol,
            "seed": self.seed,
            "max_products": self.limit,
            "memory": "full",
        }

    def _random(self, probe: int) -> Tensor:
        return gaussian(self.rows, self.seed, probe, self.operator.dtype, self.operator.device)

    def _product(self, shard: Tensor) -> Tensor:
        if self.image is None:
            raise RuntimeError("a run in lockstep was stepped without its product")
        image, self.image = self.image, None
        return image


def _check(tol: float, max_products: int | None, seed: int) -> None:
    check_positive("tol", tol)
    if max_products is not None:
        check_whole("max_products", max_products, 1)
    check_whole("seed", seed, 0)
