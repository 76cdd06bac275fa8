"""Lanczos, its quadrature and deflation on operators with prescribed spectra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import ortho_group

from landscape.errors import ComputeError
from landscape.krylov import Lanczos, anti_gauss, deflate, gauss, gaussian
from landscape.parallel import Serial
from landscape.parallel.rows import RowPartition

Array = NDArray[np.float64]


def run(
    eigenvalues: Array, steps: int, seed: int = 0, dtype: torch.dtype = torch.float64, rotate: bool = False
) -> Lanczos:
    """Lanczos on a matrix with these eigenvalues, diagonal or in a random basis."""
    n = len(eigenvalues)
    rows = RowPartition(n, Serial())
    start = gaussian(rows, seed, 0, dtype, torch.device("cpu"))
    if rotate:
        basis = ortho_group.rvs(n, random_state=seed)
        matrix = torch.from_numpy((basis * eigenvalues) @ basis.T).to(dtype)
        lanczos = Lanczos(lambda v: matrix @ v, rows, start)
    else:
        diagonal = torch.from_numpy(eigenvalues).to(dtype)
        lanczos = Lanczos(lambda v: diagonal * v, rows, start)
    for _ in range(steps):
        lanczos.step()
    return lanczos


def rules(lanczos: Lanczos) -> tuple[Array, Array]:
    return np.array(lanczos.alpha), np.array(lanczos.beta)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rotate", [False, True])
def test_full_length_reproduces_the_spectrum(seed: int, rotate: bool) -> None:
    eigenvalues = np.sort(np.random.default_rng(seed).standard_normal(150) ** 3)
    lanczos = run(eigenvalues, 200, seed, rotate=rotate)
    rule = gauss(*rules(lanczos))
    assert lanczos.steps == 150 and lanczos.exhausted
    assert np.abs(rule.nodes - eigenvalues).max() <= 1e-10 * np.abs(eigenvalues).max()
    deflation = deflate(rule, 150, exhausted=True)
    assert deflation.resolved.all() and np.array_equal(deflation.weights, np.full(150, 1 / 150))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("eigenvalues", "distinct"),
    [
        (np.ones(300), [1.0]),
        (np.zeros(300), [0.0]),
        (np.full(300, -2.5), [-2.5]),
        (np.r_[np.zeros(297), 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]),
        (np.r_[np.full(280, 0.1), np.arange(1.0, 21.0)], [0.1, *np.arange(1.0, 21.0)]),
        (np.array([3.0]), [3.0]),
    ],
)
def test_invariant_subspaces_end_the_run(eigenvalues: Array, distinct: list[float], dtype: torch.dtype) -> None:
    n = len(eigenvalues)
    lanczos = run(eigenvalues, 100, dtype=dtype)
    assert lanczos.exhausted and lanczos.steps <= len(distinct) + 1
    rule = gauss(*rules(lanczos))
    tolerance = 100 * torch.finfo(dtype).eps * max(np.abs(eigenvalues).max(), 1e-30)
    assert all(np.abs(rule.nodes - value).min() <= tolerance for value in distinct)
    deflation = deflate(rule, n, exhausted=True)
    assert np.isfinite(rule.nodes).all() and deflation.weights.sum() == pytest.approx(1, abs=1e-14)
    exact = np.array([np.mean(np.isclose(eigenvalues, value)) for value in distinct])
    found = np.array([deflation.weights[np.abs(rule.nodes - value) <= tolerance].sum() for value in distinct])
    assert np.abs(found - exact).max() <= 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_doubled_eigenvalues_give_no_nan_and_no_ghosts(dtype: torch.dtype) -> None:
    eigenvalues = np.repeat(np.arange(1.0, 101.0), 2)
    lanczos = run(eigenvalues, 120, dtype=dtype)
    rule = gauss(*rules(lanczos))
    weights = deflate(rule, 200, lanczos.exhausted).weights
    assert np.isfinite(rule.nodes).all() and weights.min() >= 0 and weights.sum() == pytest.approx(1, abs=1e-12)
    converged = rule.nodes[rule.residuals < 1e-4]
    counts = [np.sum(np.abs(converged - value) < 1e-2) for value in range(1, 101)]
    assert len(converged) > 30 and max(counts) <= 2  # the eigenvalue itself and its true second copy, never more


def test_the_basis_stays_orthonormal() -> None:
    for dtype, bound in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        lanczos = run(
            np.r_[np.random.default_rng(0).standard_normal(980) * 1e-3, np.arange(1.0, 21.0)], 120, dtype=dtype
        )
        basis = lanczos.basis.vectors(0, 120).double()
        assert (basis.T @ basis - torch.eye(120)).abs().max() <= bound


def test_the_quadrature_is_exact_for_polynomials() -> None:
    eigenvalues = np.random.default_rng(0).uniform(-1, 1, 400)
    weights = gaussian(RowPartition(400, Serial()), 0, 0, torch.float64, torch.device("cpu")).numpy() ** 2
    weights /= weights.sum()
    rule = gauss(*rules(run(eigenvalues, 12)))
    for degree in range(24):
        assert rule.weights @ rule.nodes**degree == pytest.approx(weights @ eigenvalues**degree, abs=1e-12)


def test_the_anti_gauss_rule_errs_the_other_way() -> None:
    eigenvalues = np.random.default_rng(0).uniform(-1, 1, 400)
    weights = gaussian(RowPartition(400, Serial()), 0, 0, torch.float64, torch.device("cpu")).numpy() ** 2
    exact = weights @ eigenvalues**24 / weights.sum()
    alpha, beta = rules(run(eigenvalues, 13))
    before, other = gauss(alpha[:12], beta[:12]), anti_gauss(alpha, beta)
    errors = [rule.weights @ rule.nodes**24 - exact for rule in (before, other)]
    assert errors[0] == pytest.approx(-errors[1], rel=1e-6) and abs(errors[0]) > 1e-10


def test_multiple_eigenvalues_keep_the_weights_of_the_run() -> None:
    # Counted as simple, 40 tenfold eigenvalues would lose nine tenths of their mass to the one at the median.
    eigenvalues = np.repeat(np.linspace(-1, 1, 41), 10)
    lanczos = run(eigenvalues, 60)
    deflation = deflate(gauss(*rules(lanczos)), 410, exhausted=True)
    assert not deflation.resolved.any() and deflation.weights.max() < 0.1


def test_a_shift_of_the_spectrum_changes_no_decision() -> None:
    eigenvalues = np.r_[np.abs(np.random.default_rng(0).standard_normal(980)) * 1e-2, np.arange(1.0, 21.0)]
    plain, shifted = (gauss(*rules(run(eigenvalues + shift, 60))) for shift in (0.0, 5.0))
    assert np.array_equal(deflate(plain, 1000).resolved, deflate(shifted, 1000).resolved)
    assert deflate(plain, 1000).resolved.sum() >= 18


def test_the_probe_does_not_depend_on_how_it_is_asked_for() -> None:
    rows = RowPartition(1000, Serial())
    cpu = torch.device("cpu")
    first = gaussian(rows, 5, 2, torch.float64, cpu)
    assert torch.equal(first, gaussian(rows, 5, 2, torch.float64, cpu))
    assert not torch.equal(first, gaussian(rows, 5, 3, torch.float64, cpu))
    assert not torch.equal(first, gaussian(rows, 6, 2, torch.float64, cpu))
    assert abs(first.mean()) < 0.15 and abs(first.std() - 1) < 0.1


def test_nan_from_the_operator_is_reported() -> None:
    rows = RowPartition(10, Serial())
    lanczos = Lanczos(lambda v: v * float("nan"), rows, torch.ones(10))
    with pytest.raises(ComputeError, match="product 1 returned NaN"):
        lanczos.step()


@pytest.mark.slow
def test_a_million_rows_in_float32_are_not_taken_for_rounding() -> None:
    # The rounding of the projections, not of the products, made the run end after 13 steps.
    n = 2_000_000
    values = 1e-3 * np.random.default_rng(0).standard_normal(n)
    values[:10] = np.linspace(0.5, 1, 10)
    lanczos = run(values, 18, dtype=torch.float32)
    assert not lanczos.exhausted and lanczos.measured_rounding <= 1e-4
