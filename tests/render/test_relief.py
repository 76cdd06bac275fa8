"""The relief: runs lie on the surface, and what a hill hides is drawn as hidden."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mpl_toolkits.mplot3d.art3d import Line3D, Line3DCollection, Poly3DCollection

from landscape import render
from landscape.errors import InputError
from tests.render.surface_cases import UNUSUAL, all_text, assert_legible, surface, with_holes


def ridge(height=1.0, runs=1):
    """A ridge along y in the middle of x, and a run on its low side, parallel to it."""
    record = surface(41, 41, runs, 20, value=lambda x, y: 0 * x + 0 * y)
    x = np.linspace(-1, 1, 41)
    coordinates = np.column_stack([np.full(20, -0.6), np.linspace(-0.8, 0.8, 20)])
    loss = height * np.exp(-((x[None, :] / 0.12) ** 2)) + 0 * x[:, None]
    return replace(record, x=x, y=x, loss=loss, path_coordinates=coordinates)


def lengths(figure):
    """Lengths of the visible and of the hidden stretches of the runs, in the unit box."""
    axes = figure.axes[0]
    hidden = [line for line in axes.lines if isinstance(line, Line3D) and line.is_dashed()]
    shown = [
        line for line in axes.lines if isinstance(line, Line3D) and not line.is_dashed() and line.get_alpha() == 0.9
    ]

    def total(lines):
        pieces = [np.array(line.get_data_3d())[:2] for line in lines]
        return sum(float(np.linalg.norm(np.diff(piece, axis=1), axis=0).sum()) for piece in pieces)

    return total(shown), total(hidden)


def test_a_run_behind_a_ridge_is_hidden_and_in_front_of_it_is_not():
    shown, hidden = lengths(render.relief(ridge(), log=False, azimuth=0, elevation=12))
    assert (round(shown, 3), round(hidden, 2)) == (0, 0.8)
    shown, hidden = lengths(render.relief(ridge(), log=False, azimuth=180, elevation=12))
    assert (round(shown, 2), round(hidden, 3)) == (0.8, 0)
    shown, hidden = lengths(render.relief(ridge(), log=False, azimuth=0, elevation=80))
    assert (round(shown, 2), round(hidden, 3)) == (0.8, 0)
    shown, hidden = lengths(render.relief(ridge(), log=False))  # the view is chosen so
    assert (round(shown, 2), round(hidden, 3)) == (0.8, 0)


@pytest.mark.parametrize("seed", range(3))
def test_runs_lie_on_the_surface(seed):
    a, b = np.random.default_rng(seed).uniform(-1, 1, 2)
    record = surface(value=lambda x, y: 5 + a * x + b * y, runs=1, seed=seed)
    axes = render.relief(record, log=False, elevation=60).axes[0]
    trails = [item for item in axes.collections if isinstance(item, Line3DCollection)]
    points = np.concatenate([np.array(line.get_data_3d()).T for line in axes.lines if line.get_alpha() == 0.9])
    x, y = record.x[0] + points[:, 0] * np.ptp(record.x), record.y[0] + points[:, 1] * np.ptp(record.y)
    ticks, texts = axes.get_zticks(), [label.get_text().replace("−", "-") for label in axes.get_zticklabels()]
    scale = np.polyfit(ticks, [float(text) for text in texts], 1)  # heights as the axis names them
    assert np.abs(np.polyval(scale, points[:, 2]) - (5 + a * x + b * y)).max() < 0.01 * np.ptp(record.loss) + 1e-9
    ends = [np.array(line.get_data_3d()).ravel() for line in axes.lines if line.get_marker() not in ("None", "")]
    place = (record.path_coordinates[[0, -1]] - (record.x[0], record.y[0])) / (np.ptp(record.x), np.ptp(record.y))
    assert np.allclose([end[:2] for end in ends], place)
    assert trails


def test_holes_stay_open():
    record, holes = with_holes()
    figure = render.relief(record)
    assert f"no finite loss: {holes.sum()} points of 775" in all_text(figure)
    ground = next(item for item in figure.axes[0].collections if isinstance(item, Poly3DCollection))
    quads = len(ground.get_facecolor())
    whole = next(item for item in render.relief(surface()).axes[0].collections if isinstance(item, Poly3DCollection))
    corners = holes[:-1, :-1] | holes[1:, :-1] | holes[:-1, 1:] | holes[1:, 1:]
    assert quads / len(whole.get_facecolor()) == pytest.approx(1 - corners.mean(), abs=1e-9)


@pytest.mark.parametrize("name", ["two by two", "constant", "negative", "seven runs", "strip", "points"])
def test_unusual_surfaces_are_drawn_legibly(name):
    figure = render.relief(UNUSUAL[name](), title="digits-mlp")
    written = [*figure.texts, *figure.legends[0].get_texts()] if figure.legends else figure.texts
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    for text in written:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
    if name != "strip":  # whose tick labels stand close
        axes = figure.axes[0]
        for label in (axes.xaxis.label, axes.yaxis.label, axes.zaxis.label):
            box = label.get_window_extent(renderer)
            assert figure.bbox.x0 <= box.x0
            assert box.x1 <= figure.bbox.x1
            for text in written:
                assert not box.overlaps(text.get_window_extent(renderer)), (label.get_text(), text.get_text())


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
