"""Every pixel of a relief shows what a ray through it meets first; nothing hidden is said to be in sight."""

from __future__ import annotations

import numpy as np
import pytest

from landscape.render.horizon import Horizon, View
from landscape.render.terrain import Terrain

BOX = np.array([1.0, 0.7, 0.5])
SIZE = 401


def made(height, size=SIZE, box=BOX, holes=None):
    """A terrain of a function of x and y, whose colours say where they are."""
    x, y = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size))
    z = height(x, y).astype(np.float32)
    texture = np.full((size, size, 4), 255, np.uint8)
    texture[..., 0], texture[..., 1], texture[..., 2] = 255 * x, 255 * y, 77
    opened = np.zeros(z.shape, bool) if holes is None else holes(x, y)
    return Terrain(box, z, opened, texture)


def hill(x, y):
    """A Gaussian hill."""
    return 0.9 * np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / (2 * 0.13**2))


def waves(seed):
    """Smooth hills and valleys from 0.1 to 0.9."""
    a, b, c = np.random.default_rng(seed).uniform(5, 11, 3)
    return lambda x, y: 0.5 + 0.2 * np.sin(a * x + c) + 0.2 * np.cos(b * y - a)


def cast(height, points, view, box, margin=0.02):
    """Which points are certainly hidden and which certainly in sight: the way of a ray to the viewer, step by step."""
    reach = np.linspace(0.004, 2.5, 4000)
    up, distance = view.lift
    towards = np.array([*(-view.away * up), distance]) / box  # cos of the elevation is horizontal
    x, y, z = (points[:, [axis]] + reach * towards[axis] for axis in range(3))
    outside = (x < 0) | (x > 1) | (y < 0) | (y > 1)
    rise = np.where(outside, -np.inf, height(x, y) - z)
    # What passes a silhouette within some pixels is decided by rounding.
    return rise.max(axis=1) > 0.02, (rise.max(axis=1) < 0) & (rise[:, reach > 0.06].max(axis=1) < -margin)


@pytest.mark.parametrize(
    ("seed", "azimuth", "elevation"), [(0, 33.0, 25.0), (1, 160.0, 40.0), (2, -75.5, 60.0), (3, 0.0, 15.0)]
)
def test_what_is_in_sight_is_what_ray_casting_says(seed, azimuth, elevation):
    height = hill if seed == 0 else waves(seed)
    horizon = Horizon(made(height), 300, elevation)
    horizon.draw(azimuth)
    plane = np.random.default_rng(seed).uniform(0.02, 0.98, (400, 2))
    points = np.column_stack([plane, height(*plane.T)])
    hidden, free = cast(height, points, horizon.view, BOX)
    seen = horizon.sees(points, 1.5)
    assert not seen[hidden].any()
    assert seen[free].all()
    assert (hidden | free).mean() > 0.7
    assert free.sum() > 40
    assert hidden.sum() > 10 or elevation == 60


def test_points_behind_a_hill_are_hidden_and_on_top_of_it_are_not():
    horizon = Horizon(made(hill), 300, 20)
    for azimuth, behind, before in (
        (0, (0.2, 0.5), (0.85, 0.5)),
        (180, (0.85, 0.5), (0.2, 0.5)),
        (90, (0.5, 0.15), (0.5, 0.9)),
    ):
        horizon.draw(azimuth)
        points = np.array([[*place, hill(*np.array(place))] for place in (behind, before, (0.5, 0.5))])
        assert horizon.sees(points, 1.5).tolist() == [False, True, True], azimuth
        points[0, 2] += 1
        assert horizon.sees(points, 1.5).all()


@pytest.mark.parametrize("seed", range(3))
def test_pixels_show_the_point_that_projection_says(seed):
    height, box = waves(seed), BOX
    random = np.random.default_rng(seed)
    azimuth, elevation = float(random.uniform(-180, 180)), float(random.uniform(35, 70))
    horizon = Horizon(made(height), 400, elevation)
    picture = horizon.draw(azimuth).astype(float)
    view = View(azimuth, elevation, 400, *horizon.middle)
    plane = random.uniform(0.05, 0.95, (400, 2))
    points = np.column_stack([plane, height(*plane.T)])
    points = points[cast(height, points, view, box, 0.05)[1]]
    assert len(points) > 60
    column, row = np.floor(view.project(points, box)).astype(int).T
    shown = picture[row, column]
    assert (shown[:, 3] == 255).all()
    # A pixel is 1/400 of the box wide, more on slopes; the colours have 255 steps.
    assert np.abs(shown[:, :2] / 255 - points[:, :2]).max() < 0.02
    assert np.abs(shown[:, :2] / 255 - points[:, :2]).mean() < 0.004
    assert np.abs(shown[:, 2] - 77).max() <= 4


def test_level_ground_covers_its_parallelogram():
    horizon = Horizon(made(lambda x, y: 0 * x), 300, 30)
    for azimuth in (0.0, 20.0, 45.0, 90.0, 200.0):
        covered = horizon.draw(azimuth)[..., 3].astype(float).sum() / 255
        assert covered == pytest.approx(BOX[0] * BOX[1] * np.sin(np.deg2rad(30)) * 300**2, rel=0.01)


def test_every_side_can_be_drawn():
    horizon = Horizon(made(lambda x, y: 0.3 + 0.2 * x, 65), 40, 40)
    for azimuth in np.concatenate([np.arange(-360, 360, 2.5), np.random.default_rng(0).uniform(0, 360, 100)]):
        covered = (horizon.draw(azimuth)[..., 3] > 0).any(axis=0)
        assert covered.sum() == covered.nonzero()[0][-1] - covered.nonzero()[0][0] + 1  # no column is left out


def test_pictures_depend_on_the_side_only():
    horizon, other = Horizon(made(waves(0)), 200, 40), Horizon(made(waves(0)), 200, 40)
    first = horizon.draw(12.5).copy()
    assert not np.array_equal(first, horizon.draw(100.0))
    assert np.array_equal(first, horizon.draw(12.5))
    assert np.array_equal(first, other.draw(12.5))


def test_a_small_turn_changes_little():
    horizon = Horizon(made(waves(1)), 300, 40)
    before, after = (horizon.draw(azimuth).astype(float) for azimuth in (50.0, 50.05))
    inside = (before[..., 3] == 255) & (after[..., 3] == 255)
    assert np.abs(before - after)[inside].mean() < 0.6  # of 255: nothing flickers


def test_holes_show_their_floor():
    opened = made(lambda x, y: 0 * x + 0.5, holes=lambda x, y: (abs(x - 0.5) < 0.15) & (abs(y - 0.5) < 0.15))
    horizon = Horizon(opened, 300, 60)
    view = View(45.0, 60.0, 300, *horizon.middle)
    picture = horizon.draw(45.0)
    column, row = np.floor(view.project(np.array([0.5, 0.5, 0.5]), BOX)).astype(int)
    shown = picture[row - 9 : row + 10, column - 9 : column + 10].reshape(-1, 4)
    assert {tuple(color) for color in shown.tolist()} == {(255, 255, 255, 255), (138, 138, 138, 255)}  # hatched
    whole = Horizon(made(lambda x, y: 0 * x + 0.5), 300, 60).draw(45.0)
    assert np.array_equal(picture[..., 3], whole[..., 3])
    assert np.isnan(opened.height(np.array([0.5]), np.array([0.5]))).all()
    assert not horizon.sees(np.array([[0.5, 0.5, np.nan]]), 1.0).any()


def test_more_samples_are_the_same_picture_with_smoother_edges():
    ground = made(waves(2))
    rough, fine = (Horizon(ground, 200, 35, across, 4).draw(30.0).astype(float) for across in (1, 4))
    assert np.abs(rough - fine).mean() < 2
    partly = [((picture[..., 3] > 0) & (picture[..., 3] < 255)).sum() for picture in (rough, fine)]
    assert partly[1] > partly[0]
