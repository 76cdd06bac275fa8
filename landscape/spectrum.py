"""The eigenvalue density of an operator by stochastic Lanczos quadrature, with exact weights for what has converged."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot, isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape._arguments import check_positive, check_whole
from landscape._budget import choose
from landscape._complement import STEPS, Plan, reserved, short_runs, worth
from landscape._durable import DurableLanczos, Recurrence
from landscape._moments import match_moments
from landscape._sampling import Sampling
from landscape._sampling import data_sampling as sample_data
from landscape.curvature import Operator
from landscape.errors import InputError
from landscape.krylov import (
    MODES,
    Memory,
    Quadrature,
    anti_gauss,
    deflate,
    gauss,
    peaked,
    smooth_counts,
    spread_out,
)
from landscape.parallel import ProcessGrid
from landscape.records import SpectralDensity
from landscape.store import RunState

Array = NDArray[np.float64]

METHODS = ("deflated", "classical")
# Measured with n ≈ 2000 to 2500: on trained networks the predicted error reaches 0.05 after 100 to 140 products; early
# in training it does not within 200.
DEFAULT_PRODUCTS = 200
# Products between two looks at the predicted error; decisions must not depend on the number of ranks.
ROUND = 10
# Splitting the data costs communication, splitting the probes does not: prefer it unless the ranks would idle more.
DATA_SHARD_PENALTY = 1.05

PER_NODE = ("nodes", "weights", "resolved", "residuals", "probe", "cell")
PER_COMPANION = ("companion_nodes", "companion_weights", "companion_probe")

Progress = Callable[[int, int, str], None]


def spectral_density(
    operator: Operator,
    *,
    tol: float = 0.05,
    max_products: int | None = None,
    method: str = "deflated",
    probes: int = 10,
    steps: int = 80,
    seed: int = 0,
    data_sampling: int = 0,
    memory: str = "auto",
    memory_budget: int | float | str | None = None,
    state: RunState | str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    progress: Progress | None = None,
) -> SpectralDensity:
    """Eigenvalue density of a symmetric operator (collective).

    ``"deflated"``: one long Lanczos run from one Gaussian vector. For n eigenvalues one vector determines the bulk to
    about 1/√n, but weighs each outlier with an error of 100 %; so eigenvalues that have converged are counted with
    their exact weight 1/n. It stops when the predicted error reaches ``tol``. ``"classical"``: the mean over ``probes``
    runs of ``steps`` products (Lin, Saad, Yang, SIAM Review 58 (2016) 34; Ghorbani, Krishnan, Xiao, 2019), spread over
    the ranks.

    Parameters
    ----------
    operator : Operator
        ``ls.Hessian(objective)`` and the like.
    tol : float
        Wanted Wasserstein-1 distance to the true density, in units of ``mean |λ - median λ|``.
    max_products : int, optional
        Most products of the deflated method; default 200. With n ≤ 200 all eigenvalues are computed, by n products.
    method : "deflated" or "classical"
    probes, steps : int
        Of the classical method; defaults 10 and 80 as in GradVis (Chatzimichailidis et al., 2019).
    seed : int
        Of the start vectors.
    data_sampling : int
        Of how many resolved eigenvalues, those farthest from the median first, and of the trace, the error that comes
        from having these samples and not others is estimated; costs as many products, and four for the trace, in one
        sweep over the data. 0: none.
    memory : str
        How the Lanczos vectors are kept. ``"full"``: all of them, orthogonalized twice in every step. ``"selective"``:
        all of them, orthogonalized once and only when needed, the same nodes to rounding with a third of the memory
        traffic. ``"host"``, ``"disk"``: as full, bit by bit, off the device or in a file in the temporary folder.
        ``"float32"`` (in float64), ``"float16"``, ``"bfloat16"``: kept in fewer bytes, which moves nodes by up to
        1e-14, 1e-7 and 1e-5 of the largest. ``"minimal"``: none but the newest, with the quadrature's own weights, as
        converged eigenvalues come back as copies. ``"auto"``: the most accurate one that fits (never disk). The result
        names the choice.
    memory_budget : bytes or text such as "4GiB", optional
        Per rank, for these vectors, on top of model, data and products (:func:`landscape.krylov.needs`). Default: what
        is installed.
    state : path, optional
        Folder for the state of the unfinished run; an existing one is continued, with the same bits.
    checkpoint_seconds : float
        Time between two checkpoints to ``state``.
    progress : callable, optional
        ``progress(done, total, text)`` after each product.

    Returns
    -------
    SpectralDensity
        The same on every rank, and bitwise the same nodes and weights for every number of ranks. ``converged`` says
        whether ``error <= tol``.

    Raises
    ------
    InputError
        If an argument is out of range, a budget is too small, or ``state`` belongs to another run.
    ComputeError
        If a product is NaN.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(3, 1), torch.nn.MSELoss(), (torch.eye(3), torch.zeros(3, 1)))
    >>> density = ls.spectral_density(ls.Hessian(objective))
    >>> round(density.trace, 4)
    4.0
    """
    _check(operator, tol, max_products, method, probes, steps, seed)
    _check_sampling(operator, data_sampling, method)
    operator.grid.meet("spectral_density")
    started = time.monotonic()
    settings: dict[str, Any] = {"method": method, "tol": tol, "seed": seed}
    if method == "deflated":
        settings["max_products"] = min(max_products or DEFAULT_PRODUCTS, operator.n)
    else:
        settings |= {"probes": probes, "steps": min(steps, operator.n)}
    if data_sampling:
        settings["data_sampling"] = data_sampling
    mode = choose_memory(operator, settings, memory, memory_budget)
    if data_sampling and not mode.keeps_basis:
        raise InputError(
            f"data_sampling needs eigenvectors, which memory={mode.name!r} does not keep; choose another one"
        )
    settings["memory"] = mode.bits
    configuration = {**operator.describe(), **settings}
    settings["memory"] = mode.name
    state = RunState.of(state, configuration)
    run = _deflated if method == "deflated" else _classical
    worker, recurrences, sampling = run(operator, settings, state, checkpoint_seconds, progress)
    density = _with_sampling(_density(operator, recurrences, settings), sampling)
    density = dataclasses.replace(
        density,
        products=sum(one.products for one in recurrences) + (sampling.products if sampling else 0),
        seconds=time.monotonic() - started,
        gradient_equivalents=_gradient_equivalents(worker, recurrences),
        provenance={
            "configuration": configuration,
            "grid": worker.grid.describe(),
            "products": worker.facts(),
            "memory": mode.name,
            "resumed_products": sum(one.resumed for one in recurrences),
        },
    )
    return operator.grid.world.broadcast_object(density)


def choose_memory(
    operator: Operator, settings: dict[str, Any], memory: str, budget: int | float | str | None
) -> Memory:
    """How a run with these settings keeps its vectors (collective); see :func:`spectral_density`."""
    grid, dtype = operator.grid, operator.dtype
    deflated = settings["method"] == "deflated"
    steps = settings["max_products"] if deflated else settings["steps"]
    shards = grid.size if deflated else grid.size // probe_groups(grid.size, settings["probes"])
    mode = choose(memory, budget, operator.n, steps, shards, dtype, operator.device, grid.ranks_on_host)
    # Finding all eigenvalues, multiple ones too, takes an orthonormal basis, of at most 200 vectors of 200 numbers.
    mode = MODES["full"] if _complete(settings, operator.n) else mode
    return MODES[str(grid.world.broadcast_object(mode.name))]


def _complete(settings: dict[str, Any], n: int) -> bool:
    """Whether there are so few parameters that all eigenvalues are computed, as often as they occur."""
    return bool(settings["method"] == "deflated" and settings["max_products"] == n <= DEFAULT_PRODUCTS)


def probe_groups(ranks: int, probes: int) -> int:
    """How many groups of ranks run probes at the same time: the split with the least estimated time.

    Parameters
    ----------
    ranks, probes : int

    Returns
    -------
    int, a divisor of ``ranks``
    """

    def cost(groups: int) -> float:
        shards = ranks // groups
        return -(-probes // groups) / shards * (DATA_SHARD_PENALTY if shards > 1 else 1.0)

    divisors = [groups for groups in range(1, ranks + 1) if ranks % groups == 0]
    return min(divisors, key=lambda groups: (cost(groups), -groups))


def _deflated(
    operator: Operator,
    settings: dict[str, Any],
    state: RunState | None,
    checkpoint_seconds: float,
    progress: Progress | None,
) -> tuple[Operator, list[Recurrence], Sampling | None]:
    """One run on all ranks, until the predicted error is small enough."""
    worker = operator.on(operator.grid)
    limit, error = settings["max_products"], float("inf")
    small = _complete(settings, operator.n)
    mode = MODES[settings["memory"]]
    run = DurableLanczos(worker, settings["seed"], 0, state, checkpoint_seconds, complete=small, memory=mode)
    ending = limit - reserved(limit).products
    plan = Plan()
    while run.steps < limit and not run.lanczos.exhausted:
        # Before the product, so that a resumed run decides again what was decided at its checkpoint.
        if run.steps and (run.steps % ROUND == 0 or run.steps == ending) and not small:
            error, plan = operator.grid.world.broadcast_object(_outlook(operator, run, settings, limit))
            if error <= settings["tol"] or plan.probes:
                break
        run.advance()
        if progress is not None:
            progress(run.steps, limit, f"error {error:.3f}" if isfinite(error) else "")
    pairs = settings.get("data_sampling", 0)
    if plan.probes or pairs:
        run.save()
    result = run.result()
    if plan.probes:
        for rule in short_runs(worker, run, plan.steps):
            result = dataclasses.replace(result, complement=(*result.complement, rule))
            if progress is not None:
                progress(result.products, limit, f"{len(result.complement)} short runs")
            if len(result.complement) >= plan.probes:
                error = operator.grid.world.broadcast_object(
                    _density(operator, [result], settings).error if operator.grid.rank == 0 else 0.0
                )
                if error <= settings["tol"] or result.products + plan.steps > limit:
                    break
    sampling = sample_data(worker, run, pairs) if pairs else None
    operator.products += worker.products
    return worker, [result], sampling


def _outlook(
    operator: Operator, run: DurableLanczos, settings: dict[str, Any], limit: int
) -> tuple[float, Plan] | None:
    """On the first rank: the predicted error, and the short runs with which the run should end now."""
    if operator.grid.rank:
        return None
    density = _density(operator, [run.result()], settings)
    if density.error <= settings["tol"] or not MODES[settings["memory"]].keeps_basis:
        return density.error, Plan()
    return density.error, worth(density, run.steps, limit, settings["tol"])


def _classical(
    operator: Operator,
    settings: dict[str, Any],
    state: RunState | None,
    checkpoint_seconds: float,
    progress: Progress | None,
) -> tuple[Operator, list[Recurrence], Sampling | None]:
    """Independent runs, shared out to groups of ranks."""
    probes, steps = settings["probes"], settings["steps"]
    grid: ProcessGrid = operator.grid.split(probe_groups(operator.grid.size, probes))
    worker = operator.on(grid)
    mine = range(grid.probe_group, probes, grid.probe_groups)
    finished = []
    for count, probe in enumerate(mine):
        child = state.child(f"probe-{probe:04d}") if state is not None else None
        mode = MODES[settings["memory"]]
        run = DurableLanczos(worker, settings["seed"], probe, child, checkpoint_seconds, memory=mode)
        while run.steps < steps and not run.lanczos.exhausted:
            run.advance()
            if progress is not None:
                progress((count * steps + run.steps) * probes // len(mine), probes * steps, "")
        run.save()
        finished.append(run.result())
        del run  # its basis goes before the next one comes
    operator.products += worker.products
    everything = {one.probe: one for part in grid.world.all_gather_object(finished) for one in part}
    return worker, [everything[probe] for probe in sorted(everything)], None


def _density(operator: Operator, recurrences: list[Recurrence], settings: dict[str, Any]) -> SpectralDensity:
    """The record of one or several runs."""
    n, count = operator.n, len(recurrences)
    pieces: dict[str, list[Any]] = {name: [] for name in PER_NODE + PER_COMPANION}
    traces = []
    for one in recurrences:
        counted = settings["method"] == "deflated" and MODES[settings["memory"]].keeps_basis
        estimate, companion = _rules(one, n, counted)
        traces.append(_trace(one, n, estimate))
        rule = estimate.rule
        pieces["nodes"].append(rule.nodes)
        pieces["weights"].append(rule.weights / count)
        pieces["resolved"].append(estimate.resolved)
        pieces["residuals"].append(rule.residuals)
        pieces["probe"].append(np.full(len(rule.nodes), one.probe))
        pieces["cell"].append(estimate.cell)
        pieces["companion_nodes"].append(companion.nodes)
        pieces["companion_weights"].append(companion.weights / count)
        pieces["companion_probe"].append(np.full(len(companion.nodes), one.probe))
    joined: dict[str, Any] = {name: np.concatenate(parts) for name, parts in pieces.items()}
    order = np.argsort(joined["nodes"], kind="stable")
    for name in PER_NODE:
        joined[name] = joined[name][order]
    density = SpectralDensity(
        n=n,
        tol=settings["tol"],
        method=settings["method"],
        operator=operator.name,
        memory=settings["memory"],
        noise_floor=max(one.rounding for one in recurrences),
        complement_probes=len(recurrences[0].complement),
        complement_degree=_degree(recurrences[0].complement),
        **joined,
    )
    error = density.predicted_error()
    return dataclasses.replace(
        density,
        trace=sum(trace for trace, _ in traces) / count,
        trace_stderr=sqrt(sum(error**2 for _, error in traces)) / count,
        error=error,
        converged=bool(error <= settings["tol"]),
    )


def _with_sampling(density: SpectralDensity, sampling: Sampling | None) -> SpectralDensity:
    """The record with the errors from data sampling at the nodes that they belong to."""
    if sampling is None:
        return density
    stderr = np.full(len(density.nodes), np.nan)
    for cell, value in zip(sampling.cells, sampling.stderr, strict=True):
        stderr[density.resolved & (density.cell == cell)] = value
    return dataclasses.replace(density, sampling_stderr=stderr, trace_sampling_stderr=sampling.trace_stderr)


@dataclass(frozen=True)
class _Estimate:
    """What one run says.

    Attributes
    ----------
    rule : Quadrature
        Of the density.
    resolved : (m,) bool
        Of its nodes.
    cell : (m,) int64
        Which coarse node the mass comes from.
    coarse, counts, simple
        The nodes of the Gauss rule, how many eigenvalues each stands for, and which are resolved.
    """

    rule: Quadrature
    resolved: NDArray[np.bool_]
    cell: NDArray[np.int64]
    coarse: Array
    counts: Array
    simple: NDArray[np.bool_]

    @classmethod
    def of(cls, rule: Quadrature, n: int, resolved: NDArray[np.bool_]) -> _Estimate:
        """The rule as it is."""
        return cls(rule, resolved, np.arange(len(rule.nodes)), rule.nodes, n * rule.weights, resolved)


def _rules(one: Recurrence, n: int, counted: bool) -> tuple[_Estimate, Quadrature]:
    """The estimate of a run, and its companion rule."""
    rule = gauss(one.alpha, one.beta)
    if one.exhausted:
        rule = dataclasses.replace(rule, residuals=np.zeros_like(rule.residuals))
    if not counted:
        companion = rule if one.exhausted else anti_gauss(one.alpha, one.beta)
        return _Estimate.of(rule, n, np.zeros(len(rule.nodes), bool)), companion
    if one.exhausted:
        deflation = deflate(rule, n, exhausted=True)
        rule = dataclasses.replace(rule, weights=deflation.weights)
        return _Estimate.of(rule, n, deflation.resolved), rule
    alpha, beta = peaked(one.alpha, one.beta)
    companion = _refined(anti_gauss(alpha, beta), n, one.complement).rule
    return _refined(gauss(alpha, beta), n, one.complement), companion


def _refined(rule: Quadrature, n: int, complement: Sequence[Quadrature]) -> _Estimate:
    """Exact weights for what has converged, smooth counts and finer steps for the rest."""
    deflation = deflate(rule, n)
    raw, resolved = n * deflation.weights, deflation.resolved
    counts = smooth_counts(rule.nodes, raw, resolved)
    if complement and np.count_nonzero(~resolved) > 2:
        counts = match_moments(rule, raw, counts, resolved, complement, _degree(complement))
    spread, cell = spread_out(rule, counts, resolved, n)
    return _Estimate(spread, resolved[cell], cell, rule.nodes, counts, resolved)


def _degree(complement: Sequence[Quadrature]) -> int:
    """How many moments of their start vectors short runs know, or would know."""
    return 2 * (min(len(rule.nodes) for rule in complement) if complement else STEPS) - 1


def _trace(one: Recurrence, n: int, estimate: _Estimate) -> tuple[float, float]:
    """n times the mean eigenvalue, and the standard error that the Dirichlet law gives the unresolved part."""
    nodes, counts, bulk = estimate.coarse, estimate.counts, ~estimate.simple
    mass = float(counts[bulk].sum())
    rounding = one.rounding * sqrt(n)
    if mass == 0:
        return float(counts @ nodes), rounding
    share = counts[bulk] / mass
    variance = max(float(share @ nodes[bulk] ** 2 - (share @ nodes[bulk]) ** 2), 0.0)
    degrees = (n - np.count_nonzero(estimate.simple) + 2) * (1 + len(one.complement))
    return float(counts @ nodes), hypot(mass * sqrt(2 * variance / degrees), rounding)


def _gradient_equivalents(worker: Operator, recurrences: list[Recurrence]) -> float:
    """Cost of all products in gradients of the same data on the same ranks (collective)."""
    gradient_seconds = worker.gradient_seconds()
    if worker.products == 0:
        return float("nan")
    return sum(one.products for one in recurrences) * worker.seconds / worker.products / gradient_seconds


def _check_sampling(operator: Operator, pairs: int, method: str) -> None:
    check_whole("data_sampling", pairs, 0)
    if not pairs:
        return
    objective = getattr(operator, "objective", None)
    if objective is None:
        raise InputError(f"data_sampling needs data, which {operator.name} does not have")
    if objective.batches < 2:
        raise InputError(
            "data_sampling compares micro-batches, and there is only one: give micro_batch (--micro-batch), such as "
            f"{max(objective.samples // 10, 1)}"
        )
    if method != "deflated":
        raise InputError(f'data_sampling needs resolved eigenvalues, which method="{method}" has none of')


def _check(
    operator: Operator, tol: float, max_products: int | None, method: str, probes: int, steps: int, seed: int
) -> None:
    if not isinstance(operator, Operator):
        raise InputError(
            f"spectral_density needs an operator such as landscape.Hessian(objective), not {type(operator).__name__}"
        )
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}; choose {' or '.join(METHODS)}")
    check_positive("tol", tol)
    for name, value in (("max_products", max_products), ("probes", probes), ("steps", steps)):
        if value is not None:
            check_whole(name, value, 1)
    check_whole("seed", seed, 0)
