"""Smoothing the counts of a Gauss rule and spreading its coarse nodes, on counts and spectra that are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from landscape.krylov import Quadrature, anti_gauss, gauss, peaked, smooth_counts, spread_out
from landscape.krylov.smoothing import local_level

Array = NDArray[np.float64]
TRUE = np.r_[np.ones(6), np.exp(np.linspace(0, 4, 20)), 2000.0, np.exp(np.linspace(4, 0, 15)), np.ones(4)]
NODES = np.linspace(-1, 1, len(TRUE)) ** 3
RESOLVED = np.r_[np.ones(6, bool), np.zeros(36, bool), np.ones(4, bool)]


@pytest.mark.parametrize("seed", range(5))
def test_smoothing_removes_noise_and_keeps_the_sum(seed: int) -> None:
    noisy = np.where(RESOLVED, 1.0, np.random.default_rng(seed).chisquare(TRUE))
    smooth = smooth_counts(NODES, noisy, RESOLVED)
    assert smooth.sum() == pytest.approx(noisy.sum(), rel=1e-12)
    assert np.array_equal(smooth[RESOLVED], np.ones(10)) and smooth.min() >= 1
    before, after = (np.abs(np.log((part + 0.1) / (TRUE + 0.1)))[~RESOLVED].mean() for part in (noisy, smooth))
    assert after < 0.6 * before


def test_counts_that_are_right_stay_right() -> None:
    smooth = smooth_counts(NODES, TRUE, RESOLVED)
    assert np.abs(smooth / TRUE - 1).max() < 0.15
    line = np.exp(0.3 * np.arange(30.0))
    assert np.allclose(local_level(line), line, rtol=1e-6)


def test_a_second_peak_is_no_noise() -> None:
    two = TRUE.copy()
    two[15] = 900.0
    assert np.array_equal(smooth_counts(NODES, two, RESOLVED)[:26], two[:26])


def test_clusters_are_smoothed_apart() -> None:
    noisy = np.random.default_rng(0).chisquare(np.r_[np.arange(5.0, 25), 1.0, np.arange(25.0, 5, -1)])
    noisy[20] = 1e-12
    nodes, nothing = np.r_[np.linspace(0, 1, 20), 2.0, np.linspace(3, 4, 20)], np.zeros(41, bool)
    smooth = smooth_counts(nodes, noisy, nothing)
    assert smooth[20] == noisy[20] and smooth[:20].sum() == pytest.approx(noisy[:20].sum())
    without = np.delete(np.arange(41), 20)
    assert np.allclose(smooth_counts(nodes[without], noisy[without], nothing[without]), smooth[without])


def test_spreading_keeps_the_mass_and_what_is_at_one_place() -> None:
    rule = Quadrature(NODES, TRUE / TRUE.sum(), np.full(len(TRUE), 1.0))
    spread, cell = spread_out(rule, TRUE, RESOLVED, int(TRUE.sum()))
    assert np.allclose(np.bincount(cell, spread.weights), rule.weights)
    for one in (*np.flatnonzero(RESOLVED), int(np.argmax(TRUE)), 0, len(TRUE) - 1):
        assert np.sum(cell == one) == 1 and spread.nodes[cell == one] == NODES[one]
    middle = (NODES[1:] + NODES[:-1]) / 2
    inner = np.flatnonzero(np.bincount(cell) > 1)
    for one in inner:
        assert (spread.nodes[cell == one] >= middle[one - 1]).all() and (spread.nodes[cell == one] <= middle[one]).all()
    assert len(inner) > 20


def test_the_bulk_is_not_spread_into_the_gap_before_an_outlier() -> None:
    nodes = np.r_[np.linspace(0, 1e-4, 10), 0.2]
    counts = np.r_[np.full(10, 50.0), 1.0]
    rule = Quadrature(nodes, counts / counts.sum(), np.ones(11))
    spread, _ = spread_out(rule, counts, np.arange(11) == 10, 501)
    assert np.sort(spread.nodes)[-2] < 1.2e-4


@pytest.mark.parametrize("steps", [20, 21])
def test_a_node_sits_on_the_peak(steps: int) -> None:
    # The recurrence of a symmetric measure: every second Gauss rule straddles the peak at zero.
    eigenvalues = np.r_[-np.geomspace(1e-3, 1, 200), np.zeros(600), np.geomspace(1e-3, 1, 200)]
    weights = np.full(1000, 1e-3)
    vectors = [np.sqrt(weights)]
    alpha, beta = [], []
    for _ in range(steps):
        image = eigenvalues * vectors[-1]
        alpha.append(vectors[-1] @ image)
        basis = np.array(vectors)
        for _ in range(2):
            image = image - basis.T @ (basis @ image)
        beta.append(float(np.linalg.norm(image)))
        vectors.append(image / beta[-1])
    chosen = peaked(np.array(alpha), np.array(beta))
    rule = gauss(*chosen)
    heaviest = int(np.argmax(rule.weights))
    assert abs(rule.nodes[heaviest]) < 1e-10 and rule.weights[heaviest] > 0.55 and len(rule.nodes) % 2 == 1
    assert anti_gauss(*chosen).weights.sum() == pytest.approx(1)


def test_nodes_without_weight_do_no_harm() -> None:
    counts = np.array([1.0, 20.0, 1e-30, 0.0, 30.0, 1e-30, 1.0])
    rule = Quadrature(np.arange(7.0), counts / counts.sum(), np.ones(7))
    spread, cell = spread_out(rule, counts, np.zeros(7, bool), 1000)
    assert np.isfinite(spread.nodes).all() and np.allclose(np.bincount(cell, spread.weights) * 52, counts)
    assert np.sum(cell == 1) > 1
