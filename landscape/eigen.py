"""Extreme eigenpairs of an operator, resumable, with the same bits on any number of ranks."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape._arguments import check_positive, check_whole
from landscape._durable import shards_of_first_rank
from landscape.curvature import Operator
from landscape.errors import InputError
from landscape.krylov import WHICH, RestartedLanczos, gaussian
from landscape.krylov.ritz import RitzPairs, by_interest
from landscape.parallel.rows import RowPartition
from landscape.records import EigenPairs
from landscape.store import RunState

# The larger the basis, the fewer the products: as many vectors as fit into this many bytes (over all ranks), but …
BASIS_BYTES = 2**30
# … no more than this, where orthogonalization and the small eigenproblems begin to cost as much as small products, and
# no fewer than max(20, 2k + 10), with which restarts still converge well.
MOST_VECTORS = 300
LEAST_VECTORS = 20
# Far more than extreme pairs of trained networks need (tools/bench eigenpairs); a limit for what does not converge.
DEFAULT_PRODUCTS = 1000
# A look at the pairs is due after every product, in larger bases after every 32nd part of their number.
LOOKS = 32
# Part of a random vector in a warm start: what the earlier vectors do not see is found in a few products more. Measured
# along trained networks: it costs nothing, as the vectors of two checkpoints differ by more.
ADMIXTURE = 1e-2
# Random streams of fresh vectors are counted after those of all probes, which are far fewer.
FRESH = 2**32

Progress = Callable[[int, int, str], None]


def eigenpairs(
    operator: Operator,
    k: int = 10,
    which: str = "largest",
    *,
    tol: float = 1e-3,
    max_products: int | None = None,
    basis: int | None = None,
    block: int = 1,
    seed: int = 0,
    start: Any = None,
    check: bool = True,
    state: RunState | str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    progress: Progress | None = None,
) -> EigenPairs:
    """Extreme eigenvalues of a symmetric operator with their eigenvectors (collective).

    Thick-restart Lanczos (Wu and Simon, SIAM J. Matrix Anal. Appl. 22 (2000) 602), which looks at the pairs after every
    product and spends fewer products than ARPACK at the same tolerance, criterion and basis size. A pair has converged
    when ``‖Av - λv‖ <= tol · |λ|``, where eigenvalues below a thousandth of the largest count as that large, and of λ
    a known multiple of the identity, such as weight decay, is left out. The residuals come from the products of the run
    itself; one more product, with a random combination of all vectors, checks them. If ``tol`` asks for less than the
    rounding of a product allows, the run ends there, with ``converged`` false.

    What is guaranteed: within its residual of every value lies an eigenvalue. The residuals are right up to the
    estimated rounding of the products (the worst that was measured, in float32: 1.43 times what was claimed). That none
    was missed is probable, not certain, as for every method that starts from one random vector; misses become rarer
    with ``tol`` (none with the default in 80 runs on an exact spectrum of a trained network, some with 1e-2). Of a
    multiple eigenvalue the Krylov space of one vector holds one copy; others appear by rounding, late or never: a
    ``block`` of p vectors holds p copies. Where that space is exhausted (identity, low rank plus a multiple of the
    identity, k near n), fresh random vectors in the complement go on until they add nothing, and all copies are found.

    Parameters
    ----------
    operator : Operator
        ``ls.Hessian(objective)`` and the like.
    k : int
        How many pairs, at most n; default 10, one per class of the usual small data sets.
    which : "largest", "smallest", "magnitude" or "both"
        ``"both"`` gives k of each end, all n pairs if 2k > n.
    tol : float
        Wanted residual relative to ``|λ|``. Default 1e-3: values to about 1e-6, vectors good enough for planes.
    max_products : int, optional
        Most products; default 1000, and no fewer than 20 per pair. What there is then is returned, fewer pairs if need
        be, with ``converged`` false where it is not.
    basis : int, optional
        Most basis vectors at one time, as ``ncv`` of ARPACK; at least two more than pairs. Default: what fits into
        1 GiB, at least max(20, 2k + 10), at most 300: more vectors need fewer products.
    block : int
        Start vectors, which are multiplied in one sweep over the data. Default 1: it needs the fewest products. With
        p, copies of an eigenvalue up to p, and clusters that one vector tells apart late, are found in one run; ten
        simple pairs cost a block of 2 a fifth more products (``tools/bench eigenpairs``: 1.16 to 1.26).
    seed : int
        Of the random vectors.
    start : EigenPairs or array, optional
        Warm start: a vector ``(n,)``, or several in the columns of ``(n, j)``, such as the eigenvectors at an earlier
        point. Their sum, or in turns the sums of ``block`` groups, with a hundredth of a random vector, starts the run.
        Taken one by one, each vector would need a product of its own before anything can be improved.
    check : bool
        Whether to spend the product that checks the residuals; along a series once is enough.
    state : path, optional
        Folder for the state of the unfinished run; an existing one is continued, with the same bits.
    checkpoint_seconds : float
        Time between two checkpoints to ``state``.
    progress : callable, optional
        ``progress(done, total, text)`` after each product.

    Returns
    -------
    EigenPairs
        The same on every rank, and bitwise the same values and vectors for every number of ranks.

    Raises
    ------
    InputError
        If an argument is out of range, or ``state`` belongs to another run.
    ComputeError
        If a product is NaN.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(3, 1), torch.nn.MSELoss(), (torch.eye(3), torch.zeros(3, 1)))
    >>> ls.eigenpairs(ls.Hessian(objective), k=1).values.round(4)
    array([2.6667])
    """
    settings: dict[str, Any] = settings_for(operator, k, which, tol, max_products, basis, seed, block)
    settings["check"] = bool(check)
    operator.grid.meet("eigenpairs")
    started = time.monotonic()
    settings["start_sha256"] = None
    first = None
    if start is not None:
        first = start_vectors(start, operator, settings["block"])
        settings["start_sha256"] = hashlib.sha256(first.cpu().numpy().tobytes()).hexdigest()
    configuration = {**operator.describe(), **settings}
    state = RunState.of(state, configuration)
    pairs, run = solve(operator, settings, first, state, checkpoint_seconds, progress)
    cost = run.lanczos.products
    seconds = run.operator.seconds / max(run.operator.products, 1)
    operator.products += run.operator.products
    facts = {
        "seconds": time.monotonic() - started,
        "gradient_equivalents": cost * seconds / run.operator.gradient_seconds(),
        "provenance": {
            "configuration": configuration,
            "grid": run.operator.grid.describe(),
            "products": run.operator.facts(),
            "resumed_products": run.resumed,
            "residual_check": run.lanczos.error,
        },
    }
    facts = operator.grid.world.broadcast_object(facts)
    return dataclasses.replace(pairs, **facts)


def settings_for(
    operator: Operator,
    k: int,
    which: str,
    tol: float,
    max_products: int | None,
    basis: int | None,
    seed: int,
    block: int = 1,
) -> dict[str, Any]:
    """Check the arguments of :func:`eigenpairs` and fill in those that were left open.

    A function of the problem, never of the number of ranks.

    Parameters
    ----------
    operator, k, which, tol, max_products, basis, seed, block
        As for :func:`eigenpairs`.

    Returns
    -------
    dict
        Argument → value.

    Raises
    ------
    InputError
        If one is out of range.
    """
    _check(operator, k, which, tol, max_products, basis, seed, block)
    wanted = _pairs(operator, k, which)
    if basis is None:
        fitting = BASIS_BYTES // (operator.n * torch.finfo(operator.dtype).bits // 8)
        basis = max(LEAST_VECTORS, 2 * wanted + 10, wanted + 5 * block, min(fitting, MOST_VECTORS))
    return {
        "k": k,
        "which": which,
        "tol": tol,
        "max_products": max_products or max(DEFAULT_PRODUCTS, 20 * wanted),
        "basis": min(basis, operator.n),
        "block": min(block, operator.n),
        "seed": seed,
    }


def solve(
    operator: Operator,
    settings: dict[str, Any],
    start: Tensor | None = None,
    state: RunState | None = None,
    checkpoint_seconds: float = 60.0,
    progress: Progress | None = None,
) -> tuple[EigenPairs, _DurableRun]:
    """The pairs without times and provenance, and the run that found them (collective).

    Parameters
    ----------
    operator : Operator
    settings : dict
        As :func:`settings_for` gives them, and "check".
    start : (n, block) tensor, optional
        Of :func:`start_vectors`.
    state, checkpoint_seconds, progress
        As for :func:`eigenpairs`.
    """
    run = _DurableRun(operator.on(operator.grid), settings, start, state, checkpoint_seconds)
    ritz = run.until_checked(progress)
    return _record(operator, run, ritz, settings), run


def _pairs(operator: Operator, k: int, which: str) -> int:
    """How many pairs are asked for."""
    return min(2 * k, operator.n) if which == "both" else k


class _DurableRun:
    """A restarted Lanczos run that is on disk every few seconds.

    Each segment holds everything but the basis, and the vectors that are new since the last one. A restart replaces all
    vectors, so a new part of the state begins there, and the one before is dropped when the first segment of the new
    one is on disk.
    """

    def __init__(
        self,
        operator: Operator,
        settings: dict[str, Any],
        start: Tensor | None,
        state: RunState | None,
        every: float,
    ) -> None:
        self.operator = operator
        self.seed = settings["seed"]
        self.max_products = settings["max_products"]
        self.check = settings["check"]
        self.state = state
        self.every = every
        self.resumed = 0
        self.rows = rows = RowPartition(operator.n, operator.grid.data)

        def random(probe: int) -> Tensor:
            return gaussian(rows, settings["seed"], probe, operator.dtype, operator.device)

        starts = torch.stack([random(probe) for probe in range(settings["block"])], 1)
        if start is not None:
            starts = rows.shard(start) + ADMIXTURE / operator.n**0.5 * starts
        self.lanczos = RestartedLanczos(
            lambda shard: operator.apply_rows(shard, rows),
            rows,
            starts,
            wanted=_pairs(operator, settings["k"], settings["which"]),
            which=settings["which"],
            tol=settings["tol"],
            size=settings["basis"],
            shift=operator.known_shift,
            fresh=lambda index: random(FRESH + index),
            products_of=lambda shards: rows.shard(operator.apply_block(rows.gather(shards).T.contiguous()).T),
        )
        self._saved = (-1, 0)  # rotations and vectors on disk
        self._last = time.monotonic()
        if state is not None:
            self._restore(state)

    def until_checked(self, progress: Progress | None) -> RitzPairs:
        """Go on until the wanted pairs have converged and one more product agrees; return all pairs (collective)."""
        lanczos, ranks = self.lanczos, self.rows.collectives
        while True:
            ritz = self.until_complete(progress)
            if not self.check or lanczos.products >= self.max_products:
                return ritz
            random = np.random.Generator(np.random.Philox(key=self.seed, counter=lanczos.products))
            lanczos.check(ritz, random.choice([-1.0, 1.0], min(lanczos.wanted, len(ritz.values))))
            # What the check adds to the residuals may be too much.
            ritz = lanczos.agreed_ritz()
            if ranks.broadcast_object(lanczos.complete(ritz)) or lanczos.products >= self.max_products:
                return ritz

    def until_complete(self, progress: Progress | None) -> RitzPairs:
        """Go on until the wanted pairs have converged or the products end; return all pairs (collective)."""
        lanczos, ranks = self.lanczos, self.rows.collectives
        # One product is left for the check.
        most = max(self.max_products - int(self.check), 1)
        found = 0
        while True:
            # Before the product, so that a resumed run decides again what was decided at its checkpoint.
            columns, stride = lanczos.columns, max(1, lanczos.columns // LOOKS)
            if columns and (lanczos.sealed or columns // stride > (columns - lanczos.block) // stride):
                found, complete, exhausted = ranks.broadcast_object(self._look() if ranks.rank == 0 else None)
                if exhausted:
                    lanczos.set_aside()
                    continue
                if complete:
                    break
            if lanczos.products >= most or lanczos.columns == self.rows.n:
                break
            lanczos.step(most - lanczos.products)
            self._save_if_due()
            if progress is not None:
                progress(lanczos.products, self.max_products, f"{found} of {lanczos.wanted} pairs")
        return lanczos.agreed_ritz()

    def vectors(self, ritz: RitzPairs, count: int) -> NDArray[Any]:
        """Unit vectors of the first pairs on every rank, ``(n, count)``, largest components positive (collective)."""
        vectors = self.rows.gather(self.lanczos.vectors(ritz, count)).cpu().numpy()
        largest = np.abs(vectors).argmax(0)
        return vectors * np.where(vectors[largest, np.arange(count)] < 0, -1, 1).astype(vectors.dtype)

    def _look(self) -> tuple[int, bool, bool]:
        """How many pairs have converged, whether that is all, and whether the Krylov space is exhausted."""
        lanczos = self.lanczos
        ritz = lanczos.ritz()
        found = int((ritz.residuals <= ritz.limits)[: lanczos.wanted].sum())
        return found, lanczos.complete(ritz), lanczos.nearly_exhausted(ritz)

    def _save_if_due(self) -> None:
        if self.state is None:
            return
        due = float(time.monotonic() - self._last >= self.every)
        if not self.rows.collectives.max(due):
            return
        rotations, vectors = self._saved
        same = rotations == self.lanczos.rotations
        arrays, facts = self.lanczos.state(vectors if same else 0)
        if self.rows.collectives.rank == 0:
            part = self.state.child(_part(self.lanczos.rotations))
            if not same:
                part.clear()
            part.append(arrays, {"steps": facts["products"], **facts})
            for earlier in list(_parts(self.state)):
                if earlier.folder.name < part.folder.name:
                    earlier.clear()
        self._saved = (self.lanczos.rotations, len(self.lanczos.basis))
        self._last = time.monotonic()

    def _restore(self, state: RunState) -> None:
        ranks, lanczos = self.rows.collectives, self.lanczos
        found: tuple[dict[str, Any], dict[str, Any], int] | None = None
        full = np.zeros((0, 0))
        if ranks.rank == 0:
            segments = next(filter(None, ([*part.segments()] for part in _parts(state))), [])
            if segments:
                arrays, facts = segments[-1]
                full = np.concatenate([each.pop("vectors") for each, _ in segments])
                found = (arrays, facts, len(full))
        found = ranks.broadcast_object(found)
        if found is None:
            return
        arrays, facts, count = found
        lanczos.restore(arrays, facts, shards_of_first_rank(self.rows, full, count, self.operator.dtype))
        self.resumed = lanczos.products
        self._saved = (lanczos.rotations, count)


def _part(rotations: int) -> str:
    return f"basis-{rotations:06d}"


def _parts(state: RunState) -> Iterator[RunState]:
    """Parts of the state, the newest first; one whose first segment cannot be read is empty."""
    for folder in sorted(state.folder.glob("basis-*"), reverse=True):
        yield state.child(folder.name)


def _record(operator: Operator, run: _DurableRun, ritz: RitzPairs, settings: dict[str, Any]) -> EigenPairs:
    """Everything but times and provenance (collective)."""
    which, count = settings["which"], min(run.lanczos.wanted, len(ritz.values))
    values = ritz.values[:count]
    order = np.argsort(-values, kind="stable") if which == "both" else by_interest(values, which)
    residuals = ritz.residuals[:count]
    rounding = operator.grid.world.broadcast_object((run.lanczos.measured_rounding, run.lanczos.largest))
    objective = getattr(operator, "objective", None)
    place: dict[str, Any] = {}
    if objective is not None:
        place = {
            "theta": objective.theta.detach().cpu().numpy(),
            "buffers": {name: value.detach().cpu().numpy() for name, value in objective.buffers.items()},
            "parameters": {name: list(shape) for name, shape in zip(objective.names, objective.shapes, strict=True)},
            "loss": objective.loss(),
        }
    return EigenPairs(
        values=values[order],
        vectors=run.vectors(ritz, count)[:, order],
        residuals=residuals[order],
        converged=(residuals <= ritz.limits[:count])[order],
        tol=settings["tol"],
        scale=rounding[1],
        n=operator.n,
        which=which,
        operator=operator.name,
        noise_floor=max(rounding[0], run.lanczos.error),
        products=run.lanczos.products,
        restarts=run.lanczos.restarts,
        **place,
    )


def start_vectors(start: Any, operator: Operator, block: int) -> Tensor:
    """The first vectors that a warm start asks for, ``(n, block)``, on every rank those of rank 0 (collective)."""
    given = torch.as_tensor(getattr(start, "vectors", start)).detach()
    if given.dim() not in (1, 2) or given.shape[0] != operator.n:
        raise InputError(
            f"start has shape {tuple(given.shape)}, but the operator has n = {operator.n}: give (n,), (n, j) or "
            "eigenpairs of the same model"
        )
    given = given.to(device=operator.device, dtype=operator.dtype).reshape(operator.n, -1)
    vectors = torch.stack([given[:, first::block].sum(1) for first in range(block)], 1)
    operator.grid.world.broadcast(vectors)
    lengths = torch.linalg.vector_norm(vectors.double(), dim=0)
    if not (bool(torch.isfinite(lengths).all()) and float(lengths.max()) > 0):
        raise InputError(f"start must be finite and not zero, but the norm of the first vector is {float(lengths[0])}")
    # Fewer vectors than the block: the others are the random vectors alone.
    return vectors / torch.where(lengths > 0, lengths, 1.0).to(vectors)


def _check(
    operator: Operator,
    k: int,
    which: str,
    tol: float,
    max_products: int | None,
    basis: int | None,
    seed: int,
    block: int,
) -> None:
    if not isinstance(operator, Operator):
        raise InputError(
            f"eigenpairs needs an operator such as landscape.Hessian(objective), not {type(operator).__name__}"
        )
    if which not in WHICH:
        raise InputError(f"unknown which {which!r}; choose {', '.join(WHICH[:-1])} or {WHICH[-1]}")
    check_whole("k", k, 1)
    if k > operator.n:
        raise InputError(f"k = {k} eigenpairs are asked for, but the operator has only n = {operator.n}")
    check_positive("tol", tol)
    if max_products is not None:
        check_whole("max_products", max_products, 1)
    if basis is not None:
        check_whole("basis", basis, 1)
    check_whole("block", block, 1, "start vector")
    pairs = _pairs(operator, k, which)
    least = min(pairs + 1 + block, operator.n)
    if basis is not None and basis < least:
        blocks = f" in blocks of {block}" if block > 1 else ""
        raise InputError(
            f"basis = {basis} vectors are too few for {pairs} pairs{blocks}; give at least {least}, "
            f"better {max(LEAST_VECTORS, 2 * pairs + 10, pairs + 5 * block)}"
        )
    check_whole("seed", seed, 0)
