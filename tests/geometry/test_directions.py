from __future__ import annotations

import numpy as np
import pytest

from landscape.errors import InputError
from landscape.geometry import Layout
from landscape.geometry.directions import filter_normalized, gaussian_directions, orthonormal, signed


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_filter_gets_the_norm_of_thetas(seed):
    shapes = {"conv": (3, 2, 3, 3), "bias": (3,), "scale": (), "linear": (4, 5), "empty": (0, 4)}
    layout = Layout(tuple(shapes), tuple(shapes.values()), sum(int(np.prod(shape)) for shape in shapes.values()))
    generator = np.random.default_rng(seed)
    theta, direction = generator.standard_normal((2, layout.n))
    theta[:18] = 0  # a dead filter
    found = dict(
        zip(layout.names, (filter_normalized(direction, theta, layout)[p] for _, p in layout.parts()), strict=True)
    )
    for name, part in layout.parts():
        if len(shapes[name]) < 2:
            assert not found[name].any()
            continue
        if not shapes[name][0]:
            continue
        for row in range(shapes[name][0]):
            ours, drawn, wanted = (
                v.reshape(shapes[name])[row].ravel() for v in (found[name], direction[part], theta[part])
            )
            assert np.linalg.norm(ours) == pytest.approx(np.linalg.norm(wanted))
            if wanted.any():
                assert ours @ drawn == pytest.approx(np.linalg.norm(ours) * np.linalg.norm(drawn))


def test_a_zero_filter_of_the_direction_stays_zero():
    layout = Layout(("w",), ((2, 2),), 4)
    assert filter_normalized(np.array([0, 0, 1.0, 0]), np.ones(4), layout) == pytest.approx([0, 0, np.sqrt(2), 0])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_pair_becomes_orthonormal_in_its_plane(seed):
    first, second = np.random.default_rng(seed).standard_normal((2, 500))
    second = first + 1e-4 * second  # nearly on a line
    found = orthonormal(first, second, "they")
    assert np.allclose(found @ found.T, np.eye(2), atol=1e-15)
    assert np.allclose(found[0], first / np.linalg.norm(first))
    for vector in (first, second):
        assert np.linalg.norm(vector - (vector @ found.T) @ found) < 1e-9 * np.linalg.norm(vector)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1, 0], [0, 0], "one of them is zero"),
        ([1, 2], [-2, -4], "on a line"),
        ([1, np.nan], [0, 1], "NaN or inf"),
    ],
)
def test_no_plane(first, second, message):
    with pytest.raises(InputError, match=message):
        orthonormal(np.array(first, float), np.array(second, float), "they")


def test_random_directions_depend_on_seed_and_index_only():
    assert np.array_equal(gaussian_directions(50, 2, 7), gaussian_directions(50, 3, 7)[:2])
    everything = np.concatenate([gaussian_directions(5000, 2, seed) for seed in (0, 1)])
    assert np.allclose(everything @ everything.T / 5000, np.eye(4), atol=0.06)


def test_the_largest_component_is_positive():
    assert signed(np.array([1.0, -3])).tolist() == [-1, 3]
    assert signed(np.array([-1.0, 3])).tolist() == [-1, 3]
