"""Short runs in the complement of a long one: their rules, what they add, their place in the budget, resuming."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import landscape as ls
from landscape import _complement
from landscape._complement import Plan, reserved
from landscape._moments import match_moments
from landscape.krylov import Lanczos, Outside, Quadrature, gauss, gaussian, outside_rule, resolved_pairs
from landscape.parallel import Serial
from landscape.parallel.rows import RowPartition
from landscape.records.polynomials import polynomials
from tests.cases import Diagonal, trained_spectrum, wasserstein

Array = NDArray[np.float64]
CPU = torch.device("cpu")
POWER_LAW = 2.0 * np.arange(1.0, 901.0) ** -0.8


def test_polynomials_are_orthonormal() -> None:
    nodes, weights = np.sort(np.random.default_rng(0).standard_normal(30)), np.random.default_rng(1).random(30)
    weights[4] = 0.0
    found = polynomials(nodes, weights, 6)
    assert np.allclose((found * weights / weights.sum()) @ found.T, np.eye(7), atol=1e-12)
    assert np.all(found[:, 4] == 0)
    present = weights > 0
    # Degree by degree: each is a combination of the powers up to its own.
    powers = np.vander(nodes[present], 7, increasing=True)
    for degree, values in enumerate(found[:, present]):
        rest = np.linalg.lstsq(powers[:, : degree + 1], values)[1]
        assert len(rest) == 0 or rest < 1e-20
    assert len(polynomials(np.array([0.0, 1.0]), np.array([1.0, 1.0]), 5)) == 2


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_short_run_knows_the_moments_outside_of_what_is_resolved(seed: int, dtype: torch.dtype) -> None:
    n, steps = len(POWER_LAW), 4
    values = torch.from_numpy(POWER_LAW).to(dtype)
    rows = RowPartition(n, Serial())
    run = Lanczos(lambda shard: values * shard, rows, gaussian(rows, seed, 0, dtype, CPU))
    for _ in range(60):
        run.step()
    _, resolved, vectors = resolved_pairs(np.array(run.alpha), np.array(run.beta), n)
    assert len(resolved) >= 5
    start = gaussian(rows, seed, 1, dtype, CPU)
    rule = outside_rule(run, Outside(run.basis, vectors[:, resolved]), start, steps)
    # The same from dense matrices in float64.
    basis = run.basis.vectors(0, len(vectors)).double().numpy() @ vectors[:, resolved]
    projector = np.eye(n) - basis @ np.linalg.pinv(basis)
    inside = projector @ np.diag(POWER_LAW) @ projector
    vector = projector @ start.double().numpy()
    vector /= np.linalg.norm(vector)
    image = vector
    for power in range(2 * steps):
        moment = float(rule.weights @ rule.nodes**power)
        assert moment == pytest.approx(vector @ image, rel=1e-9 if dtype == torch.float64 else 1e-3)
        image = inside @ image


def test_matched_counts_have_the_mean_moments() -> None:
    generator = np.random.default_rng(0)
    nodes = np.sort(generator.random(40))
    counts = generator.chisquare(4, 40) * 5
    resolved = np.arange(40) >= 37
    counts[resolved] = 1.0
    rule = Quadrature(nodes, counts / counts.sum(), np.full(40, 0.1))
    others = []
    for _ in range(3):
        weights = counts[~resolved] * generator.chisquare(200, 37) / 200
        others.append(Quadrature(nodes[~resolved], weights / weights.sum(), np.zeros(37)))
    smooth = counts.copy()
    smooth[:20] = counts[:20].mean()
    found = match_moments(rule, counts, smooth, resolved, others, 5)
    assert np.array_equal(found[resolved], counts[resolved])
    free = ~resolved
    assert found[free].sum() == pytest.approx(counts[free].sum())
    measures = [counts[free] / counts[free].sum(), *(other.weights for other in others)]
    for power in range(6):
        wanted = np.mean([measure @ nodes[free] ** power for measure in measures])
        assert found[free] / found[free].sum() @ nodes[free] ** power == pytest.approx(wanted, rel=1e-8)


def test_room_is_left_for_short_runs() -> None:
    assert [reserved(limit).products for limit in (40, 60, 66)] == [0, 0, 4]
    assert reserved(90) == Plan(4, 4) and reserved(200) == Plan(6, 6)
    for limit in range(60, 400):
        assert limit - reserved(limit).products >= max(60, 0.8 * limit)


@cache
def heavy(name: str) -> Array:
    return np.sort(POWER_LAW) if name == "power law" else trained_spectrum("relu", 1)


@pytest.mark.xdist_group("spectrum of heavy bulk")
@pytest.mark.parametrize("name", [pytest.param("heavy bulk", marks=pytest.mark.slow), "power law"])
def test_short_runs_make_a_heavy_bulk_more_accurate(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    eigenvalues = heavy(name)
    options = {"tol": 1e-9, "max_products": 110}
    with_them = [ls.spectral_density(Diagonal(eigenvalues), seed=seed, **options) for seed in range(12)]
    monkeypatch.setattr(_complement, "SHARE", 0.0)
    without = [ls.spectral_density(Diagonal(eigenvalues), seed=seed, **options) for seed in range(12)]
    assert {density.products for density in with_them + without} == {110}
    assert sum(density.complement_probes >= 4 for density in with_them) >= 10
    assert all(density.complement_probes == 0 for density in without)
    errors = [np.mean([wasserstein(density, eigenvalues) for density in runs]) for runs in (with_them, without)]
    assert errors[0] <= 0.85 * errors[1]
    traces = [
        np.sqrt(np.mean([(density.trace - eigenvalues.sum()) ** 2 for density in runs]))
        for runs in (with_them, without)
    ]
    assert traces[0] <= 0.85 * traces[1]
    # The predicted error knows about them.
    assert np.median([density.error for density in with_them]) < np.median([density.error for density in without])


def test_they_end_a_run_that_reaches_its_tolerance_with_them() -> None:
    density = ls.spectral_density(Diagonal(np.sort(POWER_LAW)), tol=0.05)
    assert density.converged and density.complement_probes >= 2 and density.products < 200


@pytest.mark.parametrize("mode", ["full", "selective", "float16"])
def test_a_run_cut_short_among_them_gives_the_same_bits(mode: str, tmp_path: Path) -> None:
    eigenvalues = np.sort(POWER_LAW)
    options: dict[str, Any] = {"tol": 1e-9, "max_products": 90, "memory": mode}
    whole = ls.spectral_density(Diagonal(eigenvalues), **options)
    assert whole.complement_probes == 4 and whole.products == 90

    class CutShortError(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        if done == 82:
            raise CutShortError

    with pytest.raises(CutShortError):
        ls.spectral_density(Diagonal(eigenvalues), **options, state=tmp_path, progress=stop)
    operator = Diagonal(eigenvalues)
    resumed = ls.spectral_density(operator, **options, state=tmp_path)
    # The long run is on disk; the short ones are done again.
    assert operator.products == 16 and resumed.provenance["resumed_products"] == 74
    assert np.array_equal(resumed.nodes, whole.nodes) and np.array_equal(resumed.weights, whole.weights)


def test_gauss_rule_of_a_long_run_is_the_one_that_pairs_belong_to() -> None:
    rows = RowPartition(900, Serial())
    values = torch.from_numpy(POWER_LAW)
    run = Lanczos(lambda shard: values * shard, rows, gaussian(rows, 0, 0, torch.float64, CPU))
    for _ in range(40):
        run.step()
    alpha, beta = np.array(run.alpha), np.array(run.beta)
    rule, resolved, vectors = resolved_pairs(alpha, beta, 900)
    assert len(rule.nodes) in (39, 40) and np.allclose(vectors[0] ** 2, rule.weights)
    ritz = run.basis.combine(torch.from_numpy(vectors[:, resolved])).numpy()
    assert np.allclose(
        POWER_LAW[:, None] * ritz, ritz * rule.nodes[resolved], atol=rule.residuals[resolved].max() * 1.1
    )
    assert len(gauss(alpha, beta).nodes) == 40
