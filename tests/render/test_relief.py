"""The relief: runs lie on the surface, and what a hill hides is drawn as hidden."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from landscape import render
from landscape.errors import InputError
from landscape.render.heights import heights
from landscape.render.relief_page import ReliefPage
from tests.render.legibility import HOSTILE, all_text, assert_contrast, assert_legible
from tests.render.surface_cases import UNUSUAL, surface, with_holes


def ridge(height=1.0, runs=1):
    """A ridge along y in the middle of x, and a run on its low side, parallel to it."""
    record = surface(41, 41, runs, 20, value=lambda x, y: 0 * x + 0 * y)
    x = np.linspace(-1, 1, 41)
    coordinates = np.column_stack([np.full(20, -0.6), np.linspace(-0.8, 0.8, 20)])
    loss = height * np.exp(-((x[None, :] / 0.12) ** 2)) + 0 * x[:, None]
    return replace(record, x=x, y=x, loss=loss, path_coordinates=coordinates)


def lengths(figure):
    """Which part of the runs is drawn as in sight and which as hidden, in dots."""
    found = {"run 0": 0.0, "run 0 hidden": 0.0}
    for patch in figure.axes[0].patches:
        if patch.get_gid() in found and patch.get_edgecolor()[:3] != (1.0, 1.0, 1.0):
            pieces = patch.get_path().vertices
            joined = patch.get_path().codes[1:] == 2 if patch.get_path().codes is not None else slice(None)
            found[patch.get_gid()] += float(np.linalg.norm(np.diff(pieces, axis=0), axis=1)[joined].sum())
    total = sum(found.values())
    return tuple(round(length / total, 2) for length in found.values())


def test_a_run_behind_a_ridge_is_hidden_and_in_front_of_it_is_not():
    assert lengths(render.relief(ridge(), log=False, azimuth=0, elevation=12)) == (0, 1)
    assert lengths(render.relief(ridge(), log=False, azimuth=180, elevation=12)) == (1, 0)
    assert lengths(render.relief(ridge(), log=False, azimuth=0, elevation=80)) == (1, 0)
    assert lengths(render.relief(ridge(), log=False)) == (1, 0)  # the view is chosen so


@pytest.mark.parametrize("seed", range(3))
def test_runs_lie_on_the_surface_at_the_height_that_the_axis_names(seed):
    a, b = np.random.default_rng(seed).uniform(-1, 1, 2)
    record = surface(value=lambda x, y: 5 + a * x + b * y, runs=1, seed=seed)
    page = ReliefPage(record, heights(record, log=False), 30.0, 60.0, None)
    points = page.ground(record.path_coordinates)
    marks, texts = page.scene.marks
    scale = np.polyfit(marks, [float(text.replace("−", "-")) for text in texts], 1)
    expected = 5 + record.path_coordinates @ [a, b]
    assert np.abs(np.polyval(scale, points[:, 2]) - expected).max() < 0.01 * np.ptp(record.loss)
    place = (record.path_coordinates - (record.x[0], record.y[0])) / (np.ptp(record.x), np.ptp(record.y))
    assert np.allclose(points[:, :2], place)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_markers_are_where_the_ends_of_the_runs_are(seed):
    record = surface(runs=2, seed=seed)
    figure = render.relief(record, azimuth=200.0 + 50 * seed, elevation=50)
    page = ReliefPage(record, heights(record), 200.0 + 50 * seed, 50, None)
    ends = [line.get_xydata()[0] for line in figure.axes[0].lines if line.get_marker() not in ("None", "")]
    places = [run.coordinates[[index]] for run in record.paths for index in (0, -1)]
    expected = [page.view.project(page.ground(place), page.terrain.box)[0] for place in places]
    assert np.allclose(ends, expected, atol=1e-6)


def test_holes_stay_open():
    record, holes = with_holes()
    figure = render.relief(record)
    assert f"no finite loss: {holes.sum()} points of 775" in all_text(figure)
    picture = figure.axes[0].images[0].get_array()
    white = (picture[..., :3] == 255).all(axis=-1) & (picture[..., 3] == 255)
    whole = render.relief(surface()).axes[0].images[0].get_array()
    assert white.mean() > 0.01
    assert not ((whole[..., :3] == 255).all(axis=-1) & (whole[..., 3] == 255)).any()


SELDOM = (
    "seven runs",
    "points",
    "two by two",
    "negative",
    "strip",
    "huge range",
    "tiny range",
    "some zeros",
    "runs outside",
    "eigenvectors",
)


@pytest.mark.parametrize("name", ["constant", *(pytest.param(name, marks=pytest.mark.slow) for name in SELDOM)])
def test_unusual_surfaces_are_drawn_legibly(name):
    figure = render.relief(UNUSUAL[name](), title="digits-mlp")
    assert_legible(figure)
    assert_contrast(figure)


SIDES = ((100, 45), (-165, 60), (-70, 75), (20, 30), (45, 90))


@pytest.mark.parametrize(
    ("azimuth", "elevation"), [(0, 40), (30, 5), *(pytest.param(*side, marks=pytest.mark.slow) for side in SIDES)]
)
def test_numbers_can_be_read_from_every_side(azimuth, elevation):
    assert_legible(render.relief(surface(), azimuth=azimuth, elevation=elevation))


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize(
    "kind", ["markup", *(pytest.param(kind, marks=pytest.mark.slow) for kind in HOSTILE if kind != "markup")]
)
def test_hostile_words(kind):
    words = HOSTILE[kind]
    record = replace(surface(9, 7, 1, 5), axes=np.array([words, words]), path_names=np.array([words]), unit=words)
    assert_legible(render.relief(replace(record, metrics={words: record.loss}), metric=words, title=words))


def test_files_are_the_same_every_time(tmp_path):
    for suffix in ("png", "svg"):
        first, second = (tmp_path / f"{name}.{suffix}" for name in ("first", "second"))
        for path in (first, second):
            render.relief(surface(), path)
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("record", "options", "message"),
    [
        (UNUSUAL["one row"](), {}, "31 × 1 points has no relief"),
        (UNUSUAL["one point"](), {}, "1 × 1 points has no relief"),
        (UNUSUAL["no finite value"](), {}, "no point of the grid has a finite loss"),
        (surface(), {"elevation": 0}, "elevation is 0; give degrees above the plane"),
        (surface(), {"azimuth": np.nan}, "azimuth is nan"),
        (surface(), {"metric": "error"}, "no metric 'error'"),
        (surface(), {"path": "relief.mp4"}, "must end in one of"),
    ],
)
def test_bad_input(record, options, message):
    with pytest.raises(InputError, match=message):
        render.relief(record, **options)


def test_flat_ground_hides_nothing():
    assert lengths(render.relief(ridge(height=0.0), azimuth=0, elevation=10))[1] == 0
    assert_legible(render.contour(ridge(height=0.0)))


def test_the_caption_says_at_which_height_runs_lie():
    record = replace(surface(), path_distance=np.linspace(0, 2.5, 80))
    text = all_text(render.relief(record))
    assert "at the projected loss; the checkpoints themselves are up to 2.5 away from the plane" in text
    assert "accuracy of the projections" in all_text(render.relief(record, metric="accuracy"))
    assert "runs lie" not in all_text(render.relief(surface(runs=0)))
