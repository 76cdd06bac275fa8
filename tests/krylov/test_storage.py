"""The ways to keep a Lanczos basis: they agree with full orthogonalization, and need what their formula says."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from landscape.krylov import MODES, Basis, Lanczos, gauss, gaussian, needs
from landscape.krylov.quadrature import Quadrature
from landscape.krylov.storage import VectorStore, busiest_rows, chunk_vectors
from landscape.parallel import Serial
from landscape.parallel.rows import RowPartition

Array = NDArray[np.float64]
DTYPES = (torch.float64, torch.float32)
CPU = torch.device("cpu")


def bulk_and_outliers(seed: int) -> Array:
    generator = np.random.default_rng(seed)
    return np.sort(np.r_[1e-2 * generator.standard_normal(1980) ** 3, generator.uniform(0.1, 1, 20)])


@cache
def run(mode: str, seed: int, dtype: torch.dtype, steps: int = 90, noise: float = 0.0) -> Lanczos:
    """Lanczos on a diagonal matrix, whose products may have the rounding of a network's."""
    eigenvalues = bulk_and_outliers(seed)
    rows = RowPartition(len(eigenvalues), Serial())
    diagonal = torch.from_numpy(eigenvalues).to(dtype)
    generator = torch.Generator().manual_seed(seed)

    def product(v: torch.Tensor) -> torch.Tensor:
        return diagonal * v + noise * torch.randn(len(v), generator=generator, dtype=dtype) / len(v) ** 0.5

    lanczos = Lanczos(product, rows, gaussian(rows, seed, 0, dtype, CPU), MODES[mode])
    for _ in range(steps):
        lanczos.step()
    return lanczos


def rule(lanczos: Lanczos) -> Quadrature:
    return gauss(np.array(lanczos.alpha), np.array(lanczos.beta))


def smooth_cdf(found: Quadrature, x: Array, sigma: float) -> Array:
    from scipy.stats import norm

    return np.asarray(norm.cdf((x[:, None] - found.nodes) / sigma) @ found.weights)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(3))
def test_on_disk_every_bit_is_that_in_memory(seed: int, dtype: torch.dtype) -> None:
    there, here = run("disk", seed, dtype), run("full", seed, dtype)
    assert there.alpha == here.alpha and there.beta == here.beta


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_selective_orthogonalization_gives_the_nodes_of_the_full_one(
    seed: int, dtype: torch.dtype, noise: float
) -> None:
    full, selective = run("full", seed, dtype, noise=noise), run("selective", seed, dtype, noise=noise)
    eps = torch.finfo(dtype).eps
    assert np.abs(rule(full).nodes - rule(selective).nodes).max() <= 10 * eps + 1e-2 * noise
    assert selective.passes <= 0.55 * full.passes
    basis = selective.basis.vectors(0, 90).double()
    # Semiorthogonal: all that T needs to be exact up to rounding (Simon 1984).
    assert (basis.T @ basis - torch.eye(90)).abs().max() <= np.sqrt(eps)


def test_selective_orthogonalization_happens_where_it_is_needed() -> None:
    # Without outliers nothing converges within so few steps, and nothing is lost.
    eigenvalues = np.random.default_rng(0).uniform(-1, 1, 3000)
    rows = RowPartition(3000, Serial())
    diagonal = torch.from_numpy(eigenvalues)
    lanczos = Lanczos(lambda v: diagonal * v, rows, gaussian(rows, 0, 0, torch.float64, CPU), MODES["selective"])
    for _ in range(30):
        lanczos.step()
    assert lanczos.passes == 0
    basis = lanczos.basis.vectors(0, 30)
    assert (basis.T @ basis - torch.eye(30)).abs().max() <= 1e-8


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("mode", "bound"), [("float16", 1e-7), ("bfloat16", 1e-5)])
def test_shorter_numbers_move_nodes_by_less_than_they_say(
    mode: str, bound: float, seed: int, dtype: torch.dtype
) -> None:
    full, short = run("full", seed, dtype), run(mode, seed, dtype)
    moved = np.abs(rule(full).nodes - rule(short).nodes).max()
    assert moved <= bound + 10 * torch.finfo(dtype).eps and moved <= short.noise
    assert short.basis.vectors(0, 1).dtype == dtype


@pytest.mark.parametrize("seed", range(3))
def test_float32_is_enough_for_a_basis_of_float64(seed: int) -> None:
    full, short = run("full", seed, torch.float64), run("float32", seed, torch.float64)
    assert np.abs(rule(full).nodes - rule(short).nodes).max() <= 1e-12


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(3))
def test_without_a_basis_the_distribution_is_the_same(seed: int, dtype: torch.dtype) -> None:
    full, minimal = rule(run("full", seed, dtype)), rule(run("minimal", seed, dtype))
    x = np.linspace(-0.5, 1.1, 2000)
    assert np.abs(smooth_cdf(full, x, 0.01) - smooth_cdf(minimal, x, 0.01)).max() <= 1e-3
    assert len(run("minimal", seed, dtype).basis) == 0


@pytest.mark.parametrize("mode", ["selective", "float16", "bfloat16", "minimal"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_invariant_subspaces_end_the_run_in_every_mode(mode: str, dtype: torch.dtype) -> None:
    diagonal = torch.tensor([0.0] * 297 + [1.0, 2.0, 3.0], dtype=dtype)
    rows = RowPartition(300, Serial())
    lanczos = Lanczos(lambda v: diagonal * v, rows, gaussian(rows, 0, 0, dtype, CPU), MODES[mode])
    for _ in range(20):
        lanczos.step()
    assert lanczos.exhausted and lanczos.steps <= 8
    found = rule(lanczos)
    distance = np.abs(found.nodes[:, None] - np.arange(4))
    assert distance.min(0).max() <= 1e-5 and found.weights[distance.min(1) > 1e-5].sum() <= 1e-8


@pytest.mark.parametrize("mode", ["full", "disk"])
def test_chunks_hold_what_was_put_into_them(mode: str) -> None:
    n, count = 20_000, 3 * chunk_vectors(20_000) // 2
    rows = RowPartition(n, Serial())
    generator = torch.Generator().manual_seed(0)
    vectors = torch.linalg.qr(torch.randn(n, 20, generator=generator))[0].T.contiguous()
    basis = Basis(rows, torch.float32, CPU, MODES[mode])
    for index in range(count):
        basis.append(vectors[index % 20])
    assert torch.equal(basis.vectors(0, count).T, vectors[torch.arange(count) % 20])
    assert torch.equal(basis.vector(count - 1), vectors[(count - 1) % 20])
    weights = torch.randn(count, 2, generator=generator)
    expected = vectors[torch.arange(count) % 20].T @ weights
    assert torch.allclose(basis.combine(weights), expected, atol=1e-3)
    basis.replace(weights)
    assert len(basis) == 2 and torch.allclose(basis.vectors(0, 2), expected, atol=1e-3)


def test_the_formula_counts_what_is_allocated() -> None:
    n = 300_000
    rows = RowPartition(n, Serial())
    store = VectorStore(rows, torch.float32, CPU)
    for index in range(41):
        store.write(index, rows.split(torch.zeros(n)))
    allocated = sum(matrix.nbytes for chunk in store._chunks for matrix in chunk)
    assert allocated == needs(MODES["full"], n, 40).device - needs(MODES["minimal"], n, 40).device


def test_ranks_share_the_basis() -> None:
    n = 64 * 65536
    assert [busiest_rows(n, ranks) for ranks in (1, 2, 64, 100)] == [n, n // 2, 65536, 65536]
    one, many = (needs(MODES["full"], n, 99, ranks) for ranks in (1, 64))
    assert one.device == 64 * many.device
    assert needs(MODES["bfloat16"], n, 99).device < 0.6 * one.device
    assert needs(MODES["host"], n, 99).host == needs(MODES["disk"], n, 99).disk == one.device - 4 * n * 4
