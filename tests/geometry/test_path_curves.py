"""Lengths, positions and directions of curves against closed forms and fine quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

import landscape as ls
from landscape.geometry.arc_length import ArcLength


def circle(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, 2)))[0].T
    return first, second


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("angle", [1e-12, 1e-4, 0.3, np.pi / 2, 3.0])
def test_a_spherical_path_is_an_arc_of_a_circle(seed, angle):
    first, second = circle(seed)
    centre = np.random.default_rng(seed + 9).standard_normal(40)
    radius = 3.0
    a, b = centre + radius * first, centre + radius * (np.cos(angle) * first + np.sin(angle) * second)
    path = ls.SphericalPath(a, b, origin=centre)
    assert path.length == pytest.approx(radius * angle, rel=1e-9, abs=1e-14)
    for s in (0.0, 0.2, 0.5, 0.9):
        turned = np.cos(s * angle) * first + np.sin(s * angle) * second
        assert path.point(s) == pytest.approx(centre + radius * turned, abs=1e-9)
        if angle > 1e-6:
            assert path.tangent(s) == pytest.approx(np.cos(s * angle) * second - np.sin(s * angle) * first, abs=1e-7)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_norm_changes_linearly_between_ends_of_different_norms(seed):
    first, second = circle(seed)
    small, large, angle = 1.0, 4.0, 2.0
    a, b = small * first, large * (np.cos(angle) * first + np.sin(angle) * second)
    path = ls.SphericalPath(a, b)
    # The spiral r = small + (large - small) t, angle t·angle.
    exact = quad(lambda t: np.hypot(large - small, (small + (large - small) * t) * angle), 0, 1, epsabs=1e-13)[0]
    assert path.length == pytest.approx(exact, rel=1e-12)
    for s in (0.1, 0.5, 0.8):
        x = path.point(s)
        r, turned = np.linalg.norm(x), np.arctan2(x @ second, x @ first)
        assert (r - small) / (large - small) == pytest.approx(turned / angle, abs=1e-12)
        reached = quad(lambda t: np.hypot(large - small, (small + (large - small) * t) * angle), 0, turned / angle)[0]
        assert reached / exact == pytest.approx(s, abs=1e-12)


def test_parallel_ends_are_joined_by_a_straight_line():
    a = np.array([1.0, 2.0, 2.0])
    path = ls.SphericalPath(a, 3 * a)
    assert path.length == pytest.approx(6) and path.point(0.25) == pytest.approx(1.5 * a)
    assert path.tangent(0.5) == pytest.approx(a / 3) and path.coordinates([0.5]).shape == (0, 2)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("degree", [2, 3])
def test_bezier_curves(seed, degree):
    points = np.random.default_rng(seed).standard_normal((degree + 1, 30))
    path = ls.BezierPath(points[0], points[-1], points[1:-1])
    differences = degree * np.diff(points, axis=0)
    lower = {1: lambda t: [1 - t, t], 2: lambda t: [(1 - t) ** 2, 2 * t * (1 - t), t**2]}[degree - 1]
    upper = {
        2: lambda t: [(1 - t) ** 2, 2 * t * (1 - t), t**2],
        3: lambda t: [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3],
    }[degree]

    def speed(t):
        return np.linalg.norm(np.array(lower(t)) @ differences)

    exact = quad(speed, 0, 1, epsabs=1e-13)[0]
    assert path.length == pytest.approx(exact, rel=1e-12)
    for t in (0.0, 0.1, 0.5, 0.83, 1.0):
        s = quad(speed, 0, t, epsabs=1e-13)[0] / exact
        assert path.point(min(s, 1.0)) == pytest.approx(np.array(upper(t)) @ points, abs=1e-11)
        assert path.tangent(min(s, 1.0)) == pytest.approx(np.array(lower(t)) @ differences / speed(t), abs=1e-10)


def test_a_bezier_curve_that_turns_back_on_itself():
    path = ls.BezierPath(np.array([0.0]), np.array([1.0]), [np.array([2.0])])  # 4t - 3t², up to 4/3 and back
    assert path.length == pytest.approx(4 / 3 + 1 / 3, rel=1e-13)
    assert path.point(0.8)[0] == pytest.approx(4 / 3, abs=1e-12)
    assert path.point(0.4)[0] == pytest.approx(2 / 3, abs=1e-12) and path.point(0.9)[0] == pytest.approx(
        7 / 6, abs=1e-12
    )
    assert path.tangent(0.5) == 1 and path.tangent(0.95) == -1


def test_a_bezier_curve_that_stands_still_at_an_end_has_a_direction_there():
    a, b = np.array([0.0, 0.0]), np.array([3.0, 4.0])
    path = ls.BezierPath(a, b, [a])
    assert path.length == pytest.approx(5, rel=1e-12)
    for s in (-0.5, 0.0, 0.25, 1.0):
        assert path.point(s) == pytest.approx(s * b, abs=1e-6) and path.tangent(s) == pytest.approx(b / 5)


def test_a_polygonal_chain():
    corners = [np.array([3.0, 0.0]), np.array([3.0, 4.0])]
    path = ls.PolygonalPath(np.zeros(2), np.array([1.0, 4.0]), corners)
    assert path.length == pytest.approx(3 + 4 + 2, rel=1e-14)
    for walked, expected in ((1.5, [1.5, 0]), (3, [3, 0]), (5, [3, 2]), (7, [3, 4]), (8, [2, 4])):
        assert path.point(walked / 9) == pytest.approx(expected, abs=1e-12)
    assert path.tangent(1 / 9) == pytest.approx([1, 0]) and path.tangent(8 / 9) == pytest.approx([-1, 0])
    assert path.tangent(3 / 9) == pytest.approx([np.sqrt(0.5), np.sqrt(0.5)], abs=1e-9)  # halfway at a corner
    back = ls.PolygonalPath(np.zeros(1), np.ones(1), [np.array([2.0])])
    assert back.length == pytest.approx(3) and back.tangent(2 / 3) == -1


def test_lengths_of_speeds_with_corners_and_jumps():
    arc = ArcLength(lambda t: np.abs(t - 0.3), (0.0, 1.0))
    assert arc.length == pytest.approx((0.3**2 + 0.7**2) / 2, rel=1e-14)
    assert arc.parameter(0.3**2 / (0.3**2 + 0.7**2)) == pytest.approx(0.3, abs=1e-7)
    jumps = ArcLength(lambda t: np.where(t < 0.25, 1.0, 5.0), (0.0, 0.25, 1.0))
    assert jumps.length == pytest.approx(4, rel=1e-15)
    for t in np.linspace(0, 1, 41):
        assert jumps.parameter(jumps.share(t)) == pytest.approx(t, abs=1e-14)
    assert (jumps.parameter(-1), jumps.parameter(2)) == (0, 1)
