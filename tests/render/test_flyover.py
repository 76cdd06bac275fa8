"""The flyover: markers where projection says, hidden ways pale, a turn without a seam, and words that can be read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from landscape.errors import InputError
from landscape.render.camera import path_of
from landscape.render.flyover import Flyover
from landscape.render.heights import heights
from landscape.render.runs import run_style
from landscape.render.terrain import terrain
from tests.render.legibility import HOSTILE, assert_film_legible, written_in
from tests.render.surface_cases import UNUSUAL, densities, surface, with_holes

SIZE = (960, 540)
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]


def ridge(**changes):
    """A ridge along y in the middle of x, and a run on its low side, parallel to it."""
    record = surface(41, 41, 1, 20, value=lambda x, y: 0 * x + 0 * y)
    x = np.linspace(-1, 1, 41)
    coordinates = np.column_stack([np.full(20, -0.5), np.linspace(-0.8, 0.8, 20)])
    loss = np.exp(-((x[None, :] / 0.12) ** 2)) + 0 * x[:, None]
    return replace(record, x=x, y=x, loss=loss, path_coordinates=coordinates, **changes)


def colored(film, frame, color):
    left, top, right, bottom = film.map_box
    wanted = np.round(255 * np.array(to_rgb(color)))
    rows, columns = np.nonzero((np.abs(frame[top : bottom + 1, left : right + 1] - wanted) <= 1).all(axis=-1))
    return columns + left, rows + top


@pytest.mark.parametrize("seed", SEEDS)
def test_markers_are_where_their_checkpoints_are(seed):
    record = surface(runs=1, seed=seed, checkpoints=30)
    film = Flyover(record, frames=30, size=(1920, 1080))
    for k in (0, 13, 29):
        columns, rows = colored(film, film.frame(k).astype(int), run_style(0).bright)
        assert len(rows) > 20, "no marker"
        expected = film.pixel(*record.path_coordinates[k])
        assert np.hypot(columns.mean() - expected[0], rows.mean() - expected[1]) < 1


def test_the_view_is_chosen_so_that_the_run_is_in_sight():
    film = Flyover(ridge(), log=False, frames=40, size=SIZE)
    assert np.cos(np.deg2rad(film.azimuths)).mean() < 0  # the viewer is on the run's side of the ridge
    film.draw(39)
    trail = film._map.trails[0]
    assert film._map.horizon.sees(trail.run.points, 1.5).mean() > 0.98


def test_a_run_behind_a_ridge_is_hidden():
    film = Flyover(ridge(), log=False, frames=40, size=SIZE)
    relief, low = film._map, film._map.elevation
    relief.elevation = 20.0
    relief.azimuths[:] = 5.0
    from landscape.render.horizon import Horizon

    relief.look(39)
    relief.horizon = Horizon(relief.terrain, relief.view.scale, 20.0)
    frame = film.frame(39).astype(int)
    assert low != 20.0
    assert not relief.horizon.sees(relief.trails[0].run.points, 1.5).any()
    assert len(colored(film, frame, run_style(0).bright)[0]) == 0  # the marker is pale
    assert [shape.dashes is not None for shape in relief.trails[0].shapes(1e9)] == [True]


def test_a_full_turn_ends_where_it_began():
    film = Flyover(surface(runs=1, checkpoints=30, value=lambda x, y: 1 + 0.1 * x + 0 * y), frames=360, size=SIZE)
    assert abs(film.azimuths[-1] - film.azimuths[0]) == 360
    first, last = film.frame(0), film.frame(359)
    left, top, right, bottom = film.map_box
    same = (first == last)[top : bottom + 1, left : right + 1].all(axis=-1)
    assert same.mean() > 0.97  # all but the run
    turn = np.diff(film.azimuths)
    assert np.abs(turn).max() < 1.5
    assert abs(turn[0]) < 0.05 * np.abs(turn).max()
    assert (np.sign(turn) == np.sign(turn[100])).all()


@pytest.mark.parametrize("frames", [1, 2, 50])
def test_paths_of_the_viewer(frames):
    found = path_of(-120, 30, frames)
    assert found.shape == (frames,)
    assert found[-1] == pytest.approx(-90)
    assert frames == 1 or found[0] == 30
    assert np.allclose(found - 30, (-120 - (found - 30))[::-1]) or frames == 1  # the same way from both ends


def test_a_frame_depends_on_its_number_only():
    record = with_holes(runs=2)[0]
    first, second = (Flyover(record, densities=densities(), frames=12, size=SIZE) for _ in range(2))
    for k in (11, 3, 0, 7):
        second.frame(k)
    for k in (0, 7, 11):
        assert np.array_equal(first.frame(k), second.frame(k))
    assert not np.array_equal(first.frame(0), first.frame(11))


def test_holes_stay_holes():
    record, holes = with_holes(runs=1)
    film = Flyover(record, frames=3, size=SIZE)
    ground = film._map.terrain
    x, y = (record.x - record.x[0]) / np.ptp(record.x), (record.y - record.y[0]) / np.ptp(record.y)
    corners = holes[:-1, :-1] | holes[1:, :-1] | holes[:-1, 1:] | holes[1:, 1:]
    middle = np.meshgrid((x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2)
    assert np.array_equal(np.isnan(ground.height(*middle)), corners)
    found = "\n".join(text.get_text() for legend in film.figure.legends for text in legend.get_texts())
    assert f"no finite loss: {holes.sum()} points" in found


@pytest.mark.parametrize("seed", SEEDS)
def test_the_ground_goes_through_every_value_and_invents_no_extremes(seed):
    random = np.random.default_rng(seed)
    x, y = np.cumsum(random.uniform(1, 2, 11)), np.linspace(0, 1, 9)
    x = (x - x[0]) / np.ptp(x)
    values = random.uniform(1, 2, (9, 11))
    record = replace(surface(runs=0), x=x, y=y, loss=values)
    shown = heights(record, log=False)
    ground = terrain(record, shown, np.array([1.0, 1.0, 0.6]), 500, 0.0)
    found = ground.height(*np.meshgrid(x, y))
    assert np.abs(found - shown.position(values)).max() < 0.02  # between two texels
    # Along the lines of the grid, nothing beyond the two values beside it.
    for row in (0, 4, 8):
        line = ground.z[round(y[row] * (ground.z.shape[0] - 1))]
        place = np.searchsorted(x, np.linspace(0, 1, len(line)), side="right").clip(1, 10)
        ends = shown.position(np.stack([values[row][place - 1], values[row][place]]))
        assert (line >= ends.min(axis=0) - 0.02).all()
        assert (line <= ends.max(axis=0) + 0.02).all()


SELDOM = (
    "seven runs",
    "strip",
    "negative",
    "huge range",
    "runs outside",
    "diverged",
    "two by two",
    "tiny range",
    "some zeros",
)


@pytest.mark.parametrize("name", ["constant", *(pytest.param(name, marks=pytest.mark.slow) for name in SELDOM)])
def test_unusual_surfaces_are_flown_over_legibly(name):
    record = UNUSUAL[name]()
    if not record.paths:
        record = replace(surface(), loss=record.loss)
    moments = densities(2) if name != "two by two" else None  # one checkpoint only
    assert_film_legible(lambda: Flyover(record, frames=5, size=SIZE, title="digits-mlp", densities=moments))


@pytest.mark.parametrize(
    "azimuth",
    [15.0, 215.0, *(pytest.param(side, marks=pytest.mark.slow) for side in (55.0, 95.0, 135.0, 255.0, 335.0))],
)
def test_words_can_be_read_from_every_side(azimuth, monkeypatch):
    monkeypatch.setattr("landscape.render.film_relief.directed", lambda *_: (np.full(3, azimuth), 40.0))
    assert_film_legible(lambda: Flyover(surface(), frames=3, size=SIZE), [1])


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.slow] * (kind not in ("markup", "TeX", "empty"))) for kind in HOSTILE],
)
def test_hostile_words(kind):
    words = HOSTILE[kind]
    record = replace(
        surface(runs=1, checkpoints=5), axes=np.array([words, words]), path_names=np.array([words]), unit=words,
    )  # fmt: skip
    record = replace(record, metrics={words: record.loss})
    film = Flyover(record, frames=2, size=SIZE, title=words, metric=words)
    assert film.frame(1).shape == (540, 960, 3)


def test_names_of_the_axes_and_the_step_are_written():
    film = Flyover(surface(runs=2), frames=3, size=SIZE)
    written = written_in(film, 2)
    assert {"pca_1", "pca_2", "loss (logarithmic)"} <= set(written)
    assert any(text.startswith("step ") for text in written)


def test_bad_input():
    with pytest.raises(InputError, match="no relief to fly over"):
        Flyover(replace(surface(), loss=np.full((25, 31), np.nan)), frames=2, size=SIZE)
    with pytest.raises(InputError, match="no recorded run"):
        Flyover(surface(runs=0), frames=2, size=SIZE)
