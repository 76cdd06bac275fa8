"""How far eigenvalues and trace would move had other samples been drawn: their spread over the micro-batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape._durable import DurableLanczos
from landscape.curvature import Operator
from landscape.krylov import gaussian, resolved_pairs

Array = NDArray[np.float64]

# Random vectors for the part of the trace outside the eigenvectors.
PROBES = 4
# Their streams are counted from here, after those of probes and restarts.
FIRST_STREAM = 2**33


@dataclass(frozen=True)
class Sampling:
    """Standard errors of the mean over the samples, as if these were drawn from an infinite population.

    Attributes
    ----------
    cells : (k,) int64
        Which nodes of the Gauss rule, as in ``SpectralDensity.cell``.
    stderr : (k,) float64
        Of their eigenvalues, in units of λ.
    trace_stderr : float
        An upper estimate.
    products : int
        Sweeps over the data times vectors that it took.
    """

    cells: NDArray[np.int64]
    stderr: Array
    trace_stderr: float
    products: int


def data_sampling(operator: Operator, run: DurableLanczos, pairs: int) -> Sampling:
    """Standard errors of the ``pairs`` resolved eigenvalues farthest from the median, and of the trace (collective).

    To first order an eigenvalue moves by vᵀ(dH)v, so its spread is that of vᵀH_b v over the micro-batches b. For the
    trace the sum over these eigenvectors is completed by the mean over random vectors in their complement, whose own
    noise makes the result somewhat too large (its square by 2‖H_b − H‖²_F / PROBES there), never too small.

    Parameters
    ----------
    operator : Operator
    run : DurableLanczos
        A finished run with its basis.
    pairs : int
    """
    cells, vectors = _eigenvectors(operator, run, pairs)
    k = len(vectors)
    others = [_outside(operator, run, vectors, probe) for probe in range(PROBES)]
    quantities, weights = _over_batches(operator, torch.cat([vectors, torch.stack(others)]))
    totals = quantities[:, :k].sum(1) + quantities[:, k:].mean(1)
    return Sampling(
        cells=cells,
        stderr=np.sqrt(np.diag(covariance_of_mean(quantities[:, :k], weights))),
        trace_stderr=float(np.sqrt(covariance_of_mean(totals[:, None], weights)[0, 0])),
        products=k + PROBES,
    )


def covariance_of_mean(means: Array, weights: Array) -> Array:
    """Covariance of a weighted mean over groups of samples (the cluster estimator; Cochran, Sampling Techniques, 1977).

    Parameters
    ----------
    means : (groups, quantities) float64
        Of each group.
    weights : (groups,) float64
        Its share of the whole; they sum to 1.

    Returns
    -------
    (quantities, quantities) float64, NaN with fewer than two groups.
    """
    groups = len(weights)
    if groups < 2:
        return np.full((means.shape[1], means.shape[1]), np.nan)
    deviation = weights[:, None] * (means - weights @ means)
    return np.asarray(groups / (groups - 1) * deviation.T @ deviation)


def _eigenvectors(operator: Operator, run: DurableLanczos, pairs: int) -> tuple[NDArray[np.int64], Tensor]:
    """Cells and full Ritz vectors ``(k, n)`` of resolved nodes, the same on all ranks (collective)."""
    lanczos, data = run.lanczos, operator.grid.data
    chosen: tuple[NDArray[np.int64], Array] | None = None
    if data.rank == 0:
        rule, resolved, vectors = resolved_pairs(
            np.array(lanczos.alpha), np.array(lanczos.beta), operator.n, lanczos.exhausted
        )
        middle = rule.nodes[min(int(np.searchsorted(np.cumsum(rule.weights), 0.5)), len(rule.nodes) - 1)]
        cells = resolved[np.argsort(-np.abs(rule.nodes[resolved] - middle), kind="stable")][:pairs]
        chosen = cells, vectors[:, cells]
    cells, coefficients = data.broadcast_object(chosen)
    shards = lanczos.basis.combine(torch.from_numpy(coefficients))
    full = [run.rows.gather(shard.contiguous()) for shard in shards.T]
    stacked = torch.stack(full) if full else torch.zeros(0, operator.n, dtype=operator.dtype, device=operator.device)
    return cells, stacked


def _outside(operator: Operator, run: DurableLanczos, vectors: Tensor, probe: int) -> Tensor:
    """A random vector orthogonal to the eigenvectors, ``(n,)`` on every rank (collective)."""
    shard = gaussian(run.rows, run.seed, FIRST_STREAM + probe, operator.dtype, operator.device)
    full = run.rows.gather(shard).double()
    basis = vectors.double()
    return (full - basis.T @ (basis @ full)).to(operator.dtype)


def _over_batches(operator: Operator, vectors: Tensor) -> tuple[Array, Array]:
    """vᵀH_b v of every micro-batch's mean, ``(batches, vectors)``, and the batches' shares of the data (collective)."""
    objective = operator.objective
    operator.prepare()
    found = []
    with objective.scope():
        for index, batch, denominator in objective.mine():
            images = operator.batch_products(index, batch, denominator, vectors)
            sums = (vectors.double() * images.double()).sum(1).cpu().numpy()
            found.append((index, denominator, sums / denominator))
    everything = sorted(
        (item for part in operator.grid.data.all_gather_object(found) for item in part), key=lambda item: item[0]
    )
    weights = np.array([denominator for _, denominator, _ in everything])
    operator.products += len(vectors)
    return np.array([means for _, _, means in everything]), weights / weights.sum()
