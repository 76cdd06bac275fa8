"""Eigenpairs and densities along a recorded run: ranks take chains of checkpoints, which pass warm starts on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape._arguments import check_whole
from landscape._chains import Parts, Progress, in_chains
from landscape.curvature import Hessian, Operator
from landscape.eigen import settings_for, solve, start_vectors
from landscape.errors import InputError
from landscape.objective import Objective
from landscape.parallel import ProcessGrid
from landscape.records import DensitySeries, EigenSeries, SpectralDensity
from landscape.records.parts import record_from, record_parts
from landscape.spectrum import spectral_density
from landscape.store import RunState
from landscape.trajectory import Trajectory

# Checkpoints per chain: its first start is cold, so that a longer chain saves products and a shorter one occupies more
# ranks. Part of the configuration, never a function of the number of ranks.
CHAIN = 8


def eigenpairs_along(
    run: Trajectory | str | os.PathLike[str],
    objective: Objective,
    k: int = 10,
    which: str = "largest",
    *,
    every: int = 1,
    operator: Callable[[Objective], Operator] = Hessian,
    tol: float = 1e-3,
    max_products: int | None = None,
    basis: int | None = None,
    block: int = 1,
    seed: int = 0,
    chain: int = CHAIN,
    state: RunState | str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> EigenSeries:
    """Extreme eigenvalues at the checkpoints of a run, with their residuals (collective).

    Every checkpoint is evaluated with its own buffers, over all data, by one rank. Ranks take chains of consecutive
    checkpoints; inside a chain the vectors of one checkpoint start the run at the next, and the product that checks the
    residuals is spent at the first. A warm start takes about half of the products of a cold one for one pair, two
    thirds for three, and four fifths for ten, as each pair needs a product (``tools/bench eigenpairs``).

    Parameters
    ----------
    run : Trajectory or path
    objective : Objective
        Of the same model; its own theta plays no role.
    k, which, tol, max_products, basis, block, seed
        As for :func:`landscape.eigenpairs`, at each checkpoint.
    every : int
        Take every so many checkpoints; the first and the last are always taken.
    operator : callable
        Objective → operator: ``ls.Hessian`` (default), ``ls.GaussNewton``, …
    chain : int
        Checkpoints per chain; default 8. With 1 every start is cold.
    state : path, optional
        Folder for the finished checkpoints of an unfinished series; an existing one is continued, with the same bits.
    progress : callable, optional
        ``progress(done, total, text)`` with the number of checkpoints, on rank 0.

    Returns
    -------
    EigenSeries
        The same on every rank, and bitwise the same for every number of ranks.

    Raises
    ------
    InputError
        If an argument is out of range, the run has no checkpoints or is of another model, or ``state`` belongs to
        another series.
    ComputeError
        If a product is NaN.

    Examples
    --------
    >>> series = eigenpairs_along("run.h5", objective, k=3, every=5)                    # doctest: +SKIP
    >>> series.steps, series.values[:, 0]                                               # doctest: +SKIP
    """
    along = _Along(run, objective, operator, every, chain)
    settings = {**settings_for(along.first, k, which, tol, max_products, basis, seed, block), "check": True}

    def compute(here: Operator, before: Any) -> tuple[Parts, Any]:
        start = None if before is None else start_vectors(before, here, settings["block"])
        pairs, worker = solve(here, {**settings, "check": before is None}, start)
        parts = record_parts(pairs, ("vectors", "theta"))
        parts[1]["product_seconds"] = worker.operator.seconds
        parts[1]["warm"] = before is not None
        return parts, pairs.vectors

    results, facts = along.compute("eigenpairs_along", settings, compute, state, progress)
    width = min(2 * k, along.first.n) if which == "both" else k
    rows: dict[str, Any] = {
        name: np.stack([_filled(arrays[name], width, fill) for arrays, _ in results])
        for name, fill in (("values", np.nan), ("residuals", np.nan), ("converged", False))
    }
    column = {name: np.array([one[name] for _, one in results]) for name in results[0][1]}
    return EigenSeries(
        **rows,
        n=along.first.n,
        tol=tol,
        loss=column["loss"],
        scales=column["scale"],
        noise_floors=column["noise_floor"],
        product_counts=column["products"].astype(np.int64),
        warm=column["warm"],
        which=which,
        operator=along.first.name,
        **facts,
    )


def spectra_along(
    run: Trajectory | str | os.PathLike[str],
    objective: Objective,
    *,
    every: int = 1,
    operator: Callable[[Objective], Operator] = Hessian,
    tol: float = 0.05,
    max_products: int | None = None,
    method: str = "deflated",
    probes: int = 10,
    steps: int = 80,
    seed: int = 0,
    state: RunState | str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> DensitySeries:
    """Eigenvalue densities at the checkpoints of a run, with their errors (collective).

    Every checkpoint is evaluated with its own buffers, over all data, by one rank. Start vectors are random at each
    checkpoint, as the density needs them, and the same ones: what differs between checkpoints is not the probe.

    Parameters
    ----------
    run, objective, every, operator, state, progress
        As for :func:`eigenpairs_along`.
    tol, max_products, method, probes, steps, seed
        As for :func:`landscape.spectral_density`, at each checkpoint.

    Returns
    -------
    DensitySeries
        The same on every rank, and bitwise the same for every number of ranks.

    Raises
    ------
    InputError, ComputeError
        As :func:`eigenpairs_along`.

    Examples
    --------
    >>> series = spectra_along("run.h5", objective, every=5)                            # doctest: +SKIP
    >>> series[-1].pdf(0.0), series.lambda_max                                          # doctest: +SKIP
    """
    along = _Along(run, objective, operator, every, 1)
    options: dict[str, Any] = {"tol": tol, "method": method, "seed": seed}
    options |= {"max_products": max_products} if method == "deflated" else {"probes": probes, "steps": steps}

    def compute(here: Operator, before: Any) -> tuple[Parts, Any]:
        density = spectral_density(here, **options)
        parts = record_parts(density)
        parts[1]["loss"] = here.objective.loss()
        return parts, None

    results, facts = along.compute("spectra_along", options, compute, state, progress)
    losses = np.array([one.pop("loss") for _, one in results])
    densities = [record_from(SpectralDensity, arrays, one) for arrays, one in results]
    return DensitySeries.of(densities, loss=losses, **facts)


class _Along:
    """A run, and what is computed at some of its checkpoints."""

    def __init__(
        self,
        run: Trajectory | str | os.PathLike[str],
        objective: Objective,
        operator: Callable[[Objective], Operator],
        every: int,
        chain: int,
    ) -> None:
        if not isinstance(objective, Objective):
            raise InputError(f"a series needs the landscape.Objective of the run, not {type(objective).__name__}")
        for name, value in (("every", every), ("chain", chain)):
            check_whole(name, value, 1, "checkpoint")
        self.run = run if isinstance(run, Trajectory) else Trajectory(run)
        if len(self.run) == 0:
            raise InputError(f"{self.run.path} has no checkpoints; record some with landscape.Recorder")
        self.every, self.chain = every, chain
        self.indices = chosen_checkpoints(len(self.run), every)
        self.chains = [self.indices[start : start + chain] for start in range(0, len(self.indices), chain)]
        self.grid = objective.grid
        self.first = operator(objective.at(self.run[self.indices[0]]))
        self.first.prepare()  # once for all checkpoints, which the ranks then compute on their own

    def compute(
        self,
        name: str,
        settings: dict[str, Any],
        compute: Callable[[Operator, Any], tuple[Parts, Any]],
        state: RunState | str | os.PathLike[str] | None,
        progress: Progress | None,
    ) -> tuple[list[Parts], dict[str, Any]]:
        """What was found at each checkpoint, and the facts of the series (collective).

        Parameters
        ----------
        name : str
            Of the collective call.
        settings : dict
            What the numbers depend on, beyond the run and the objective.
        compute : callable
            Operator at a checkpoint, and what the one before in the chain carried over (None at the head) → what was
            found, what is carried over.
        state, progress
            As for :func:`eigenpairs_along`.
        """
        self.grid.meet(name)
        started = time.monotonic()
        configuration = {**self.configuration(), **settings}
        state = RunState.of(state, configuration)
        self.first.prepare()  # the way to compute products is chosen by the first rank for all of them
        alone = self.grid.alone()

        def at(index: int, carried: Any) -> tuple[Parts, Any]:
            return compute(self.first.of(self.first.objective.on(alone).at(self.run[index])), carried)

        found, resumed = in_chains(self.chains, at, self.grid, state, progress)
        results = [one for chain in found for one in chain]
        seconds = time.monotonic() - started
        cost = self._gradient_equivalents(results, alone) if self.grid.rank == 0 else 0.0
        seconds, cost = self.grid.world.broadcast_object((seconds, cost))
        return results, {
            **self.facts(),
            "seconds": seconds,
            "gradient_equivalents": cost,
            "provenance": {
                "configuration": configuration,
                "grid": self.grid.describe(),
                "resumed_checkpoints": resumed,
            },
        }

    def configuration(self) -> dict[str, Any]:
        """What identifies the series, for provenance and for resuming (collective)."""
        own = {"run_sha256": self.run.digest(), "every": self.every, "chain": self.chain}
        return {**self.first.describe(), **own}

    def _gradient_equivalents(self, results: Sequence[Parts], alone: ProcessGrid) -> float:
        """Cost of all products in gradients of the same data on one rank."""
        if "product_seconds" not in results[0][1]:
            return float(sum(facts["gradient_equivalents"] for _, facts in results))
        spent = sum(facts["product_seconds"] for _, facts in results)
        return float(spent / self.first.of(self.first.objective.on(alone)).gradient_seconds())

    def facts(self) -> dict[str, Any]:
        """What the run says about the chosen checkpoints."""
        run, indices = self.run, self.indices
        return {
            "steps": np.asarray(run.steps, np.int64)[indices],
            "losses": np.asarray(run.losses, float)[indices],
            "learning_rates": np.asarray(run.learning_rates, float)[indices],
            "theta_sha256": np.asarray(run.digests)[indices],
            "run": run.name,
            "optimizer": dict(run.optimizer),
        }


def chosen_checkpoints(number: int, every: int) -> list[int]:
    """Which checkpoints of a run make a series: every so many from the first, and the last.

    Examples
    --------
    >>> chosen_checkpoints(12, 5)
    [0, 5, 10, 11]
    """
    return sorted({*range(0, number, every), number - 1})


def _filled(values: NDArray[Any], width: int, fill: Any) -> NDArray[Any]:
    """A row of so many numbers."""
    row = np.full(width, fill, values.dtype)
    row[: len(values)] = values
    return row
