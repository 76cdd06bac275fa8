"""Eigenpairs against dense Hessians and prescribed spectra: values, vectors, residuals, resuming, bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import landscape as ls
from landscape.eigen import settings_for
from tests.cases import Diagonal, cases, trained_spectrum
from tests.mpi_jobs import ROOT

Array = NDArray[np.float64]
NETS = ["mlp", "weight decay", "convolution and batch norm", "tied weights", "frozen parameters", "dict batches"]
BULK = np.random.default_rng(0).standard_normal(980) * 0.02
OUTLIERS = np.r_[BULK, 0.2 * 1.3 ** np.arange(20)]


@pytest.mark.parametrize("name", NETS)
def test_pairs_of_small_networks_are_those_of_the_dense_hessian(name: str) -> None:
    case = cases()[name]
    dense = case.hessian().numpy()
    values, vectors = np.linalg.eigh(dense)
    for which, k in (("largest", 4), ("smallest", 3), ("magnitude", 5), ("both", 2), ("largest", len(values))):
        pairs = ls.eigenpairs(ls.Hessian(case.objective()), k, which, tol=1e-8)
        assert pairs.which == which and len(pairs) == (2 * k if which == "both" else k)
        assert pairs.converged.all() and pairs.n == len(values) and pairs.vectors.shape == (pairs.n, len(pairs))
        order = {"smallest": np.arange(k), "magnitude": np.argsort(-np.abs(values), kind="stable")[:k]}
        order["largest"], order["both"] = np.arange(pairs.n)[::-1][:k], np.r_[np.arange(k), pairs.n - k : pairs.n][::-1]
        expected = values[order[which]]
        assert np.abs(pairs.values - expected).max() <= 1e-9 * np.abs(values).max()
        residuals = np.linalg.norm(dense @ pairs.vectors - pairs.vectors * pairs.values, axis=0)
        assert np.abs(residuals - pairs.residuals).max() <= 1e-12 * pairs.scale
        decay = case.objective().weight_decay
        assert pairs.scale == pytest.approx(np.abs(values - decay).max(), rel=1e-6)
        assert np.abs(pairs.vectors.T @ pairs.vectors - np.eye(len(pairs))).max() <= 1e-12
        largest = pairs.vectors[np.abs(pairs.vectors).argmax(0), np.arange(len(pairs))]
        assert (largest > 0).all()
        simple = np.abs(values[:, None] - expected).__lt__(1e-3 * pairs.scale).sum(0) == 1
        overlaps = np.abs((vectors[:, order[which]] * pairs.vectors).sum(0))[simple]
        assert overlaps.min(initial=1.0) >= 1 - 1e-8


def test_weight_decay_hides_no_eigenvalue_of_the_lower_end() -> None:
    # Relative to eigenvalues that weight decay makes large, residuals of the width of the bulk would be small.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 5))
    data = torch.randn(200, 8), torch.randint(0, 5, (200,))
    plain, decayed = (
        ls.Hessian(ls.Objective(model, nn.CrossEntropyLoss(), data, weight_decay=decay)) for decay in (0.0, 50.0)
    )
    expected = ls.eigenpairs(plain, k=5, which="smallest").values
    assert np.abs(ls.eigenpairs(decayed, k=5, which="smallest").values - 50 - expected).max() <= 1e-4
    assert np.abs(ls.eigenpairs(2 * plain + 50, k=5, which="smallest").values - 50 - 2 * expected).max() <= 2e-4


def test_the_record_knows_where_it_was_taken(tmp_path: Path) -> None:
    objective = cases()["convolution and batch norm"].objective()
    hessian = ls.Hessian(objective)
    pairs = ls.eigenpairs(hessian, 2)
    assert pairs.theta.tolist() == objective.theta.tolist() and pairs.loss == objective.loss()
    assert list(pairs.parameters) == list(objective.names)
    assert [tuple(shape) for shape in pairs.parameters.values()] == [tuple(shape) for shape in objective.shapes]
    assert set(pairs.buffers) == set(objective.buffers) and pairs.operator == "hessian"
    assert hessian.products == pairs.products > 2 and pairs.gradient_equivalents > 0 and pairs.seconds > 0
    loaded = ls.load(pairs.save(tmp_path / "pairs.h5"))
    for field in ("values", "vectors", "residuals", "converged", "theta"):
        assert np.array_equal(getattr(loaded, field), getattr(pairs, field))
    assert loaded.provenance["configuration"]["which"] == "largest"
    assert {name: list(shape) for name, shape in loaded.parameters.items()} == dict(pairs.parameters)


@pytest.mark.parametrize("operator", [ls.GaussNewton, ls.EmpiricalFisher])
def test_other_operators(operator: Any) -> None:
    case = cases()["mlp"]
    dense = (case.gauss_newton() if operator is ls.GaussNewton else case.fisher()).numpy()
    pairs = ls.eigenpairs(operator(case.objective()), 3, tol=1e-9)
    assert np.abs(pairs.values - np.linalg.eigvalsh(dense)[::-1][:3]).max() <= 1e-10 * pairs.scale
    # More parameters than outputs: a kernel, all of whose vectors are eigenvectors.
    low = ls.eigenpairs(operator(case.objective()), 4, "smallest", tol=1e-9)
    assert np.abs(low.values).max() <= 1e-12 * low.scale and low.converged.all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(3))
def test_outliers_of_many(seed: int, dtype: torch.dtype) -> None:
    for which, sign in (("largest", 1), ("smallest", -1)):
        operator = Diagonal(sign * OUTLIERS, dtype)
        pairs = ls.eigenpairs(operator, 10, which, seed=seed)
        assert pairs.converged.all() and operator.products == pairs.products <= 40
        assert np.abs(pairs.values - sign * np.sort(OUTLIERS)[::-1][:10]).max() <= 1e-5 * OUTLIERS.max()
        assert (pairs.residuals <= pairs.tol * np.maximum(np.abs(pairs.values), pairs.scale / 1000)).all()
        # The vectors are units in known places.
        places = np.argsort(-OUTLIERS)[:10]
        assert (pairs.vectors[places, np.arange(10)] >= 1 - 1e-4).all()
        assert pairs.vectors.dtype == (np.float64 if dtype == torch.float64 else np.float32)


def test_a_tolerance_below_rounding_is_said_not_to_be_reached() -> None:
    pairs = ls.eigenpairs(Diagonal(OUTLIERS, torch.float32), 5, tol=1e-10)
    assert not pairs.converged.any() and pairs.products < 100
    assert pairs.residuals.max() <= 20 * pairs.noise_floor


def test_without_enough_products_there_is_what_there_is() -> None:
    for products in (1, 2, 5, 12):
        pairs = ls.eigenpairs(Diagonal(OUTLIERS), 10, max_products=products)
        assert pairs.products == products and len(pairs) == min(max(products - 1, 1), 10)
        assert not pairs.converged.all()
        true = np.linalg.norm(OUTLIERS[:, None] * pairs.vectors - pairs.vectors * pairs.values, axis=0)
        assert np.abs(pairs.residuals - true).max() <= 1e-12 * pairs.scale
        limits = pairs.tol * np.maximum(np.abs(pairs.values), pairs.scale / 1000)
        assert np.array_equal(pairs.converged, pairs.residuals <= limits)


@pytest.mark.slow
@pytest.mark.xdist_group("spectrum of relu")
@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_no_pair_of_a_trained_network_is_missed(which: str) -> None:
    # The default tolerance, relative to each value: relative to the largest, most runs would miss some of the smallest.
    eigenvalues = trained_spectrum("relu", 30)
    expected = eigenvalues[::-1][:10] if which == "largest" else eigenvalues[:10]
    for seed in range(40):
        pairs = ls.eigenpairs(Diagonal(eigenvalues), 10, which, seed=seed)
        assert pairs.converged.all() and (np.abs(pairs.values - expected) <= 1e-4 * np.abs(expected)).all()


def test_a_small_basis_needs_restarts_and_gives_the_same() -> None:
    spectrum = np.r_[OUTLIERS, -0.1 - 0.01 * np.arange(6)]
    small, large = (ls.eigenpairs(Diagonal(spectrum), 5, "smallest", tol=1e-8, basis=basis) for basis in (16, None))
    assert small.restarts > 2 and large.restarts == 0 and small.products > large.products
    assert np.abs(small.values - large.values).max() <= 1e-12
    assert np.abs(small.vectors - large.vectors).max() <= 1e-5


def test_a_warm_start_saves_products() -> None:
    first = ls.eigenpairs(Diagonal(OUTLIERS), 5)
    changed = Diagonal(OUTLIERS * (1 + 1e-4 * np.random.default_rng(0).standard_normal(len(OUTLIERS))))
    cold, warm = ls.eigenpairs(changed, 5, seed=3), ls.eigenpairs(changed, 5, seed=3, start=first)
    assert warm.products < cold.products and np.allclose(warm.values, cold.values, rtol=1e-5)
    assert np.array_equal(ls.eigenpairs(changed, 5, seed=3, start=first.vectors).values, warm.values)
    single = ls.eigenpairs(changed, 1, start=first.vectors[:, 0])
    assert np.allclose(single.values, cold.values[:1], rtol=1e-5)
    unchecked = ls.eigenpairs(changed, 5, seed=3, start=first, check=False)
    assert np.array_equal(unchecked.values, warm.values) and unchecked.products == warm.products - 1


@pytest.mark.parametrize("seed", range(3))
def test_a_warm_start_finds_what_the_earlier_vectors_do_not_see(seed: int) -> None:
    # The new largest eigenvalue is exactly orthogonal to all earlier vectors.
    before = Diagonal(OUTLIERS)
    spectrum = OUTLIERS.copy()
    spectrum[7] = 2 * OUTLIERS.max()
    first = np.eye(len(OUTLIERS))[:, np.argsort(-OUTLIERS)[:5]]
    assert np.allclose(before.values.numpy() @ first**2, np.sort(OUTLIERS)[::-1][:5])
    pairs = ls.eigenpairs(Diagonal(spectrum), 5, start=first, seed=seed)
    assert np.allclose(pairs.values, np.sort(spectrum)[::-1][:5], rtol=1e-5) and pairs.converged.all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("copies", [2, 3, 5, 8])
def test_a_block_finds_as_many_copies_as_it_has_vectors(copies: int, dtype: torch.dtype) -> None:
    # Far above the bulk at one end, barely outside of it at the other.
    spectrum = np.r_[BULK, np.repeat([3.0, 2.0, -0.2], copies)]
    for seed in range(3):
        operator = Diagonal(spectrum, dtype)
        pairs = ls.eigenpairs(operator, copies + 1, "both", block=copies, seed=seed)
        ends = np.r_[np.full(copies, 3.0), 2.0, np.sort(spectrum)[copies], np.full(copies, -0.2)]
        assert pairs.converged.all() and np.allclose(pairs.values, ends, rtol=1e-5)
        assert np.abs(pairs.vectors.T @ pairs.vectors - np.eye(2 * copies + 2)).max() <= 1e-5
        assert operator.products == pairs.products


def test_a_block_and_a_single_vector_agree_on_a_network() -> None:
    for name in ("mlp", "convolution and batch norm"):
        case = cases()[name]
        values = np.linalg.eigvalsh(case.hessian().numpy())
        for block in (2, 4, len(values)):
            pairs = ls.eigenpairs(ls.Hessian(case.objective()), 3, "both", tol=1e-8, block=block)
            assert pairs.converged.all() and np.abs(pairs.values[:3] - values[::-1][:3]).max() <= 1e-9 * pairs.scale
            assert np.abs(pairs.values[3:] - values[:3][::-1]).max() <= 1e-9 * pairs.scale


@pytest.mark.parametrize("block", [2, 3])
def test_a_warm_block_with_fewer_vectors_than_it_is_wide(block: int) -> None:
    first = ls.eigenpairs(Diagonal(OUTLIERS), 1)
    pairs = ls.eigenpairs(Diagonal(OUTLIERS), 4, start=first, block=block)
    assert np.allclose(pairs.values, np.sort(OUTLIERS)[::-1][:4], rtol=1e-5) and pairs.converged.all()


def test_seeds_differ_and_repeat() -> None:
    first, again, other = (ls.eigenpairs(Diagonal(OUTLIERS), 3, tol=1e-2, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.vectors, again.vectors) and not np.array_equal(first.vectors, other.vectors)


NARROW = BULK[:150]
OPTIONS: dict[str, Any] = {"k": 4, "which": "both", "tol": 1e-8, "basis": 20, "seed": 2}


@pytest.mark.parametrize(("cut", "block"), [(2, 1), (41, 1), (42, 3)])
def test_a_run_that_was_cut_short_gives_the_same_bits(cut: int, block: int, tmp_path: Path) -> None:
    options = OPTIONS | {"block": block}
    whole = ls.eigenpairs(Diagonal(NARROW), **options)
    assert whole.restarts > 5 and whole.converged.all()

    reached: list[int] = []

    class CutShortError(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        if done >= cut:
            reached.append(done)
            raise CutShortError

    state = tmp_path / "state"
    with pytest.raises(CutShortError):
        ls.eigenpairs(Diagonal(NARROW), **options, state=state, checkpoint_seconds=0, progress=stop)
    # Restarts replace the basis: what came before is dropped from the disk.
    assert len(list(state.glob("basis-*"))) == 1
    resumed = ls.eigenpairs(Diagonal(NARROW), **options, state=state, checkpoint_seconds=0)
    for field in ("values", "vectors", "residuals", "converged"):
        assert np.array_equal(getattr(resumed, field), getattr(whole, field))
    assert resumed.products == whole.products and resumed.provenance["resumed_products"] == reached[0]
    assert (resumed.noise_floor, resumed.scale, resumed.restarts) == (whole.noise_floor, whole.scale, whole.restarts)
    with pytest.raises(ls.InputError, match="seed"):
        ls.eigenpairs(Diagonal(NARROW), **(options | {"seed": 5}), state=state)
    with pytest.raises(ls.InputError, match="start_sha256"):
        ls.eigenpairs(Diagonal(NARROW), **options, start=np.ones(len(NARROW)), state=state)


KILLED = """
import os, signal, sys
import numpy as np
sys.path.insert(0, {root!r})
import landscape as ls
from tests.test_eigen import NARROW, OPTIONS
from tests.cases import Diagonal

def die(done, total, text):
    if done == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

pairs = ls.eigenpairs(Diagonal(NARROW), **OPTIONS, state=sys.argv[1], checkpoint_seconds=0, progress=die)
"""


def test_a_killed_run_continues_with_the_same_bits(tmp_path: Path, faults: int) -> None:
    whole = ls.eigenpairs(Diagonal(NARROW), **OPTIONS)
    for point in np.random.default_rng().integers(1, whole.products - 1, faults):
        state = tmp_path / f"state-{point}"
        script = [sys.executable, "-c", KILLED.format(root=str(ROOT)), str(state), str(point)]
        done = subprocess.run(script, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        # A part that the kill left without a readable segment does not count.
        newest = max(state.glob("basis-*"))
        (newest.parent / "basis-999999").mkdir()
        resumed = ls.eigenpairs(Diagonal(NARROW), **OPTIONS, state=state)
        assert resumed.provenance["resumed_products"] == point
        assert np.array_equal(resumed.values, whole.values) and np.array_equal(resumed.vectors, whole.vectors)


def test_the_default_basis_fits_into_memory_but_never_too_small() -> None:
    def basis(n: int, k: int, which: str = "largest") -> int:
        operator = Diagonal(np.zeros(1))
        operator.values = torch.zeros(1).expand(n)
        return int(settings_for(operator, k, which, 1e-3, None, None, 0)["basis"])

    assert basis(100, 3) == 100 and basis(10_000, 10) == 300 and basis(10_000, 200) == 410
    assert (
        basis(2**22, 10) == 64 and basis(2**30, 10) == 30 and basis(2**30, 2) == 20 and basis(2**30, 10, "both") == 50
    )


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("unknown which 'top'; choose largest, smallest, magnitude or both", {"which": "top"}),
        ("k must be at least 1, not 0", {"k": 0}),
        ("k = 31 eigenpairs are asked for, but the operator has only n = 30", {"k": 31}),
        ("tol must be positive", {"tol": 0.0}),
        ("tol must be positive", {"tol": float("nan")}),
        ("max_products must be at least 1", {"max_products": 0}),
        ("basis = 5 vectors are too few for 5 pairs; give at least 7, better 20", {"k": 5, "basis": 5}),
        ("basis = 9 vectors are too few for 10 pairs", {"k": 5, "which": "both", "basis": 9}),
        ("block must be at least 1 start vector, not 0", {"block": 0}),
        ("basis = 8 vectors are too few for 5 pairs in blocks of 3; give at least 9", {"k": 5, "basis": 8, "block": 3}),
        ("seed must not be negative", {"seed": -1}),
        (r"start has shape \(7,\), but the operator has n = 30", {"start": np.ones(7)}),
        ("start must be finite and not zero", {"start": np.zeros(30)}),
        ("start must be finite and not zero", {"start": np.full(30, np.nan)}),
    ],
)
def test_arguments_out_of_range_are_named(message: str, options: dict[str, Any]) -> None:
    with pytest.raises(ls.InputError, match=message):
        ls.eigenpairs(Diagonal(np.arange(30.0)), **options)


def test_something_else_than_an_operator_is_refused() -> None:
    with pytest.raises(ls.InputError, match=r"needs an operator such as landscape.Hessian\(objective\), not ndarray"):
        ls.eigenpairs(np.eye(3))  # type: ignore[arg-type]


def test_a_product_with_nan_is_reported() -> None:
    with pytest.raises(ls.ComputeError, match="product 1 returned NaN"):
        ls.eigenpairs(Diagonal(np.full(30, np.nan)), 2)
