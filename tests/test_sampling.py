"""Errors from data sampling against the spread over data sets that were really drawn, and against dense matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape._sampling import covariance_of_mean
from landscape.cli.summaries.density import density_in_words
from tests.cases import Diagonal

SCALES = torch.tensor([2.0, 1.5, *[0.3] * 6], dtype=torch.float64)


def regression(seed: int, samples: int = 200, micro_batch: int = 10) -> ls.Objective:
    """Least squares in 8 dimensions: the Hessian is twice the mean of x xᵀ."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, 8, generator=generator, dtype=torch.float64) * SCALES
    model = nn.Linear(8, 1, bias=False).double()
    torch.nn.init.zeros_(model.weight)
    return ls.Objective(model, nn.MSELoss(), (inputs, torch.zeros(samples, 1).double()), micro_batch=micro_batch)


def wide(seed: int) -> ls.Objective:
    """The same with 30 outputs, so that there are too many parameters, n = 240, for all eigenvalues."""
    base = regression(seed)
    inputs = torch.cat([base._batches[index][0] for index in range(base.batches)])
    model = nn.Linear(8, 30, bias=False).double()
    target = torch.zeros(len(inputs), 30).double()
    return ls.Objective(model, nn.MSELoss(reduction="sum"), (inputs, target), micro_batch=10)


@pytest.mark.slow
def test_the_error_is_the_spread_over_data_sets() -> None:
    operators = [ls.Hessian(regression(seed), product="double_backward") for seed in range(40)]
    densities = [ls.spectral_density(operator, data_sampling=2) for operator in operators]
    largest = np.array([density.lambda_max for density in densities])
    traces = np.array([density.trace for density in densities])
    stderr = np.array([np.nanmax(density.sampling_stderr) for density in densities])
    trace_stderr = np.array([density.trace_sampling_stderr for density in densities])
    # The spread of 40 values is itself known to 11 %, and the mean of the estimates to 3 %.
    assert stderr.mean() == pytest.approx(largest.std(ddof=1), rel=0.25)
    assert np.sqrt(np.mean(trace_stderr**2)) == pytest.approx(traces.std(ddof=1), rel=0.25)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_spread_over_the_micro_batches(seed: int) -> None:
    objective = regression(seed, samples=203)  # the last micro-batch is short
    density = ls.spectral_density(ls.Hessian(objective, product="double_backward"), data_sampling=3, seed=seed)
    batches = [objective._batches[index][0] for index in range(objective.batches)]
    weights = np.array([len(part) for part in batches]) / 203
    matrices = [2 * (part.T @ part / len(part)).numpy() for part in batches]
    values, vectors = np.linalg.eigh(sum(w * matrix for w, matrix in zip(weights, matrices, strict=True)))
    known = np.flatnonzero(np.isfinite(density.sampling_stderr))
    assert len(known) == 3 and np.allclose(np.sort(density.nodes[known])[-1], values[-1])
    for index in known:
        vector = vectors[:, np.argmin(np.abs(values - density.nodes[index]))]
        spread = np.array([vector @ matrix @ vector for matrix in matrices])
        mean = weights @ spread
        expected = np.sqrt(len(weights) / (len(weights) - 1) * np.sum(weights**2 * (spread - mean) ** 2))
        assert density.sampling_stderr[index] == pytest.approx(expected, rel=1e-6)
    assert density.products == 8 + 3 + 4


def test_weights_that_are_equal_give_the_textbook_standard_error() -> None:
    values = np.random.default_rng(0).standard_normal((50, 2))
    covariance = covariance_of_mean(values, np.full(50, 1 / 50))
    assert np.allclose(covariance, np.cov(values.T) / 50)
    assert np.isnan(covariance_of_mean(values[:1], np.ones(1))).all()


def test_it_is_stored_printed_and_resumed(tmp_path: Path) -> None:
    operator = ls.Hessian(wide(0), product="double_backward")
    options = {"max_products": 60, "tol": 1e-6, "data_sampling": 4}
    density = ls.spectral_density(operator, **options, state=tmp_path / "state", checkpoint_seconds=0)  # type: ignore[arg-type]
    again = ls.spectral_density(operator, **options, state=tmp_path / "state")  # type: ignore[arg-type]
    for record in (again, ls.load(density.save(tmp_path / "density.h5"))):
        assert np.array_equal(record.sampling_stderr, density.sampling_stderr, equal_nan=True)
        assert record.trace_sampling_stderr == density.trace_sampling_stderr > 0
    text = "\n".join(density_in_words(density))
    assert "data sampling" in text and "had other samples been drawn" in text
    assert "data sampling" not in "\n".join(density_in_words(ls.spectral_density(operator, max_products=20)))


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("data_sampling must not be negative", {"data_sampling": -1}),
        ("data_sampling must be a whole number", {"data_sampling": 1.5}),
        ("data_sampling needs resolved eigenvalues", {"data_sampling": 2, "method": "classical"}),
        (
            "data_sampling needs eigenvectors, which memory='minimal' does not keep",
            {"data_sampling": 2, "memory": "minimal"},
        ),
    ],
)
def test_what_has_no_eigenvectors_is_refused(message: str, options: dict[str, object]) -> None:
    with pytest.raises(ls.InputError, match=message):
        ls.spectral_density(ls.Hessian(wide(0)), **options)  # type: ignore[arg-type]


def test_what_has_no_data_to_compare_is_refused() -> None:
    with pytest.raises(ls.InputError, match="data_sampling needs data, which diagonal does not have"):
        ls.spectral_density(Diagonal(np.linspace(0, 1, 300)), data_sampling=2)
    with pytest.raises(ls.InputError, match=r"only one: give micro_batch \(--micro-batch\), such as 20"):
        ls.spectral_density(ls.Hessian(regression(0, micro_batch=200)), data_sampling=2)
