"""The barrier of a path: holes, its error where there is none, its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

import landscape as ls

S = np.linspace(0, 1, 5)


def profile(loss: list[float], samples: np.ndarray | None = None, s: np.ndarray = S) -> ls.PathProfile:
    parts = np.zeros((0, len(s))) if samples is None else samples
    return ls.PathProfile(s=s, loss=np.array(loss), samples=parts, sample_weights=np.ones(len(parts)))


def test_a_hole_may_hide_a_summit():
    assert math.isnan(profile([1, 2, math.nan, 2, 1]).barrier)
    assert math.isnan(profile([1, 2, math.nan, 2, 1]).barrier_at)
    assert profile([1, math.inf, 3, 2, 1]).barrier == math.inf
    assert math.isnan(profile([1, math.inf, math.nan, 2, 1]).barrier)
    beyond = profile([math.nan, 1, 2, 1, math.inf], s=np.array([-0.5, 0, 0.5, 1, 1.5]))
    assert (beyond.barrier, beyond.barrier_at) == (1.0, 0.5)


def test_without_both_ends_there_is_no_chord():
    found = profile([1, 2, 1], s=np.array([0, 0.5, 0.9]))
    assert math.isnan(found.barrier) and math.isnan(found.barrier_stderr) and np.isnan(found.barrier_band()).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("height", [-0.3, 0.0, 0.3])
def test_the_error_is_that_of_the_largest_excess_between_the_ends(seed, height):
    random = np.random.default_rng(seed)
    shape = np.array([0, 0.5, 1, 0.5, 0]) * height
    samples = 1 + shape + random.normal(size=(40, 1)) + 0.2 * random.normal(size=(40, 5))
    found = profile(samples.mean(0).tolist(), samples)
    place = 1 + int(np.argmax(found.excess[1:-1]))
    each = samples[:, place] - (1 - S[place]) * samples[:, 0] - S[place] * samples[:, -1]
    assert found.inner_excess == pytest.approx(each.mean(), abs=1e-12)
    assert found.barrier == max(0.0, found.inner_excess)
    assert found.barrier_stderr == pytest.approx(each.std(ddof=1) / np.sqrt(40), rel=1e-12) and found.barrier_stderr > 0
    low, high = found.barrier_band()
    assert 0 <= low <= found.barrier <= high or (height < 0 and low == high == 0)
    assert low == pytest.approx(max(0, found.inner_excess - 2.0227 * found.barrier_stderr), abs=1e-4)
    assert high == pytest.approx(max(0, found.inner_excess + 2.0227 * found.barrier_stderr), abs=1e-4)


def test_two_points_have_nothing_between():
    found = profile([1, 2], s=np.array([0.0, 1.0]))
    assert found.barrier == 0 and math.isnan(found.inner_excess)
