"""The contour figure shows what the record holds: heights, holes, runs, true losses and distances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.contour import QuadContourSet

from landscape import render
from landscape.errors import InputError
from landscape.render import theme
from landscape.render.heights import heights
from tests.render.legibility import HOSTILE, assert_contrast
from tests.render.surface_cases import NAMES, UNUSUAL, all_text, assert_legible, bowl, surface, texts_of, with_holes


def luminance(color):
    parts = np.array(to_rgb(color))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first, second):
    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("seed", range(3))
def test_level_lines_lie_where_the_function_has_their_value(seed):
    a, b, c = np.random.default_rng(seed).uniform(0.5, 2, 3)
    plain = lambda x, y: 10 + a * x + b * y + 0 * c  # noqa: E731  # linear between grid points: exact
    figure = render.contour(surface(value=plain, seed=seed), log=False)
    lines = next(item for item in figure.axes[0].collections if isinstance(item, QuadContourSet) and not item.filled)
    checked = 0
    for level, segments in zip(lines.levels, lines.allsegs, strict=True):
        for segment in segments:
            assert np.allclose(plain(*segment.T), level)
            checked += len(segment)
    assert checked > 100


@pytest.mark.parametrize("seed", range(3))
def test_colors_between_levels_are_those_of_the_bar(seed):
    record = surface(nx=61, ny=51, seed=seed, runs=0)
    figure = render.contour(record)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    axes, bar = figure.axes
    box = bar.get_window_extent()
    filled = next(item for item in axes.collections if isinstance(item, QuadContourSet) and item.filled)
    levels = filled.levels
    places = bar.transData.transform([(0.5, 0), (0.5, 1)])[:, 1]
    found = []
    for row in range(2, len(record.y) - 2, 3):
        for column in range(2, len(record.x) - 2, 3):
            value = record.loss[row, column]
            around = record.loss[row - 1 : row + 2, column - 1 : column + 2]
            band = int(np.searchsorted(levels, value)) - 1
            if band != int(np.searchsorted(levels, around.min())) - 1 or levels[band + 1] < around.max():
                continue  # a line is near
            x, y = axes.transData.transform((record.x[column], record.y[row]))
            middle = np.log(levels[band] * levels[band + 1]) / 2  # the bar is logarithmic
            part = (middle - np.log(levels[0])) / np.log(levels[-1] / levels[0])
            height = places[0] + part * (places[1] - places[0])
            here = pixels[int(pixels.shape[0] - y), int(x)]
            there = pixels[int(pixels.shape[0] - height), int((box.x0 + box.x1) / 2)]
            found.append(np.abs(here - there).max())
    assert len(found) >= 10
    assert np.median(found) <= 2
    assert np.mean(np.array(found) <= 2) > 0.9  # a label of a line may be in the way


def test_scale_follows_the_range_and_the_bar_shows_true_values():
    wide, narrow = surface(runs=0), replace(surface(runs=0), loss=2 + surface().loss)
    assert "loss (logarithmic)" in all_text(render.contour(wide))
    assert "logarithmic" not in all_text(render.contour(narrow))
    assert "logarithmic" not in all_text(render.contour(wide, log=False))
    assert "logarithmic" in all_text(render.contour(narrow, log=True))
    bar = render.contour(wide, levels=[0.1, 0.4, 1.6]).axes[1]
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0.1", "0.4", "1.6"]
    assert np.allclose(bar.get_yticks(), [0, 0.5, 1])  # equal factors, equal heights
    assert "accuracy" in all_text(render.contour(wide, metric="accuracy"))


def test_holes_are_hatched_and_named_but_never_filled():
    record, holes = with_holes(runs=0)
    figure = render.contour(record)
    assert f"no finite loss: {holes.sum()} points of 775" in all_text(figure)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    inner = holes.copy()
    inner[1:-1, 1:-1] &= holes[:-2, 1:-1] & holes[2:, 1:-1] & holes[1:-1, :-2] & holes[1:-1, 2:]
    assert inner[1:-1, 1:-1].sum() > 10
    shades = []
    for row, column in np.argwhere(inner):
        x, y = figure.axes[0].transData.transform((record.x[column], record.y[row]))
        if 0 < row < 24 and 0 < column < 30:
            patch = pixels[int(pixels.shape[0] - y) - 2 :, int(x) - 2 :][:5, :5]
            assert (np.ptp(patch, axis=-1) <= 2).all(), "a hole has a colour"
            shades.append(patch)
    assert np.ptp(np.array(shades)) > 60, "no hatching"


@pytest.mark.parametrize("seed", range(3))
def test_runs_lie_at_their_coordinates_and_are_coloured_by_time(seed):
    record = surface(seed=seed)
    axes, _, losses, distances = render.contour(record).axes
    trails = [item for item in axes.collections if type(item) is LineCollection]
    for index, (run, trail) in enumerate(zip(record.paths, trails, strict=True)):
        segments = np.array(trail.get_segments())
        assert np.array_equal(segments[:, 0], run.coordinates[:-1])
        assert np.array_equal(segments[:, 1], run.coordinates[1:])
        shade = [luminance(color[:3]) for color in trail.get_color()]
        assert (np.diff(shade) > 0).all(), "not from dark to bright"
        ends = [line for line in axes.lines if line.get_marker() not in ("None", "") and len(line.get_xdata()) == 1]
        assert np.array_equal(ends[2 * index].get_xydata()[0], run.coordinates[0])
        assert ends[2 * index].get_marker() == "o"
        assert np.array_equal(ends[2 * index + 1].get_xydata()[0], run.coordinates[-1])
        curves = [line.get_ydata() for line in losses.lines]
        assert any(np.array_equal(curve, run.loss) for curve in curves)
        assert any(np.array_equal(curve, run.projected_loss) for curve in curves)
        assert any(np.array_equal(line.get_ydata(), run.distance) for line in distances.lines)
    assert len({ends[1].get_marker(), ends[3].get_marker()}) == 2


def test_words_name_axes_units_variance_and_null():
    text = all_text(render.contour(surface(), title="digits"))
    assert "→ pca_1 · distance in parameter space · 71 % of the variance (random walk: 61 %)" in text
    assert "↑ pca_2 · distance in parameter space · 12 % of the variance (random walk: 15 %)" in text
    assert "SGD: step 0 (circle) to 390 (cross)" in text
    assert "ProxSGD: step 0 (circle) to 390 (star)" in text
    assert "31 × 25 points  ·  n = 2\u202f762" in text
    assert "curvature 12.5" in all_text(render.contour(UNUSUAL["eigenvectors"]()))
    assert "in the plane: a, b, trained for longer" in all_text(render.contour(UNUSUAL["points"]()))
    far = UNUSUAL["runs outside"]()
    outside = ((far.path_coordinates < (-2, -1.8)) | (far.path_coordinates > (3, 2.2))).any(axis=1).sum()
    assert f"{outside} checkpoints outside of the map" in all_text(render.contour(far))
    assert "no point of the grid has a finite loss" in all_text(render.contour(UNUSUAL["no finite value"]()))
    assert "loss 2.30259 everywhere" in all_text(render.contour(UNUSUAL["constant"]()))
    assert "axes not to the same scale" in all_text(render.contour(UNUSUAL["strip"]()))


def test_distances_are_drawn_alike_along_both_axes():
    record = surface()
    axes = render.contour(record).axes[0]
    (x0, y0), (x1, y1) = axes.transData.transform([(0, 0), (1, 1)])
    assert np.isclose(x1 - x0, y1 - y0)


TELLING = (
    "one row",
    "one point",
    "two by two",
    "constant",
    "no finite value",
    "seven runs",
    "strip",
    "tiny range",
    "points",
)


@pytest.mark.parametrize(
    "name", [name if name in TELLING else pytest.param(name, marks=pytest.mark.slow) for name in UNUSUAL]
)
def test_unusual_surfaces_are_drawn_legibly(name):
    assert_legible(render.contour(UNUSUAL[name](), title="a title " * (1 if name != "strip" else 40)))


def test_usual_surfaces_are_drawn_legibly():
    for seed in range(3):
        assert_legible(render.contour(surface(seed=seed, runs=seed + 1), title="digits-mlp"))
        assert_legible(render.contour(with_holes(seed=seed)[0]))


def test_text_and_runs_have_enough_contrast():
    from landscape.render.runs import run_style

    for index in range(len(NAMES)):
        assert contrast(run_style(index).line, "white") >= 4.5
    figure = render.contour(surface(nx=61, ny=51, runs=0))
    for text in figure.axes[0].texts:
        x, y = text.get_position()
        value = bowl(x, y)
        filled = next(item for item in figure.axes[0].collections if isinstance(item, QuadContourSet) and item.filled)
        band = int(np.clip(np.searchsorted(filled.levels, value) - 1, 0, len(filled.levels) - 2))
        assert contrast(text.get_color(), filled.get_facecolor()[band][:3]) >= 4.0
    for text in figure.texts:
        assert contrast(text.get_color(), "white") >= 4.5


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_files_are_the_same_every_time(tmp_path, suffix):
    record, _ = with_holes()
    first, second = (tmp_path / f"{name}.{suffix}" for name in ("first", "second"))
    for path in (first, second):
        render.contour(record, path)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("record", "options", "message"),
    [
        (surface(), {"metric": "error"}, "no metric 'error'; it has: accuracy"),
        (surface(), {"log": "yes"}, "log is 'yes'; choose True, False or 'auto'"),
        (UNUSUAL["negative"](), {"log": True}, r"negative at 775 points .lowest: −30.* log=False"),
        (UNUSUAL["zero"](), {"log": True}, "all values are zero"),
        (surface(), {"levels": 1}, "levels is 1; give between 2 and 256"),
        (surface(), {"levels": [1.0, 0.5]}, "ascending order"),
        (surface(), {"levels": [0.0, 0.5], "log": True}, "begin above 0"),
        (surface(), {"path": "figure.gif"}, r"must end in one of \.png, \.svg, \.pdf"),
        (replace(surface(), loss=np.zeros((31, 25))), {}, r"shape \(31, 25\) do not belong to a grid of 31 × 25"),
        (replace(surface(), x=np.linspace(1, 0, 31)), {}, "x coordinates of the surface must be finite and ascending"),
        (replace(surface(), path_loss=np.zeros(3)), {}, "path_loss has 3 entries, but there are 80 checkpoints"),
        (replace(surface(), path_coordinates=np.full((80, 2), np.nan)), {}, "leave the runs that diverged out"),
        (replace(surface(), path_names=np.array(["a", "b", "c"])), {}, "the run c has no checkpoints"),
    ],
)
def test_bad_input(record, options, message):
    with pytest.raises(InputError, match=message):
        render.contour(record, **options)


def test_boxes_are_found():
    assert len(texts_of(render.contour(surface()))) > 25  # or the tests of legibility look at nothing


def test_the_loss_panel_names_its_scale_and_has_round_ticks():
    figure = render.contour(surface())
    panel = next(axes for axes in figure.axes if axes.get_yscale() == "log")
    assert panel.get_ylabel() == "loss (logarithmic)"
    ticks = panel.get_yticks()
    assert 2 <= len(ticks) <= 6
    mantissas = ticks / 10 ** np.floor(np.log10(ticks) + 1e-9)
    assert np.isclose(mantissas[:, None], [1, 2, 5]).any(axis=1).all()


def test_a_minimum_outside_of_the_grid_is_said():
    assert "on the edge" not in all_text(render.contour(surface()))
    found = surface()
    tilted = replace(found, loss=1 + found.x + 0 * found.y[:, None] + 5)
    assert "(on the edge: the minimum lies outside)" in all_text(render.contour(tilted))


def test_the_panels_and_the_caption_say_what_the_map_leaves_out():
    record = surface()
    cosine = np.where(record.path_step == 0, np.nan, np.cos(record.path_step / 90))
    computed = np.zeros(record.loss.shape, bool)
    computed[::2, ::2] = True
    record = replace(
        record, path_cosine=cosine, evaluated=computed, loss_error=np.where(computed, 0, 0.0123), batchnorm="recompute"
    )
    figure = render.contour(record)
    assert_legible(figure)
    assert_contrast(figure)
    text = all_text(figure)
    assert "cosine between steps" in text
    # On a logarithmic scale an error counts relative to the loss.
    said = f"{computed.sum()} points computed, the others interpolated (error of the loss at most about "
    worst = float(text.split(said)[1].split(" %")[0])
    assert worst == pytest.approx(100 * 0.0123 / record.loss[~computed].min(), rel=0.05)
    linear = all_text(render.contour(record, log=False))
    assert said + "0.012)" in linear
    assert "batch norm: statistics recomputed at each point" in text
    extent = np.hypot(*np.ptp(record.path_coordinates, axis=0))
    assert (
        f"off the plane by at most 0.8 ({100 * record.path_distance.max() / extent:.2g} % of the runs' extent" in text
    )
    lines = figure.axes[-1].get_lines()
    assert np.array_equal(lines[1].get_ydata(), record.paths[0].cosine, equal_nan=True)
    assert "cosine" not in all_text(render.contour(surface()))


def test_what_the_quadratic_model_leaves_out():
    record = replace(surface(), model=surface().loss - 0.25)
    assert heights(record, "model_error").values == pytest.approx(0.25)
    assert "loss − quadratic model 0.25 everywhere" in all_text(render.contour(record, metric="model_error"))
    with pytest.raises(InputError, match="no metric 'model_error'; it has: accuracy"):
        render.contour(surface(), metric="model_error")
    loss = surface().loss
    known = np.random.default_rng(0).random(loss.shape) < 0.7
    tilted = replace(surface(), model=loss - 2 * surface().x * np.ones_like(loss) - 1, evaluated=known)
    shown = heights(tilted, "model_error")  # −3 to 7
    assert np.array_equal(np.isnan(shown.values), ~known)  # what is interpolated says nothing
    assert shown.levels == pytest.approx(-shown.levels[::-1])
    assert 0 in shown.levels
    assert shown.colormap is theme.SIGNED
    for chosen in (shown, heights(tilted, "model_error", levels=[-3.5, -1, 0, 1, 3, 5, 7.5])):
        assert chosen.shade([0, chosen.levels[-1]]) == pytest.approx([0.5, 1])
        colors = dict(zip((chosen.levels[1:] + chosen.levels[:-1]) / 2, chosen.colors(), strict=True))
        blue, brown = (np.array([c for v, c in colors.items() if s * v > 0]) for s in (-1, 1))
        assert (blue[:, 2] > blue[:, 0]).all()
        assert (brown[:, 0] > brown[:, 2]).all()
    figure = render.contour(tilted, metric="model_error")
    assert_legible(figure)
    assert f"loss not computed or not finite: {(~known).sum()} points" in all_text(figure)
    named = replace(surface(), metrics={"lambda_max": surface().loss})
    assert "lambda_max" in all_text(render.contour(named, metric="lambda_max"))


@pytest.mark.parametrize("name", HOSTILE)
def test_names_may_hold_anything(name):
    text = HOSTILE[name]
    record = replace(
        surface(checkpoints=12), path_names=np.array([text, "other"]), axes=np.array([text, text]), parameters=text,
        unit=text, metrics={text: surface().loss}, anchor_names=np.array([text, text]), anchor_loss=np.zeros(2),
        anchor_coordinates=np.array([[0.0, 0], [1, 1]]),
    )  # fmt: skip
    figure = render.contour(record, title=text, metric=text)
    assert_legible(figure)
    assert_contrast(figure)
