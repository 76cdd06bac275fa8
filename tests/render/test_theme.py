"""Colours: equal steps for equal differences, and runs that everybody can tell apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from landscape.render import theme
from landscape.render.heights import marked, spread
from landscape.render.numerals import numbers
from landscape.render.runs import run_style

# Linear light as seen without one kind of cone: Machado, Oliveira & Fernandes, IEEE TVCG 15 (2009) 1291, severity 1.
VISION = {
    "all cones": np.eye(3),
    "no long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no middle": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def linear(color):
    parts = np.array(to_rgb(color))
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def oklab(light):
    """Ottosson (2020), from linear sRGB."""
    cones = np.cbrt(
        np.clip(light, 0, 1)
        @ np.array([
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ])
    )  # fmt: skip
    return cones @ np.array([
        [0.2104542553, 1.9779984951, 0.0259040371],
        [0.7936177850, -2.4285922050, 0.7827717662],
        [-0.0040720468, 0.4505937099, -0.8086757660],
    ])  # fmt: skip


def test_heights_are_perceptually_uniform():
    colors = np.array([oklab(linear(color)) for color in theme.LANDSCAPE.colors])
    steps = np.linalg.norm(np.diff(colors, axis=0), axis=1)
    assert steps.max() / steps.min() < 1.02
    assert (np.diff(colors[:, 0]) > 0).all()  # lightness alone tells higher from lower
    for matrix in VISION.values():
        seen = np.array([oklab(np.array(matrix) @ linear(color)) for color in theme.LANDSCAPE.colors])
        assert (np.diff(seen[:, 0]) > 0).all()


def test_colours_of_what_has_a_sign_are_even_and_the_same_on_both_sides():
    colors = np.array([oklab(linear(color)) for color in theme.SIGNED.colors])
    steps = np.linalg.norm(np.diff(colors, axis=0), axis=1)
    assert steps.max() / steps.min() < 1.02
    middle = len(colors) // 2
    assert colors[:, 0].argmax() == middle
    assert colors[:, 0] == pytest.approx(colors[::-1, 0], abs=1e-3)  # the lightness says how much, the hue which sign
    for matrix in VISION.values():
        seen = np.array([oklab(np.array(matrix) @ linear(color)) for color in theme.SIGNED.colors])
        assert (np.diff(seen[: middle + 1, 0]) > 0).all()
        assert (np.diff(seen[middle:, 0]) < 0).all()
        assert np.linalg.norm(seen[0, 1:] - seen[-1, 1:]) > 0.1


@pytest.mark.parametrize("vision", VISION)
def test_runs_differ_for_every_kind_of_vision(vision):
    for what in ("bright", "line"):
        seen = [oklab(np.array(VISION[vision]) @ linear(getattr(run_style(index), what))) for index in range(3)]
        assert min(np.linalg.norm(first - second) for first, second in combinations(seen, 2)) > 0.15
    looks = [(run_style(index).bright, run_style(index).marker) for index in range(10)]
    assert len(set(looks)) == 10
    assert len({marker for _, marker in looks}) == 10


@pytest.mark.parametrize("seed", range(20))
def test_levels_cover_the_range_and_are_round(seed):
    random = np.random.default_rng(seed)
    low = 10 ** random.uniform(-8, 4)
    high = low * (1 + 10 ** random.uniform(-4, 8))
    for logarithmic in (False, True):
        levels = spread(low, high, 16, logarithmic)
        assert (np.diff(levels) > 0).all()
        assert 6 <= len(levels) <= 26
        assert levels[0] <= low * (1 + 1e-9)
        assert levels[1] > low * (1 - 1e-9)
        assert levels[-1] >= high * (1 - 1e-9)
        assert levels[-2] < high * (1 + 1e-9)
        marks = marked(levels, logarithmic)
        assert set(marks) <= set(levels)
        assert 2 <= len(marks) <= 8
        assert len(set(numbers(marks))) == len(marks)


def test_text_is_measured_as_it_is_drawn():
    figure, axes = theme.new_figure(1.0)
    text = axes.text(0, 0, "pca_1 · distance in parameter space", fontsize=8, family="DejaVu Sans", parse_math=False)
    drawn = text.get_window_extent(figure.canvas.get_renderer()).width / figure.dpi
    assert theme.text_width(text.get_text(), 8) == pytest.approx(drawn, rel=0.05)
    short = theme.shortened("a long title\nin two lines", 9, 0.6)
    assert short.endswith("…")
    assert theme.text_width(short, 9) <= 0.6
    lines = theme.joined([f"fact {index}" for index in range(20)], 7, 2.0)
    assert "  ·  ".join(lines).split("  ·  ") == [f"fact {index}" for index in range(20)]
    assert max(theme.text_width(line, 7) for line in lines) <= 2.0
