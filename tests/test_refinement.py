"""Refined grids beside the full ones: surfaces in closed form, of quadratics and of trained networks."""

from __future__ import annotations

import numpy as np
import pytest

import landscape as ls
from landscape import zoo
from landscape._refinement import DISPLAYED, Refinement
from landscape.records.displaying import is_logarithmic
from landscape.render import heights
from tests.test_surface import StopError, quadratic


def grid(nx, ny):
    return np.meshgrid(np.linspace(-1, 1, nx), np.linspace(-1, 1, ny))


def bowl(x, y):
    return x**2 + 3 * y**2 + 0.5 * x * y + 0.1


def valley(x, y):
    return (1 - 2 * x) ** 2 + 100 * (1.5 * y + 0.5 - 4 * x**2) ** 2 + 0.1


def kink(x, y):
    return np.abs(x - 0.3 * y) + 0.2 * x**2 + 0.05


def linear_bowl(x, y):
    return 5 + x**2 - y


def steep(x, y):
    return np.exp(8 * x) + np.exp(-5 * y)


def cliff(x, y):
    return np.where(x**2 + y**2 < 0.5, 0.1 + 0.2 * x**2, 5.0)


def with_hole(x, y):
    return np.where((x - 0.5) ** 2 + y**2 < 0.1, np.nan, bowl(x, y))


def refined(true, nx, ny):
    plan, values, known = Refinement(nx, ny), np.full(true.shape, np.nan), np.zeros(true.shape, bool)
    while (wanted := plan.wanted(values, known)).any():
        assert not (wanted & known).any()
        values[wanted] = true[wanted]
        known |= wanted
    return plan.picture(values, known), known


def error_of(picture, true):
    """Of the picture that a figure shows, as a share of its range; the oracle knows the whole grid."""
    shown = np.log10 if is_logarithmic(true) else np.asarray
    limit = np.nanquantile(shown(true), DISPLAYED)
    off = np.minimum(shown(picture.values), limit) - np.minimum(shown(true), limit)
    return np.abs(off) / (limit - np.nanmin(shown(true)))


@pytest.mark.parametrize(
    ("function", "share"),
    [(bowl, 0.1), (valley, 0.25), (kink, 0.25), (linear_bowl, 0.1), (steep, 0.1), (with_hole, 0.25), (cliff, 0.35)],
)
@pytest.mark.parametrize("shape", [(101, 101), (101, 90), (97, 101)])
def test_the_picture_is_right_with_few_points(function, share, shape):
    true = function(*grid(*shape))
    picture, known = refined(true, *shape)
    assert known.mean() <= share
    assert np.array_equal(np.isnan(picture.values), np.isnan(true))
    assert np.array_equal(picture.values[known], true[known], equal_nan=True)
    error = np.nan_to_num(error_of(picture, true))
    assert error.max() <= 0.01
    assert (picture.error[known] == 0).all() and (picture.error <= 0.0101 * picture.span).all()
    assert (np.nan_to_num(picture.value_error) >= 0).all()


# Predictions of these are right by chance in whole columns, and at single points where a neighbour is far off.
OSCILLATIONS = {
    "sin(20x)": lambda x, y: 2 + np.sin(20 * x) + y**2,
    "sin(25x)": lambda x, y: 2 + np.sin(25 * x) + y**2,
    "sin(30x+7y)": lambda x, y: 2 + np.sin(30 * x + 7 * y),
    "sin(12x)cos(9y+x)": lambda x, y: 2 + np.sin(12 * x) * np.cos(9 * y + x),
}


@pytest.mark.parametrize("name", OSCILLATIONS)
@pytest.mark.parametrize("transposed", [False, True])
def test_oscillations_are_noticed(name, transposed):
    true = OSCILLATIONS[name](*grid(101, 101))
    true = true.T if transposed else true
    picture, known = refined(true, 101, 101)
    assert error_of(picture, true).max() <= 0.01
    assert (picture.error <= 0.0101 * picture.span).all()
    assert known.mean() <= (0.3 if name == "sin(12x)cos(9y+x)" else 1)


@pytest.mark.parametrize("size", [4, 7, 8, 9, 12, 15, 16, 17, 21, 31, 51, 61, 202])
def test_grids_of_all_sizes(size):
    for function in (bowl, kink, valley, steep):
        for shape in ((size, size), (size, 25), (33, size)):
            true = function(*grid(*shape))
            picture, _ = refined(true, *shape)
            assert error_of(picture, true).max() <= 0.01, (function, shape)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rough_surfaces_and_small_ones_are_computed_in_full(seed):
    noise = np.random.default_rng(seed).uniform(1, 2, (41, 53))
    picture, known = refined(noise, 53, 41)
    assert known.mean() > 0.99 and error_of(picture, noise).max() <= 0.02
    for nx, ny in ((2, 2), (3, 7), (5, 2)):
        true = np.random.default_rng(seed).uniform(1, 2, (ny, nx))
        picture, known = refined(true, nx, ny)
        assert known.all() and np.array_equal(picture.values, true)


@pytest.mark.parametrize("value", [0.0, -3.0, np.nan, np.inf])
def test_constant_surfaces_need_the_first_points_only(value):
    picture, known = refined(np.full((81, 85), value), 85, 81)
    assert known.mean() < 0.1
    assert np.isnan(picture.values[~known]).all() if not np.isfinite(value) else (picture.values == value).all()


def test_the_scale_is_that_of_the_figures():
    assert heights.is_logarithmic is is_logarithmic
    for function in (bowl, valley, linear_bowl, steep):
        values = function(*grid(31, 31))
        record = ls.Surface(x=np.arange(31.0), y=np.arange(31.0), loss=values)
        assert heights.heights(record).logarithmic == is_logarithmic(values)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_surface_in_rounds(seed, tmp_path):
    objective, _, _ = quadratic(5, seed, metrics={"mean": lambda output, target: output.mean()})
    plane = ls.Plane.through(*np.random.default_rng(seed).standard_normal((3, 5)))
    full = ls.loss_surface(objective, plane, resolution=45)
    surface = ls.loss_surface(objective, plane, resolution=45, adaptive=True)
    assert surface.evaluated.mean() < 0.35 and surface.evaluations == surface.evaluated.sum() + 3
    assert np.array_equal(surface.loss[surface.evaluated], full.loss[surface.evaluated])
    assert full.evaluated.all() and not full.loss_error.any()
    assert (surface.loss_error[surface.evaluated] == 0).all() and surface.loss_error.max() > 0
    assert abs(np.log10(surface.loss / full.loss)).max() < 0.01 * np.ptp(np.log10(full.loss))
    assert surface.metrics["mean"] == pytest.approx(full.metrics["mean"], abs=1e-9)  # linear in theta
    stop = int(np.random.default_rng(seed).integers(1, surface.evaluations))

    def interrupt(done, total, text):
        if done == stop:
            raise StopError

    options = {"resolution": 45, "adaptive": True, "state": tmp_path / "state", "checkpoint_seconds": 0}
    with pytest.raises(StopError):
        ls.loss_surface(objective, plane, progress=interrupt, **options)
    again = ls.loss_surface(objective, plane, **options)
    assert again.provenance["resumed_points"] == stop
    for name in ("loss", "evaluated", "loss_error"):
        assert np.array_equal(getattr(again, name), getattr(surface, name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits-cnn", "digits-mlp"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planes_of_trained_networks(name, seed):
    objective = zoo.build(name, samples=100)
    plane = ls.Plane.random(objective, seed)
    full = ls.loss_surface(objective, plane, resolution=101)
    surface = ls.loss_surface(objective, plane, resolution=101, adaptive=True)
    shown = np.log10 if is_logarithmic(full.loss) else np.asarray
    limit = np.quantile(shown(full.loss), DISPLAYED)
    off = np.minimum(shown(surface.loss), limit) - np.minimum(shown(full.loss), limit)
    assert abs(off).max() <= 0.01 * (limit - shown(full.loss).min())
    assert surface.evaluated.mean() <= 0.25
