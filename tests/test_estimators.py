"""Trace, diagonal and norm against dense matrices; standard errors against the scatter over seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.curvature import Operator, blocks_of
from tests.cases import cases

CASES = cases()
N = 200
SEEDS = range(40)
SPECTRA = {
    "outliers": np.concatenate([np.linspace(5, 20, 8), 0.01 * np.random.default_rng(0).standard_normal(N - 8)]),
    "power law": np.arange(1, N + 1) ** -2.0,
    "flat": np.linspace(0.5, 1.5, N),
    "low rank": np.concatenate([np.arange(1.0, 6), np.zeros(N - 5)]),
}


def operator(name: str, dtype: torch.dtype = torch.float64) -> tuple[np.ndarray, Operator]:
    basis = np.linalg.qr(np.random.default_rng(7).standard_normal((N, N)))[0]
    matrix = (basis * SPECTRA[name]) @ basis.T
    matrix = (matrix + matrix.T) / 2
    tensor = torch.from_numpy(matrix).to(dtype)
    return matrix, ls.from_function(lambda v: tensor @ v, N, dtype=dtype)


@pytest.mark.parametrize("method", ["xtrace", "hutch++", "hutchinson"])
@pytest.mark.parametrize("name", ["outliers", pytest.param("power law", marks=pytest.mark.slow), "flat"])
def test_the_trace_is_unbiased_and_its_error_is_what_it_says(name: str, method: str) -> None:
    matrix, given = operator(name)
    found = [ls.trace(given, method=method, products=30, seed=seed) for seed in SEEDS]
    values, errors = np.array([float(one) for one in found]), np.array([one.stderr for one in found])
    scatter = values.std(ddof=1)
    assert abs(values.mean() - np.trace(matrix)) <= 4 * scatter / np.sqrt(len(found))
    # Within a third of the scatter, and 95 % intervals that hold at least 84 % of the time (34 of 40).
    assert 2 / 3 <= np.sqrt(np.mean(errors**2)) / scatter <= 3 / 2
    inside = [one.interval()[0] <= np.trace(matrix) <= one.interval()[1] for one in found]
    assert np.mean(inside) >= 0.84
    assert all(one.products <= 30 for one in found)


# Spectra of 100 eigenvalues, as diagonal matrices: Gaussian vectors do not know the basis.
DECAYING = {
    "network": np.concatenate([np.geomspace(10, 1, 8), 0.05 * np.random.default_rng(0).standard_normal(92)]),
    "exponential": 0.85 ** np.arange(100),
    "harmonic": 1 / np.arange(1.0, 101),
    "flat": np.linspace(0.5, 1.5, 100),
}


@pytest.mark.parametrize(
    ("name", "products"),
    [
        ("network", 12),
        ("exponential", 12),
        ("harmonic", 10),
        *(pytest.param(name, 30, marks=pytest.mark.slow) for name in DECAYING),
    ],
)
def test_the_error_of_xtrace_knows_that_its_samples_are_correlated(name: str, products: int) -> None:
    # The estimates share vectors: their spread alone states 0.67 to 0.85 of the error here.
    values = torch.from_numpy(DECAYING[name])
    given = ls.from_function(lambda v: values * v, 100)
    found = [ls.trace(given, products=products, seed=seed) for seed in range(150)]
    exact = float(values.sum())
    true = np.sqrt(np.mean([(one.value - exact) ** 2 for one in found]))
    stated = np.sqrt(np.mean([one.stderr**2 for one in found]))
    # 150 seeds know the true one to 6 %.
    assert 0.87 <= stated / true <= 1.2
    assert np.mean([one.interval()[0] <= exact <= one.interval()[1] for one in found]) >= 0.9


def test_leaving_out_a_pair_is_an_estimate_from_the_others() -> None:
    # Against the definition: a QR of the other products, and a vector of the sphere in what they do not reach.
    from landscape.estimators import _LeaveOneOut, _pairs_left_out, _Vectors

    n, count = 40, 6
    values = np.linspace(1, 3, n) ** 3
    tensor = torch.from_numpy(values)
    given = ls.from_function(lambda v: tensor * v, n)
    vectors = _Vectors(given, "trace", "xtrace", {"xtrace": 4}, 2 * count, 0)
    sources = [torch.from_numpy(np.random.default_rng(k).standard_normal(n)) for k in range(count)]
    sources = [source * np.sqrt(n / float(source @ source)) for source in sources]
    parts = _LeaveOneOut(vectors, lambda: iter(sources))
    H = np.array([parts.inside(image) for _, image in vectors.images(vectors.of(parts.basis))])
    found = _pairs_left_out(parts, H, np.array([parts.inside(source) for source in sources]).T, n)
    for i in range(count):
        for j in set(range(count)) - {i}:
            others = np.array([values * sources[k].numpy() for k in range(count) if k not in (i, j)]).T
            Q = np.linalg.qr(others)[0]
            rest = sources[i].numpy() - Q @ (Q.T @ sources[i].numpy())
            rest *= np.sqrt((n - count + 2) / (rest @ rest))
            expected = np.trace(Q.T @ (values[:, None] * Q)) + rest @ (values * rest)
            assert found[i, j] + np.trace(H) == pytest.approx(expected, rel=1e-9)


def test_few_large_eigenvalues_are_taken_out() -> None:
    matrix, given = operator("outliers")
    error = {
        method: np.sqrt(
            np.mean(
                [
                    (float(ls.trace(given, method=method, products=30, seed=s)) - np.trace(matrix)) ** 2
                    for s in range(20)
                ]
            )
        )
        for method in ("xtrace", "hutch++", "hutchinson")
    }
    assert error["xtrace"] < error["hutch++"] < 0.05 * error["hutchinson"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_low_rank_is_exact(dtype: torch.dtype, seed: int) -> None:
    matrix, given = operator("low rank", dtype)
    eps = torch.finfo(dtype).eps
    for method in ("xtrace", "hutch++"):
        one = ls.trace(given, method=method, products=30, seed=seed)
        assert one.value == pytest.approx(15, rel=100 * eps)
        assert abs(one.value - 15) <= 4 * one.stderr
    assert ls.frobenius_norm(given, products=30, seed=seed).value == pytest.approx(np.sqrt(55), rel=100 * eps)
    assert np.abs(ls.diagonal(given, products=30, seed=seed).values - matrix.diagonal()).max() <= 500 * eps


@pytest.mark.parametrize("method", ["xdiag", "hutchinson"])
@pytest.mark.parametrize("name", ["outliers", "flat"])
def test_the_diagonal_is_unbiased_and_its_error_is_what_it_says(name: str, method: str) -> None:
    matrix, given = operator(name)
    found = [ls.diagonal(given, method=method, products=30, seed=seed) for seed in SEEDS]
    values, errors = (np.array([getattr(one, what) for one in found]) for what in ("values", "stderr"))
    scatter = values.std(0, ddof=1)
    assert np.abs(values.mean(0) - matrix.diagonal()).max() <= 5 * scatter.max() / np.sqrt(len(found))
    assert 2 / 3 <= np.sqrt(np.mean(errors**2)) / np.sqrt(np.mean(scatter**2)) <= 3 / 2
    assert np.mean(np.abs(values - matrix.diagonal()) <= 2.2 * errors) >= 0.84
    assert found[0].trace == pytest.approx(values[0].sum())


@pytest.mark.parametrize("method", ["hutch++", "hutchinson"])
@pytest.mark.parametrize("name", ["outliers", pytest.param("power law", marks=pytest.mark.slow), "flat"])
def test_the_norm_and_its_error(name: str, method: str) -> None:
    matrix, given = operator(name)
    found = [ls.frobenius_norm(given, method=method, products=30, seed=seed) for seed in SEEDS]
    values = np.array([float(one) for one in found])
    scatter = values.std(ddof=1)
    assert abs(values.mean() - np.linalg.norm(matrix)) <= 4 * scatter / np.sqrt(len(found)) + scatter**2
    inside = [one.interval()[0] <= np.linalg.norm(matrix) <= one.interval()[1] for one in found]
    assert np.mean(inside) >= 0.84


@pytest.mark.parametrize("name", ["mlp", "weight decay", "convolution and batch norm"])
def test_enough_products_give_exact_numbers(name: str) -> None:
    case = CASES[name]
    objective, H = case.objective(), case.hessian()
    hessian = ls.Hessian(objective)
    assert ls.trace(hessian, products=1000).value == pytest.approx(float(torch.trace(H)), rel=1e-12)
    assert ls.frobenius_norm(hessian, products=1000).value == pytest.approx(float(H.norm()), rel=1e-12)
    assert np.allclose(ls.diagonal(hessian, products=1000).values, H.diagonal().numpy(), atol=1e-14)
    traces = ls.layer_traces(hessian, products=1000)
    for block in blocks_of(objective):
        assert traces[block.name].value == pytest.approx(float(block.take(H.diagonal()).sum()), rel=1e-11)
        assert traces[block.name].method == "exact"


def test_traces_of_all_layers_come_from_the_same_products() -> None:
    case = CASES["mlp"]
    objective, diagonal = case.objective(), case.hessian().diagonal()
    hessian = ls.Hessian(objective)
    runs = [ls.layer_traces(hessian, products=10, seed=seed) for seed in range(40)]
    assert hessian.products == 400
    for block in blocks_of(objective):
        exact = float(block.take(diagonal).sum())
        values = np.array([run[block.name].value for run in runs])
        assert abs(values.mean() - exact) <= 4 * values.std(ddof=1) / np.sqrt(40)
        inside = [run[block.name].interval()[0] <= exact <= run[block.name].interval()[1] for run in runs]
        assert np.mean(inside) >= 0.84
    whole = ls.trace(hessian, method="hutchinson", products=10, seed=3)
    assert sum(one.value for one in runs[3].values()) == pytest.approx(whole.value, rel=1e-12)


def test_wrong_requests_are_refused_in_words() -> None:
    hessian = ls.Hessian(CASES["mlp"].objective())
    for attempt, message in (
        (lambda: ls.trace(hessian, method="magic"), "unknown method 'magic'; choose xtrace, hutch"),
        (lambda: ls.trace(hessian, products=3), "xtrace needs at least 4 products, not 3"),
        (lambda: ls.diagonal(hessian, products=1), "xdiag needs at least 4 products, not 1"),
        (lambda: ls.frobenius_norm(hessian, seed=-1), "seed must not be negative"),
        (lambda: ls.trace("hessian"), "needs an operator such as"),
        (lambda: ls.layer_traces(ls.from_function(lambda v: v, 9)), "needs an operator of an objective"),
        (lambda: ls.trace(hessian).interval(1.5), "level must lie between 0 and 1"),
    ):
        with pytest.raises(ls.InputError, match=message):
            attempt()


def test_nan_in_a_product_names_its_micro_batch() -> None:
    class Broken(ls.GaussNewton):
        def batch_product(self, batch, denominator, vector):
            return super().batch_product(batch, denominator, vector) / (batch[1] != 2).all()

    objective = ls.Objective(CASES["mlp"].model, CASES["mlp"].loss, CASES["mlp"].data, micro_batch=3)
    with pytest.raises(ls.ComputeError, match=r"NaN or inf in micro-batch \d of 8 \(samples \d+ to \d+\)"):
        ls.trace(Broken(objective), products=10)
