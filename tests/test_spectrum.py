"""Spectral densities against exact spectra of trained networks and prescribed ones: error, bands, trace, resuming."""

from __future__ import annotations

import gc
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import landscape as ls
from landscape.curvature.double_backward import DoubleBackward
from landscape.spectrum import probe_groups
from tests.cases import Diagonal, cases, plotted_error, trained_spectrum, wasserstein

Array = NDArray[np.float64]
SEEDS = 40
NETS = {"relu": ("relu", 30), "tanh": ("tanh", 30), "early in training": ("relu", 3), "heavy bulk": ("relu", 1)}
# Errors of 90 products of the long run over those of 800 classical ones: W1, and what a plot shows.
BOUNDS = {"relu": (0.5, 0.02), "tanh": (0.65, 0.02), "early in training": (0.85, 0.1), "heavy bulk": (2.2, 1.0)}
PRESCRIBED = {
    "identity": np.ones(500),
    "zero": np.zeros(500),
    "a·I + rank 20": np.r_[np.full(1480, 0.1), np.linspace(1, 20, 20)],
    "rank 3": np.r_[np.zeros(497), 1.0, 2.0, 3.0],
    "doubled": np.repeat(np.linspace(0, 1, 300), 2),
}


@cache
def exact(net: str) -> Array:
    return trained_spectrum(*NETS[net])


@cache
def long_runs(net: str) -> list[ls.SpectralDensity]:
    """The default method with 90 products, for many seeds."""
    operator = Diagonal(exact(net))
    return [ls.spectral_density(operator, tol=1e-9, max_products=90, seed=seed) for seed in range(SEEDS)]


def marks(net: str) -> list[pytest.MarkDecorator]:
    """One worker per net, which then computes its spectrum once; half of the nets only with --slow."""
    group = pytest.mark.xdist_group(f"spectrum of {net}")
    return [group] if net in ("relu", "heavy bulk") else [group, pytest.mark.slow]


EACH_NET = pytest.mark.parametrize("net", [pytest.param(net, marks=marks(net)) for net in NETS])


@EACH_NET
def test_one_long_run_is_better_than_ten_short_ones(net: str) -> None:
    # The table of measured errors: 800 classical products against 90.
    eigenvalues = exact(net)
    classical = [ls.spectral_density(Diagonal(eigenvalues), method="classical", seed=seed) for seed in range(3)]
    assert all(density.products == 800 for density in classical)
    w1, plotted = (
        [np.median([measure(density, eigenvalues) for density in kind]) for kind in (classical, long_runs(net))]
        for measure in (wasserstein, plotted_error)
    )
    # In the heavy bulk nothing converges, and W1 is that of one probe instead of ten.
    assert w1[1] <= BOUNDS[net][0] * w1[0]
    assert plotted[1] <= BOUNDS[net][1] * plotted[0]


@EACH_NET
def test_bands_cover_the_exact_spectrum_and_are_not_too_wide(net: str) -> None:
    eigenvalues, runs = exact(net), long_runs(net)
    n, sigma = len(eigenvalues), 0.01 * eigenvalues[-1]
    quantiles = np.quantile(eigenvalues, (np.arange(400) + 0.5) / 400)
    grid = np.linspace(eigenvalues[0], eigenvalues[-1], 400)
    truth = ls.SpectralDensity(eigenvalues, np.full(n, 1 / n), n)
    visible = grid[truth.pdf(grid, sigma) > 1e-6 * truth.pdf(grid, sigma).max()]
    checks = {
        "cdf at the eigenvalues": (quantiles, lambda d, x: d.cdf(x), lambda d, x: d.cdf_band(x)),
        "cdf along the axis": (grid, lambda d, x: d.cdf(x), lambda d, x: d.cdf_band(x)),
        "pdf": (visible, lambda d, x: d.pdf(x, sigma), lambda d, x: d.pdf_band(x, sigma)),
    }
    for name, (x, value, band) in checks.items():
        reference = value(truth, x)
        bands = [band(density, x) for density in runs]
        covered = [(low - 1e-9 <= reference) & (reference <= high + 1e-9) for low, high in bands]
        assert np.mean(covered) >= 0.90, name
        error = np.sqrt(np.mean([(value(density, x) - reference) ** 2 for density in runs], axis=0))
        width = np.median([(high - low) / 2 for low, high in bands], axis=0)
        counted = error > 1e-12
        assert np.median(width[counted] / error[counted]) <= 3, name


@EACH_NET
def test_the_predicted_error_bounds_the_actual_one(net: str) -> None:
    eigenvalues = exact(net)
    actual = np.array([wasserstein(density, eigenvalues) for density in long_runs(net)])
    predicted = np.array([density.error for density in long_runs(net)])
    assert np.mean(predicted >= actual) >= 0.9
    assert np.median(predicted / actual) <= 3


@EACH_NET
def test_the_trace_has_an_honest_error(net: str) -> None:
    deviation = [(d.trace - exact(net).sum()) / d.trace_stderr for d in long_runs(net)]
    assert np.mean(np.abs(deviation) < 1.96) >= 0.85
    assert 0.5 <= np.sqrt(np.mean(np.square(deviation))) <= 1.5


@EACH_NET
def test_resolved_nodes_are_eigenvalues(net: str) -> None:
    eigenvalues = exact(net)
    for density in long_runs(net)[:5]:
        assert density.resolved.sum() >= 10
        distance = np.abs(density.eigenvalues[:, None] - eigenvalues).min(1)
        assert distance.max() <= 2e-3 * eigenvalues[-1]
        assert np.allclose(density.weights[density.resolved], 1 / len(eigenvalues))
        assert density.lambda_max == pytest.approx(eigenvalues[-1], rel=1e-9)


@EACH_NET
def test_the_run_stops_when_the_wanted_error_is_reached(net: str) -> None:
    loose, tight = (ls.spectral_density(Diagonal(exact(net)), tol=tol) for tol in (0.3, 0.1))
    assert loose.converged and loose.error <= 0.3 and loose.products < tight.products
    hurried = ls.spectral_density(Diagonal(exact(net)), tol=1e-6, max_products=30)
    assert hurried.products == 30 and not hurried.converged and hurried.error > 1e-6


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", PRESCRIBED)
def test_prescribed_spectra(name: str, dtype: torch.dtype) -> None:
    eigenvalues = PRESCRIBED[name]
    for method in ("deflated", "classical"):
        density = ls.spectral_density(Diagonal(eigenvalues, dtype), method=method, probes=3, steps=60, max_products=90)
        assert np.isfinite(density.nodes).all() and np.isfinite(density.error)
        assert density.weights.sum() == pytest.approx(1, abs=1e-12) and density.weights.min() >= 0
        assert np.isfinite(density.pdf(density.nodes)).all()
        if method == "deflated" and name != "doubled":
            scale = max(np.abs(eigenvalues).max(), 1e-30)
            mean = float(np.mean(np.abs(eigenvalues - np.median(eigenvalues)))) or scale
            x = np.sort(np.concatenate([density.nodes, eigenvalues]))
            difference = density.cdf(x) - np.searchsorted(eigenvalues, x, side="right") / len(eigenvalues)
            assert np.sum(np.abs(difference[:-1]) * np.diff(x)) / mean <= 1e-4


@pytest.mark.xdist_group("spectrum of relu")
def test_weight_decay_only_shifts_the_density() -> None:
    eigenvalues = exact("relu")
    plain, shifted = (
        ls.spectral_density(Diagonal(eigenvalues + shift), tol=1e-9, max_products=60) for shift in (0.0, 0.5)
    )
    assert np.allclose(plain.nodes + 0.5, shifted.nodes, atol=1e-9) and np.allclose(plain.weights, shifted.weights)


def test_a_small_network_gets_its_exact_spectrum() -> None:
    case = cases()["class weights and ignore_index"]
    density = ls.spectral_density(ls.Hessian(case.objective()), tol=1e-9)
    eigenvalues = np.linalg.eigvalsh(case.hessian().numpy())
    # A constant added to all logits changes nothing: six of the 43 eigenvalues are zero, and all six are found.
    assert density.products == density.n == 43 and density.converged and 0 < density.error <= 1e-10
    assert np.abs(density.nodes - eigenvalues).max() <= 1e-10 * np.abs(eigenvalues).max()
    assert density.trace == pytest.approx(eigenvalues.sum(), rel=1e-10) and density.trace_stderr <= 1e-10


def test_an_exhausted_run_does_not_claim_more_than_it_knows() -> None:
    # Without the products to find all copies, nobody can tell from one run which of 40 eigenvalues is the sixfold one.
    eigenvalues = np.sort(np.r_[np.zeros(6), np.linspace(-1, 2, 37)])
    density = ls.spectral_density(Diagonal(eigenvalues), max_products=42, tol=1e-9)
    assert not density.resolved.any() and not density.converged
    assert density.error >= wasserstein(density, eigenvalues)


def test_the_negative_mass_of_float32_products_is_that_of_float64() -> None:
    eigenvalues = np.r_[np.zeros(1000), -np.linspace(0.1, 1, 40), np.linspace(0.1, 10, 60) ** 2]
    eigenvalues.sort()
    for dtype in (torch.float32, torch.float64):
        density = ls.spectral_density(Diagonal(eigenvalues, dtype), tol=1e-9, max_products=100)
        assert density.noise_floor <= 1e-4 * density.lambda_max
        assert density.negative_mass == pytest.approx(40 / 1100, abs=0.02)
        assert density.near_zero_mass == pytest.approx(1000 / 1100, abs=0.05)


@pytest.mark.xdist_group("spectrum of relu")
@pytest.mark.parametrize("method", ["deflated", "classical"])
def test_a_run_that_was_cut_short_gives_the_same_bits(method: str, tmp_path: Path) -> None:
    eigenvalues = exact("relu")
    options = {"method": method, "tol": 1e-9, "max_products": 60, "probes": 3, "steps": 20, "seed": 4}
    whole = ls.spectral_density(Diagonal(eigenvalues), **options)

    class CutShortError(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        if done == 53:
            raise CutShortError

    state = tmp_path / "state"
    with pytest.raises(CutShortError):
        ls.spectral_density(Diagonal(eigenvalues), **options, state=state, checkpoint_seconds=0, progress=stop)
    operator = Diagonal(eigenvalues)
    resumed = ls.spectral_density(operator, **options, state=state)
    assert np.array_equal(resumed.nodes, whole.nodes) and np.array_equal(resumed.weights, whole.weights)
    assert operator.products == 7 and resumed.provenance["resumed_products"] == 53
    with pytest.raises(ls.InputError, match="seed"):
        ls.spectral_density(Diagonal(eigenvalues), **(options | {"seed": 5}), state=state)


@pytest.mark.xdist_group("spectrum of relu")
def test_a_run_that_stopped_by_itself_is_not_continued(tmp_path: Path) -> None:
    first, again = (
        ls.spectral_density(Diagonal(exact("relu")), tol=0.15, state=tmp_path / "state", checkpoint_seconds=0)
        for _ in range(2)
    )
    assert first.converged and first.products == again.products < 90
    assert np.array_equal(first.nodes, again.nodes) and np.array_equal(first.weights, again.weights)


def test_many_parameters_in_float32() -> None:
    # A bulk 10,000 times narrower than the outliers is not rounding, although √n·eps says so.
    generator = np.random.default_rng(0)
    eigenvalues = np.sort(np.r_[generator.uniform(-1e-4, 1e-4, 200_000 - 20), np.linspace(0.2, 1, 20)])
    density = ls.spectral_density(Diagonal(eigenvalues, torch.float32))
    assert density.converged and density.noise_floor <= 1e-5
    assert wasserstein(density, eigenvalues) <= density.error
    assert density.resolved.sum() == 20


@pytest.mark.xdist_group("spectrum of relu")
def test_seeds_differ_and_repeat() -> None:
    first, again, other = (
        ls.spectral_density(Diagonal(exact("relu")), max_products=20, seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(first.nodes, again.nodes) and not np.array_equal(first.nodes, other.nodes)


def test_probe_groups_share_the_work() -> None:
    assert [probe_groups(ranks, 10) for ranks in (1, 2, 5, 10)] == [1, 2, 5, 10]
    assert probe_groups(4, 10) == 2  # two groups of two: five rounds of half the work, not three of all
    assert probe_groups(8, 1) == 1 and probe_groups(1000, 10) == 10


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("unknown method 'fast'; choose deflated or classical", {"method": "fast"}),
        ("tol must be positive", {"tol": 0.0}),
        ("max_products must be at least 1", {"max_products": 0}),
        ("probes must be at least 1", {"probes": 0}),
        ("seed must not be negative", {"seed": -1}),
    ],
)
def test_arguments_out_of_range_are_named(message: str, options: dict[str, object]) -> None:
    with pytest.raises(ls.InputError, match=message):
        ls.spectral_density(Diagonal(np.ones(3)), **options)  # type: ignore[arg-type]


def test_something_else_than_an_operator_is_refused() -> None:
    with pytest.raises(ls.InputError, match=r"needs an operator such as landscape.Hessian\(objective\), not ndarray"):
        ls.spectral_density(np.eye(3))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["deflated", "classical"])
def test_what_products_have_kept_goes_with_the_run(method: str) -> None:
    """Without the collector of circles, which comes late: along a path every point keeps graphs of its own."""
    operator = ls.Hessian(cases()["mlp"].objective(), product="double_backward")

    def products() -> int:
        return sum(type(thing) is DoubleBackward for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = products()
        ls.spectral_density(operator, method=method, probes=1, steps=5)
        assert products() <= before
    finally:
        gc.enable()
