"""Figures of barriers between minima: numbers, order, frames, and that all of it can be read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from landscape.errors import InputError
from landscape.render import connectivity
from landscape.render.connectivity_figure import default_threshold, ordered
from tests.render.legibility import HOSTILE, all_text, assert_contrast, assert_legible
from tests.render.path_cases import barriers

NOTHING = np.zeros((0, 0))


def holed():
    record = barriers(5)
    values = record.barriers.copy()
    values[1, 3] = values[3, 1] = np.nan
    values[0, 4] = values[4, 0] = np.inf
    return replace(record, barriers=values, point_loss=np.array([np.nan, 0.1, 0.2, 0.3, 0.4]))


CASES = {
    "two": lambda: barriers(2),
    "five": lambda: barriers(5, groups=3),
    "twelve": lambda: barriers(12, groups=3),
    "forty": lambda: barriers(40, groups=4),
    "holes": holed,
    "one group": lambda: barriers(4, groups=1),
    "no group": lambda: barriers(4, groups=4),
    "bare": lambda: replace(
        barriers(3), distances=NOTHING, function_distances=NOTHING, barrier_stderr=NOTHING, loss_between=np.zeros(0),
        s=np.zeros(0), n=0, alignment="",
    ),
    "one distance": lambda: replace(barriers(12), function_distances=np.full((12, 12), np.nan)),
    "zeros": lambda: replace(barriers(4), barriers=np.zeros((4, 4)), point_loss=np.zeros(4)),
    "tiny": lambda: replace(barriers(12), barriers=1e-7 * barriers(12).barriers),
    "huge": lambda: replace(barriers(7), barriers=1e9 * barriers(7).barriers, barrier_stderr=NOTHING),
    "negative loss": lambda: replace(barriers(5), point_loss=np.linspace(-9, -2, 5)),
    "nothing finite": lambda: replace(barriers(3), barriers=np.full((3, 3), np.nan)),
}  # fmt: skip


QUICK = ("two", "five", "twelve", "holes", "bare", "zeros", "tiny", "nothing finite")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_everything_can_be_read(name):
    figure = connectivity(CASES[name](), title="digits-cnn")
    assert_legible(figure)
    if name in ("five", "twelve"):
        assert_contrast(figure)


@pytest.mark.parametrize(
    "hostile",
    [name if name in ("one long word",) else pytest.param(name, marks=pytest.mark.slow) for name in HOSTILE],
)
def test_names_may_hold_anything(hostile):
    text = HOSTILE[hostile]
    for record in (barriers(2), barriers(12)):
        names = np.array([text] * len(record.point_names))
        assert_legible(
            connectivity(replace(record, point_names=names, path=text, alignment=text, batchnorm=text), title=text)
        )


@pytest.mark.parametrize("seed", range(3))
def test_minima_of_a_group_stand_together_and_have_a_frame(seed):
    record = barriers(7, groups=2, seed=seed)
    groups = record.clusters(default_threshold(record))
    assert groups.tolist() == [0, 1, 0, 1, 0, 1, 0]
    order = ordered(record, groups)
    assert sorted(order.tolist()) == list(range(7))
    assert groups[order].tolist() == [0] * 4 + [1] * 3
    axes = connectivity(record).axes[1]
    frames = {
        (one.get_x(), one.get_y(), one.get_width())
        for one in axes.patches
        if isinstance(one, Rectangle) and not one.get_fill()
    }
    assert frames == {(0.0, 0.0, 4.0), (4.0, 4.0, 3.0)}
    mesh = axes.collections[0].get_array()
    expected = record.barriers[np.ix_(order, order)]
    off = ~np.eye(7, dtype=bool)
    assert np.array_equal(np.ma.getdata(mesh)[off], expected[off])
    assert np.ma.getmaskarray(mesh)[~off].all()


def test_the_numbers_are_the_barriers():
    record = barriers(3, groups=3)
    words = all_text(connectivity(record))
    for row, column in ((0, 1), (0, 2), (1, 2)):
        assert words.count(f"\n{record.barriers[row, column]:.3g}".rstrip("0")) >= 1
    assert "no two are joined by a barrier of at most" in words and "aligned by their weights" in words
    assert "3 minima, 3 groups" in words and "straight line at 11 points" in words
    assert "framed: joined by barriers of at most 9\n" in all_text(connectivity(record, threshold=9.0)).replace(
        "  ·", "\n"
    )
    assert "barrier in 10⁻⁷" in all_text(connectivity(CASES["tiny"](), log=False))
    assert "numbers that do not fit are in the file" in all_text(connectivity(CASES["forty"]()))
    assert "grey: no finite barrier of 2 pairs" in all_text(connectivity(holed()))


def test_the_same_figure_has_the_same_bytes(tmp_path):
    for suffix in ("png", "svg"):
        paths = [tmp_path / f"{name}.{suffix}" for name in "ab"]
        for path in paths:
            barriers(2).plot(path)
        assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    ("record", "options", "message"),
    [
        (replace(barriers(2), point_names=np.array(["a"])), {}, "between two minima, and the record has 1"),
        (replace(barriers(3), distances=np.zeros((2, 2))), {}, r"distances has the shape \(2, 2\), but there are 3"),
        (replace(barriers(3), barriers=NOTHING), {}, "barriers has the shape"),
        (replace(barriers(3), point_loss=np.zeros(2)), {}, "2 losses of 3 minima"),
        (barriers(3), {"threshold": -1.0}, "barrier must be at least 0"),
        (barriers(3), {"log": "maybe"}, "log is 'maybe'"),
        (barriers(3), {"path": "a.bmp"}, "must end in one of"),
    ],
)
def test_bad_input(record, options, message):
    with pytest.raises(InputError, match=message):
        connectivity(record, **options)
