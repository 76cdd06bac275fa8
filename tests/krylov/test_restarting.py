"""Restarted Lanczos on operators with prescribed spectra: values, vectors, residuals, multiplicities, restarts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh
from scipy.stats import ortho_group

from landscape.errors import ComputeError
from landscape.krylov import WHICH, Basis, RestartedLanczos, gaussian
from landscape.krylov.ritz import OUTERMOST, RitzPairs, by_interest, kept_at_restart
from landscape.parallel import Serial
from landscape.parallel.rows import RowPartition

Array = NDArray[np.float64]
CPU = torch.device("cpu")
BULK = np.random.default_rng(0).standard_normal(580) * 0.05
SPECTRA = {
    "outliers": np.r_[BULK, np.arange(1.0, 21.0)],
    "both signs": np.r_[BULK, np.linspace(1, 5, 8), -np.linspace(0.9, 4.6, 8)],
    "dense": np.random.default_rng(1).standard_normal(400),
    "clustered": np.r_[BULK, 10 + 0.01 * np.arange(5), 20 + 0.01 * np.arange(5)],
    "negative": -np.logspace(0, 2, 100),
}
EXHAUSTING = {
    "identity": np.ones(60),
    "zero": np.zeros(60),
    "one": np.array([-3.0]),
    "two": np.array([2.0, -1.0]),
    "rank 3": np.r_[np.zeros(57), 1.0, 2.0, 3.0],
    "multiple of the identity plus rank 7": np.r_[np.full(53, 0.1), np.arange(1.0, 8.0)],
    "three values": np.repeat([-2.0, 1.0, 5.0], [4, 50, 6]),
    "± pairs": np.repeat([-5.0, 0.0, 5.0], 20),
}


def start(
    product: Any,
    n: int,
    k: int,
    which: str,
    size: int,
    tol: float,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    block: int = 1,
) -> RestartedLanczos:
    rows = RowPartition(n, Serial())
    return RestartedLanczos(
        product,
        rows,
        torch.stack([gaussian(rows, seed, probe, dtype, CPU) for probe in range(block)], 1),
        wanted=min(2 * k, n) if which == "both" else k,
        which=which,
        tol=tol,
        size=size,
        fresh=lambda index: gaussian(rows, seed, 100 + index, dtype, CPU),
    )


def solve(
    eigenvalues: Array, k: int, which: str, size: int = 20, tol: float = 1e-7, most: int = 2000, **options: Any
) -> tuple[RestartedLanczos, RitzPairs]:
    diagonal = torch.from_numpy(eigenvalues).to(options.get("dtype", torch.float64))
    lanczos = start(lambda vector: diagonal * vector, len(eigenvalues), k, which, size, tol, **options)
    while lanczos.products < most:
        lanczos.step()
        if lanczos.nearly_exhausted(lanczos.ritz()):
            lanczos.set_aside()
        ritz = lanczos.ritz()
        if lanczos.complete(ritz):
            return lanczos, ritz
    raise AssertionError(f"not complete after {most} products: {ritz.residuals[: lanczos.wanted]}")


def wanted(eigenvalues: Array, k: int, which: str) -> Array:
    """The answer, by sorting."""
    ascending, n = np.sort(eigenvalues), len(eigenvalues)
    if which == "both":
        return ascending if 2 * k >= n else np.r_[ascending[:k], ascending[n - k :]]
    if which == OUTERMOST:
        return ascending[n - k :] if k == 1 else np.r_[ascending[:1], ascending[n - k + 1 :]]
    if which == "magnitude":
        return np.sort(np.sort(np.abs(eigenvalues))[n - k :])
    return ascending[:k] if which == "smallest" else ascending[n - k :]


def found(ritz: RitzPairs, count: int, which: str) -> Array:
    values = ritz.values[:count]
    return np.sort(np.abs(values) if which == "magnitude" else values)


@pytest.mark.parametrize("which", [*WHICH, OUTERMOST])
@pytest.mark.parametrize("name", SPECTRA)
def test_values_vectors_and_residuals(name: str, which: str) -> None:
    eigenvalues, k = SPECTRA[name], 5
    for seed in range(3):
        lanczos, ritz = solve(eigenvalues, k, which, 24, seed=seed)
        count = lanczos.wanted
        scale = np.abs(eigenvalues).max()
        # Quadratic in the residual, over the gap.
        assert np.abs(found(ritz, count, which) - wanted(eigenvalues, k, which)).max() <= 1e-9 * scale
        vectors = lanczos.vectors(ritz, count).numpy()
        assert np.abs(vectors.T @ vectors - np.eye(count)).max() <= 1e-12
        true = np.linalg.norm(eigenvalues[:, None] * vectors - vectors * ritz.values[:count], axis=0)
        assert np.abs(true - ritz.residuals[:count]).max() <= 1e-13 * scale
        assert (true <= 1.001 * ritz.limits[:count]).all()
        lanczos.check(ritz, np.ones(count))
        assert lanczos.error <= 1e-13 * scale


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("which", [*WHICH, OUTERMOST])
@pytest.mark.parametrize("name", EXHAUSTING)
def test_all_copies_are_found_where_the_space_is_exhausted(name: str, which: str, dtype: torch.dtype) -> None:
    eigenvalues = EXHAUSTING[name]
    n, tiny = len(eigenvalues), 1e3 * torch.finfo(dtype).eps
    for k in sorted({1, min(2, n), min(9, n), n}):
        lanczos, ritz = solve(eigenvalues, k, which, 60, dtype=dtype)
        count = lanczos.wanted
        scale = max(np.abs(eigenvalues).max(), 1e-30)
        assert np.abs(found(ritz, count, which) - wanted(eigenvalues, k, which)).max() <= tiny * scale
        vectors = lanczos.vectors(ritz, count).double().numpy()
        assert np.abs(vectors.T @ vectors - np.eye(count)).max() <= tiny
        assert ritz.residuals[:count].max() <= tiny * scale
        assert lanczos.products <= n


@pytest.mark.parametrize("which", ["largest", "smallest", "both"])
@pytest.mark.parametrize(("copies", "distance"), [(2, 0.0), (4, 0.0), (8, 0.0), (3, 1e-6), (6, 1e-6)])
def test_a_block_finds_multiple_values_and_clusters(copies: int, distance: float, which: str) -> None:
    # Copies, or values 1e-6 apart, at both ends; restarts in between. Half of the eigenvalues are a bulk.
    cluster = distance * np.arange(copies)
    eigenvalues = np.r_[BULK, 1 + cluster, 0.7, -1 - cluster, -0.6]
    for seed in range(3):
        lanczos, ritz = solve(eigenvalues, copies + 1, which, 50, 1e-9, seed=seed, block=copies)
        count = lanczos.wanted
        assert np.abs(found(ritz, count, which) - wanted(eigenvalues, copies + 1, which)).max() <= 1e-9
        vectors = lanczos.vectors(ritz, count).numpy()
        true = np.linalg.norm(eigenvalues[:, None] * vectors - vectors * ritz.values[:count], axis=0)
        assert np.abs(true - ritz.residuals[:count]).max() <= 1e-12
        assert np.abs(vectors.T @ vectors - np.eye(count)).max() <= 1e-12


@pytest.mark.parametrize("block", [2, 5])
@pytest.mark.parametrize("name", EXHAUSTING)
def test_a_block_where_the_space_is_exhausted(name: str, block: int) -> None:
    eigenvalues = EXHAUSTING[name]
    n = len(eigenvalues)
    for k in sorted({1, min(9, n), n}):
        lanczos, ritz = solve(eigenvalues, k, "largest", 60, block=block)
        assert np.abs(found(ritz, k, "largest") - wanted(eigenvalues, k, "largest")).max() <= 1e-12 * max(
            np.abs(eigenvalues).max(), 1e-30
        )
        assert lanczos.products <= n


def test_dependent_start_vectors_are_replaced() -> None:
    diagonal = torch.from_numpy(SPECTRA["outliers"])
    rows = RowPartition(len(diagonal), Serial())
    vector = gaussian(rows, 0, 0, torch.float64, CPU)
    lanczos = RestartedLanczos(
        lambda one: diagonal * one, rows, torch.stack([vector, -2 * vector, vector], 1), wanted=2, which="largest",
        tol=1e-6, size=20, fresh=lambda index: gaussian(rows, 0, 100 + index, torch.float64, CPU),
    )  # fmt: skip
    assert len(lanczos.basis) == 3 and lanczos.fresh_starts == 2
    basis = lanczos.basis.vectors(0, 3)
    assert (basis.T @ basis - torch.eye(3, dtype=torch.float64)).abs().max() <= 1e-14


def test_vectors_together_or_one_by_one() -> None:
    diagonal = torch.from_numpy(SPECTRA["both signs"])
    one = start(lambda vector: diagonal * vector, len(diagonal), 5, "both", 30, 1e-8, block=3)
    together = start(lambda vector: diagonal * vector, len(diagonal), 5, "both", 30, 1e-8, block=3)
    together.products_of = lambda vectors: diagonal[:, None] * vectors
    for _ in range(25):
        one.step()
        together.step()
    assert one.products == together.products and np.array_equal(one.ritz().values, together.ritz().values)
    one.step(1)
    assert one.products == together.products + 1


def test_exhaustion_is_not_continued_for_nothing() -> None:
    eigenvalues = EXHAUSTING["multiple of the identity plus rank 7"]
    # Eight values; then another vector, whose single value 0.1 is less than what is wanted.
    assert solve(eigenvalues, 3, "largest", tol=1e-14)[0].products == 9
    # The first vector already has the largest value, and one more copy of it cannot be wanted.
    assert solve(np.ones(100), 1, "largest")[0].products == 1
    assert solve(np.zeros(100), 2, "smallest")[0].products == 2


def test_locked_pairs_make_room() -> None:
    # 40 copies of the wanted value in a basis of 20: locked pairs that are not wanted must go.
    eigenvalues = np.repeat([0.0, 1.0, 2.0, 3.0, 4.0], 40)
    lanczos, ritz = solve(eigenvalues, 8, "largest", 20)
    assert np.allclose(ritz.values[:8], 4, atol=1e-12) and lanczos.locked > 0
    vectors = lanczos.vectors(ritz, 8).numpy()
    assert np.abs(vectors.T @ vectors - np.eye(8)).max() <= 1e-12


@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
@pytest.mark.parametrize(("k", "size"), [(2, 20), (5, 20), (10, 30), (20, 41)])
def test_no_more_products_than_arpack(which: str, k: int, size: int) -> None:
    names = {"largest": "LA", "smallest": "SA", "magnitude": "LM"}
    # As of a trained network: a bulk around zero, and outliers above.
    spectrum = np.r_[np.random.default_rng(3).standard_normal(600) * 0.01, 0.05 * np.exp(0.2 * np.arange(22))]
    n = len(spectrum)
    ours, theirs = 0, 0
    for seed in range(3):
        first = gaussian(RowPartition(n, Serial()), seed, 0, torch.float64, CPU).numpy()
        count = [0]

        def product(vector: Array, count: list[int] = count) -> Array:
            count[0] += 1
            return spectrum * vector.ravel()

        values = eigsh(
            LinearOperator((n, n), matvec=product, dtype=np.float64),
            k,
            which=names[which],
            ncv=size,
            tol=1e-5,
            v0=first,
            return_eigenvectors=False,
        )
        lanczos, ritz = solve(spectrum, k, which, size, tol=1e-5, seed=seed)
        assert np.abs(np.sort(ritz.values[:k]) - np.sort(values)).max() <= 1e-6 * spectrum.max()
        lanczos.check(ritz, np.ones(k))
        ours, theirs = ours + lanczos.products, theirs + count[0]
    assert ours <= theirs


@pytest.mark.parametrize("seed", range(3))
def test_a_dense_matrix_in_float32(seed: int) -> None:
    basis = ortho_group.rvs(120, random_state=seed)
    eigenvalues = np.random.default_rng(seed).standard_normal(120) ** 3
    matrix = torch.from_numpy((basis * eigenvalues) @ basis.T).float()
    lanczos = start(lambda vector: matrix @ vector, 120, 6, "both", 30, 1e-4, seed, torch.float32)
    while not lanczos.columns or not lanczos.complete(lanczos.ritz()):
        lanczos.step()
    ritz, scale = lanczos.ritz(), np.abs(eigenvalues).max()
    assert np.abs(found(ritz, 12, "both") - wanted(eigenvalues, 6, "both")).max() <= 1e-5 * scale
    vectors = lanczos.vectors(ritz, 12).double().numpy()
    true = np.linalg.norm(matrix.double().numpy() @ vectors - vectors * ritz.values[:12], axis=0)
    assert np.abs(true - ritz.residuals[:12]).max() <= 10 * torch.finfo(torch.float32).eps * scale
    assert np.abs(vectors.T @ vectors - np.eye(12)).max() <= 1e-5


def test_a_tolerance_below_rounding_ends() -> None:
    lanczos, ritz = solve(SPECTRA["outliers"], 5, "largest", tol=1e-12, dtype=torch.float32)
    assert lanczos.products < 100
    assert (ritz.bounds[:5] <= 0.1 * lanczos.measured_rounding).all() and (ritz.residuals > ritz.limits)[:5].any()


def test_a_huge_range_of_values() -> None:
    eigenvalues = np.logspace(-8, 8, 200)
    for which, dtype in (("largest", torch.float64), ("magnitude", torch.float32)):
        _, ritz = solve(eigenvalues, 8, which, 30, tol=1e-5, dtype=dtype)
        assert np.allclose(ritz.values[:8], eigenvalues[::-1][:8], rtol=1e-5)
    # At the other end nothing is resolved against 1e8, and that is what the residuals say.
    _, ritz = solve(eigenvalues, 4, "smallest", 200, tol=1e-5)
    assert (np.abs(ritz.values[:4, None] - eigenvalues).min(1) <= ritz.residuals[:4] + 1e-7).all()


def test_the_check_sees_an_operator_that_is_not_linear() -> None:
    diagonal = torch.from_numpy(SPECTRA["outliers"])
    noise = torch.Generator().manual_seed(0)

    def product(vector: torch.Tensor) -> torch.Tensor:
        noisy = torch.randn(len(vector), generator=noise, dtype=torch.float64)
        return diagonal * vector + 0.01 * noisy / noisy.norm()

    lanczos = start(product, len(diagonal), 3, "largest", 20, 1e-6)
    while not lanczos.columns or not lanczos.complete(lanczos.ritz()):
        lanczos.step()
        assert lanczos.products < 500
    assert 0.003 <= lanczos.measured_rounding <= 0.03
    lanczos.check(lanczos.ritz(), np.ones(3))
    assert lanczos.error == pytest.approx(0.01, rel=0.5) and (lanczos.ritz().residuals >= lanczos.error).all()


@pytest.mark.parametrize(("cut", "block"), [(3, 1), (20, 1), (29, 1), (47, 1), (2, 3), (11, 3)])
def test_a_restored_run_has_the_same_bits(cut: int, block: int) -> None:
    diagonal = torch.from_numpy(SPECTRA["dense"])
    lanczos, other = (start(lambda vector: diagonal * vector, 400, 4, "both", 20, 1e-8, block=block) for _ in range(2))
    for _ in range(cut):
        lanczos.step()
    arrays, facts = lanczos.state(0)
    vectors = arrays.pop("vectors")
    other.restore(arrays, facts, (torch.from_numpy(vector.copy()) for vector in vectors))
    for _ in range(60):
        lanczos.step()
        other.step()
    assert lanczos.restarts == other.restarts > 2 and lanczos.products == other.products
    assert np.array_equal(lanczos.ritz().values, other.ritz().values)
    assert torch.equal(lanczos.vectors(lanczos.ritz(), 8), other.vectors(other.ritz(), 8))
    assert lanczos.measured_rounding == other.measured_rounding


def test_many_rows_in_float32() -> None:
    # Dot products in float32 over a million rows err by 1e-5: no invariant subspace, and no rounding of the operator.
    n = 1_000_000
    values = 1 + 1e-3 * np.random.default_rng(1).standard_normal(n)
    values[:5] = 10, 8, 6, 4, 3
    diagonal = torch.from_numpy(values).float()
    run = start(lambda shard: diagonal * shard, n, 5, "largest", 20, 1e-3, dtype=torch.float32)
    while not (run.columns >= 5 and run.complete(run.ritz())):
        run.step()
    ritz = run.ritz()
    vectors = run.vectors(ritz, 5)
    for index, claimed in enumerate(ritz.residuals[:5]):
        rest = diagonal * vectors[:, index] - vectors[:, index] * ritz.values[index]
        assert float(rest.double().norm()) <= 1.5 * max(claimed, run.measured_rounding)
    assert np.allclose(ritz.values[:5], [10, 8, 6, 4, 3], atol=1e-3)
    assert run.locked == 0 and run.measured_rounding < 1e-4


def test_nan_from_the_operator_is_reported() -> None:
    lanczos = start(lambda vector: vector * float("nan"), 10, 1, "largest", 10, 1e-3)
    with pytest.raises(ComputeError, match="product 1 returned NaN"):
        lanczos.step()


@pytest.mark.parametrize("seed", range(3))
def test_interest_takes_every_value_once(seed: int) -> None:
    values = np.random.default_rng(seed).integers(-3, 4, 11 + seed).astype(float)
    for which in WHICH:
        order = by_interest(values, which)
        assert sorted(order.tolist()) == list(range(len(values)))
        for k in range(1, len(values) // 2):
            chosen = values[order[: 2 * k if which == "both" else k]]
            chosen = np.abs(chosen) if which == "magnitude" else chosen
            assert np.array_equal(np.sort(chosen), wanted(values, k, which))


def test_a_restart_keeps_what_is_wanted_and_leaves_room() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        total = int(generator.integers(3, 40))
        low, high = (int(generator.integers(0, total // 2)) for _ in range(2))
        if low + high == 0:
            continue
        values = np.sort(generator.standard_normal(total).round(1))
        kept = kept_at_restart(values, generator.random(total) < 0.3, low, high)
        assert kept[0] >= low and kept[1] >= high and sum(kept) < total
    # One outlier far above: kept, although the smallest value is sought.
    assert kept_at_restart(np.r_[np.linspace(0, 1, 19), 100.0], np.zeros(20, bool), 2, 0)[1] >= 1


def test_a_basis_gives_back_what_it_took() -> None:
    rows = RowPartition(700, Serial())
    basis = Basis(rows, torch.float64, CPU)
    for probe in range(5):
        vector = basis.project_out(gaussian(rows, 0, probe, torch.float64, CPU))
        basis.append(vector / vector.norm())
    before = basis.vectors(0, 5)
    vector = gaussian(rows, 1, 0, torch.float64, CPU)
    rest = vector.clone()
    coefficients = basis.split_off(rest)
    assert torch.allclose(before @ coefficients + rest, vector, atol=1e-14)
    assert torch.allclose(basis.combine(coefficients[:, None])[:, 0], before @ coefficients, atol=1e-14)
    rotation = torch.from_numpy(ortho_group.rvs(5, random_state=0)[:, :3])
    last = basis.vector(4)
    assert torch.equal(basis.drop_last(), last) and len(basis) == 4
    basis.append(last)
    basis.replace(rotation)
    assert len(basis) == 3 and torch.allclose(basis.vectors(0, 3), before @ rotation, atol=1e-14)
