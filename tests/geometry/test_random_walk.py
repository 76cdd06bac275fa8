from __future__ import annotations

import numpy as np
import pytest

from landscape.errors import InputError
from landscape.geometry import random_walk_shares


def simulated(steps: list[list[int]], n: int, seed: int) -> np.ndarray:
    """Shares of the variance of real random walks, by singular values."""
    generator = np.random.default_rng(seed)
    points = []
    for one in steps:
        walk = np.cumsum(generator.standard_normal((max(one) + 1, n)), 0)
        points.append(walk[np.asarray(one)] - walk[one[0]])
    centred = np.concatenate(points) - np.concatenate(points).mean(0)
    squares = np.linalg.svd(centred, compute_uv=False) ** 2
    return squares / squares.sum()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "steps",
    [
        [list(range(40))],
        [[0, 1, 2, 4, 8, 16, 32, 64]],
        [[5, 6, 9, 20]],
        [list(range(0, 60, 3)), list(range(0, 30, 2))],
    ],
    ids=["even", "uneven", "not from zero", "two runs"],
)
def test_simulated_walks_in_high_dimension(steps, seed):
    assert np.allclose(random_walk_shares(steps), simulated(steps, 20000, seed), atol=0.02)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_walks_from_different_starts(seed):
    generator = np.random.default_rng(seed)
    starts = 4 * generator.standard_normal((2, 20000))
    scales = [np.ones(20), 3 * 0.8 ** np.arange(12)]
    walks = [
        start + np.cumsum(np.append(0, scale)[:, None] * generator.standard_normal((len(scale) + 1, 20000)), 0)
        for start, scale in zip(starts, scales, strict=True)
    ]
    points = np.concatenate(walks)
    squares = np.linalg.svd(points - points.mean(0), compute_uv=False) ** 2
    sums = [20000 * np.cumsum(np.append(0, scale**2)) for scale in scales]
    assert np.allclose(random_walk_shares(sums, starts @ starts.T), squares / squares.sum(), atol=0.02)


def test_long_walks_tend_to_six_over_pi_squared():
    shares = random_walk_shares([range(2000)])
    assert np.allclose(shares[:5], 6 / (np.pi * np.arange(1, 6)) ** 2, atol=1e-3)
    assert shares.sum() == pytest.approx(1)
    assert (np.diff(shares) <= 1e-15).all()


def test_the_first_step_and_the_unit_of_steps_mean_nothing():
    expected = random_walk_shares([[0, 1, 3]])
    assert np.allclose(random_walk_shares([[100, 110, 130]]), expected)


@pytest.mark.parametrize("steps", [[[0]], [[3, 3]], [[]]])
def test_no_steps_no_walk(steps):
    with pytest.raises(InputError, match="two different points"):
        random_walk_shares(steps)
