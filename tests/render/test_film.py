"""Frames: every marker is where its checkpoint is, a frame depends on its number only, and panels keep their limits."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from landscape import render
from landscape.errors import InputError
from landscape.render.film_schedule import schedule, sorted_densities
from landscape.render.runs import run_style
from tests.render.legibility import assert_film_legible, written_in
from tests.render.surface_cases import UNUSUAL, densities, surface, with_holes

SIZE = (960, 540)


def centroid(film, frame, index):
    """Column and row of the middle of a run's marker on the map, from its colour alone."""
    left, top, right, bottom = film.map_box
    color = np.round(255 * np.array(to_rgb(run_style(index).bright)))
    rows, columns = np.nonzero((np.abs(frame[top : bottom + 1, left : right + 1] - color) <= 1).all(axis=-1))
    assert len(rows) > 20, "no marker"
    return columns.mean() + left, rows.mean() + top


@pytest.mark.parametrize(("seed", "size"), [(0, SIZE), (1, (1920, 1080)), (2, SIZE)])
def test_frame_k_shows_checkpoint_k(seed, size):
    record = surface(runs=1, seed=seed, checkpoints=30)
    film = render.Film(record, frames=30, size=size)
    assert len(film) == 30
    for k in (0, 1, 11, 29):
        assert np.array_equal(film.position(k)[0], record.path_coordinates[k])
        column, row = centroid(film, film.frame(k).astype(int), 0)
        expected = film.pixel(*record.path_coordinates[k])
        assert np.hypot(column - expected[0], row - expected[1]) < (1 if size[0] > 1000 else 0.7)


@pytest.mark.parametrize("spread", [1.5, 100.0])  # linear, logarithmic
def test_the_loss_that_is_written_is_that_of_the_dot(spread):
    record = surface(runs=1, checkpoints=3)
    record = replace(record, path_loss=np.array([spread, 1.0, 0.69997]), path_projected_loss=np.ones(3))
    film = render.Film(record, frames=9, size=SIZE)
    panel = film._losses
    assert panel.logarithmic == (spread > 5)
    for k in range(9):
        text = next(words for words in written_in(film, k) if words.startswith("loss "))
        shown = panel.axes.transData.inverted().transform(panel._dots[0].get_center())[1]
        assert float(text.removeprefix("loss ")) == pytest.approx(shown, rel=6e-3)
        assert len(text.removeprefix("loss ").replace(".", "").lstrip("0")) == 3  # no jumps in width


def test_pixels_are_those_of_the_axes():
    record = surface(runs=1)
    film = render.Film(record, size=SIZE)
    left, top, _, bottom = film.map_box
    frame = film.frame(0).astype(int)
    outside = frame[top : bottom + 1, left - 6]
    assert (np.median(outside, axis=0) == 255).all()  # the page
    inside = frame[top + 6 : bottom - 6, left + 6]
    assert (np.abs(inside - 255).max(axis=1) > 3).all()  # the map
    assert film.pixel(record.x[0], record.y[0])[1] > film.pixel(record.x[0], record.y[-1])[1]  # rows count downwards


def test_the_map_of_a_wide_plane_begins_at_the_top():
    square = surface(runs=1)
    wide = replace(square, y=square.y * 0.4, path_coordinates=square.path_coordinates * [1, 0.4])
    boxes = [render.Film(record, size=SIZE, frames=2).map_box for record in (square, wide)]
    assert boxes[1][1] - boxes[0][1] in (0, 1)  # the first row of pixels; the square one fills its part
    left, top, right, bottom = boxes[1]
    assert (bottom - top) / (right - left) == pytest.approx(np.ptp(wide.y) / np.ptp(wide.x), rel=0.02)


def test_several_runs_move_together():
    record = surface(runs=2, checkpoints=30)
    film = render.Film(record, frames=30, size=SIZE)
    for k in (12, 29):
        for index, run in enumerate(record.paths):
            found = centroid(film, film.frame(k).astype(int), index)
            assert np.hypot(*np.subtract(found, film.pixel(*run.coordinates[k]))) < 1


def test_frames_between_checkpoints_and_runs_of_different_length():
    record = surface(runs=2, checkpoints=20)
    kept = (record.path_run == 0) | (record.path_step <= 100)  # the second run ends early
    fields = [name for name in vars(record) if name.startswith("path_") and len(getattr(record, name)) == len(kept)]
    record = replace(record, **{name: getattr(record, name)[kept] for name in fields})
    film = render.Film(record, frames=39, size=SIZE)  # every second frame is a checkpoint
    first, second = record.paths
    assert np.array_equal(film.steps[::2], first.steps)
    assert np.allclose(film.position(7)[0], first.coordinates[3:5].mean(axis=0))
    assert np.array_equal(film.position(38)[1], second.coordinates[-1])
    # Other steps: evenly over the steps.
    record = replace(record, path_step=np.where(record.path_run == 1, record.path_step + 5, record.path_step))
    assert np.allclose(np.diff(render.Film(record, frames=20, size=SIZE).steps), 10)


def test_default_length():
    for checkpoints, frames in ((20, 150), (200, 200), (3000, 1800)):
        assert len(schedule(surface(runs=1, checkpoints=checkpoints).paths)) == frames
    assert schedule(surface(runs=1, checkpoints=1).paths, 1).tolist() == [0]
    assert len(render.Film(surface(), size=(640, 360))) == 150


def test_a_frame_depends_on_its_number_only():
    record, series = with_holes(runs=2)[0], densities()
    first = render.Film(record, densities=series, size=SIZE, frames=20)
    second = render.Film(record, densities=series, size=SIZE, frames=20)
    for k in (19, 3, 0, 11):
        second.frame(k)
    for k in (0, 3, 11, 19):
        assert np.array_equal(first.frame(k), second.frame(k))
    assert np.array_equal(first.frame(-1), first.frame(19))
    assert not np.array_equal(first.frame(0), first.frame(19))
    assert first.frame(5).shape == (540, 960, 3)
    assert np.array_equal(first.draw(5)[..., :3], first.frame(5))


def test_curves_are_in_full_colour_up_to_the_cursor_only():
    film = render.Film(surface(runs=1, checkpoints=30), frames=30, size=(1920, 1080))
    line = np.round(255 * np.array(to_rgb(run_style(0).line)))
    reached = []
    for k in (5, 15, 29):
        frame = film.frame(k).astype(int)[:, 1380:]  # the right column
        reached.append(np.nonzero((np.abs(frame - line) <= 1).all(axis=-1))[1].max())
    spans = np.diff(reached)
    assert np.isclose(spans[0] / spans[1], 10 / 14, rtol=0.1)


def test_densities_keep_limits_and_sigma():
    from matplotlib.figure import Figure

    from landscape.render.film_density import DensityPanel

    series = densities(4)
    panel = DensityPanel(Figure().add_subplot(), sorted_densities(series, surface().paths))
    low, high = panel.axes.get_xlim()
    assert low < min(record.lambda_min for _, record in series)
    assert high > max(record.lambda_max for _, record in series)
    assert panel.sigma == max(record.default_sigma for _, record in series)
    for curve, (_, record) in zip(panel.curves, series, strict=True):
        assert np.array_equal(curve, record.pdf(panel.x, panel.sigma))
        assert curve.max() < panel.axes.get_ylim()[1]


def test_the_last_density_so_far_is_shown():
    record, series = surface(runs=1, checkpoints=31), densities(3)  # at steps 0, 100 and 200 of 300
    film = render.Film(record, densities=series, frames=31, size=SIZE)
    area = np.s_[380:, 640:]
    shown = [film.frame(k)[area] for k in (0, 9, 10, 19, 20, 30)]
    changes = [not np.array_equal(first, second) for first, second in pairwise(shown)]
    assert changes == [False, True, False, True, False]


def test_the_panel_says_whose_density_it_is_and_how_good():
    series = densities(3)
    facts = (
        {"provenance": {"run": "ProxSGD"}, "error": 0.293, "tol": 0.2},
        {"provenance": {"run": "Rprop"}, "error": 0.0487, "tol": 0.05, "converged": True},
        {},
    )
    series = [(step, replace(density, **fact)) for (step, density), fact in zip(series, facts, strict=True)]
    film = render.Film(surface(runs=2, checkpoints=31), densities=series, frames=31, size=SIZE)
    assert [(moment.run, moment.place) for moment in film.densities] == [("ProxSGD", 1), ("Rprop", None), ("", None)]
    for k, heading, quality in (
        (0, "Hessian of ProxSGD, step 0", "predicted error 0.29 · not converged to 0.2"),
        (10, "Hessian of Rprop, step 100", "predicted error 0.049"),
        (20, "Hessian, step 200", "eigenvalue density, error not known"),
    ):
        written = written_in(film, k)
        assert heading in written
        assert quality in written
    alone = render.Film(surface(runs=1, checkpoints=31), densities=densities(1), frames=3, size=SIZE)
    assert alone.densities[0][2:] == ("SGD", 0)


SELDOM = [pytest.param(name, marks=pytest.mark.slow) for name in ("negative", "huge range", "runs outside", "diverged")]


@pytest.mark.parametrize("name", ["constant", "no finite value", "seven runs", "strip", *SELDOM])
def test_unusual_surfaces_are_filmed_legibly(name):
    record = UNUSUAL[name]()
    if not record.paths:
        record = replace(surface(), loss=record.loss)
    options = {"frames": 3, "size": SIZE, "title": "digits-mlp", "densities": densities(2)}
    assert_film_legible(lambda: render.Film(record, **options))


def test_words():
    film = render.Film(UNUSUAL["runs outside"](), frames=3, size=SIZE)
    assert {"step 0", "outside of the map"} <= set(written_in(film, 0))
    assert "step 390" in written_in(film, 2)


@pytest.mark.parametrize(
    ("record", "options", "message"),
    [
        (surface(runs=0), {}, "no recorded run, so nothing moves"),
        (UNUSUAL["one row"](), {}, "31 × 1 points is no landscape to walk on"),
        (surface(), {"size": (1921, 1080)}, "1921 × 1080 pixels, but the video format needs even numbers; give 1922"),
        (surface(), {"size": (320, 200)}, "give a wide picture"),
        (surface(), {"size": (1080, 1920)}, "give a wide picture"),
        (surface(), {"frames": 0}, "0 frames make no video"),
        (surface(), {"metric": "error"}, "no metric 'error'; it has: accuracy"),
        (surface(), {"densities": [*densities(1), *densities(1)]}, "two densities belong to the same step"),
        (
            surface(checkpoints=10),
            {"densities": densities(2)},
            "a density at step 100 would not be shown: the runs have st",
        ),
        (surface(runs=1, checkpoints=10), {"densities": densities(2)}, "not be shown: the run SGD has steps 0 to 90"),
        (replace(surface(), path_step=np.zeros(80, int)), {}, "the steps of the run SGD do not ascend"),
    ],
)
def test_bad_input(record, options, message):
    with pytest.raises(InputError, match=message):
        render.Film(record, **options)


def test_there_is_no_such_frame():
    film = render.Film(surface(), frames=5, size=(640, 360))
    with pytest.raises(InputError, match="there is no frame 5: the film has 5, 0 to 4"):
        film.frame(5)
