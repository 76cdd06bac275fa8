"""Figures of paths between two minima: what is drawn is the record's, and all of it can be read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from landscape.errors import InputError
from landscape.records.densities import packed
from landscape.render import interpolation
from landscape.render.path_density import EigenvalueMap
from tests.render.legibility import HOSTILE, all_text, assert_contrast, assert_legible
from tests.render.path_cases import bare, holed, profile, wide

NONE = packed([])


def shifted(by, **changes):
    record = profile(points=9)
    return replace(
        record, loss=record.loss + by, samples=record.samples + by, end_loss=record.end_loss + by, metrics={}, **changes
    )  # fmt: skip


CASES = {
    "usual": profile,
    "side by side": lambda: [profile(points=9), profile(height=0.2, points=7), profile(path="bezier", height=0.05)],
    "four": lambda: [profile(points=5)] * 4,
    "before and after": lambda: (profile(points=9), profile(points=9, height=0.1)),
    "repaired": lambda: profile(
        margin=0.25, batchnorm="recompute", unrepaired_loss=profile(margin=0.25, height=2.3).loss,
        end_loss=np.array([0.01, 0.2]),
    ),
    "far beyond": lambda: profile(points=7, margin=2.0),
    "lines": lambda: replace(profile(points=9), **NONE),
    "no spectra": lambda: profile(points=9, spectra=False),
    "only some have densities": lambda: [profile(points=9), profile(points=9, spectra=False), bare()],
    "bare": bare,
    "holes": holed,
    "negative": lambda: shifted(-5),
    "no barrier": lambda: replace(bare(), loss=np.linspace(1, 0.5, 11)),
    "valley": lambda: profile(points=9, height=-0.02),
    "one point": lambda: profile(points=1),
    "two points": lambda: profile(points=2),
    "one finite loss": lambda: replace(profile(points=9), loss=np.where(np.arange(9) == 4, 1.0, np.nan)),
    "an end is a hole": lambda: replace(profile(points=9), loss=np.where(np.arange(9) == 0, np.nan, 1.0)),
    "constant": lambda: replace(bare(), loss=np.full(11, 0.3)),
    "wide": wide,
    "no eigenvalue but zero": lambda: replace(
        profile(points=5), curvatures=np.zeros(5), values=np.zeros((5, 3)), smallest=np.zeros(5), **NONE
    ),
}  # fmt: skip


# What takes longer shows less than these do.
QUICK = ("before and after", "holes", "no spectra", "negative", "one point", "an end is a hole", "constant")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_everything_can_be_read(name):
    figure = interpolation(CASES[name](), title="digits-cnn, two seeds")
    assert_legible(figure)
    if name in ("usual", "before and after"):
        assert_contrast(figure)


@pytest.mark.parametrize(
    "hostile",
    [name if name in ("one long word",) else pytest.param(name, marks=pytest.mark.slow) for name in HOSTILE],
)
def test_names_may_hold_anything(hostile):
    text = HOSTILE[hostile]
    record = profile(points=3)
    record = replace(
        record, end_names=np.array([text, text]), path=text, path_source=text, batchnorm=text,
        provenance={"parts": text}, metrics={text: record.metrics["accuracy"], "test_" + text: record.loss},
        words={**record.words, "operator": text},
    )  # fmt: skip
    assert_legible(interpolation(record, title=text))
    assert_legible(interpolation([record, record], names=[text] * 2))


def axes_of(figure):
    """Loss and density image of each column, and small panels, from above."""
    places = sorted(
        (one for one in figure.axes if one.get_position().width > 0.1), key=lambda one: -one.get_position().y0
    )
    return places


def test_the_curves_are_the_record():
    record = profile(unrepaired_loss=profile(height=2).loss)
    figure = interpolation(record)
    losses, image, *small = axes_of(figure)
    drawn = {line.get_label(): line.get_xydata() for line in losses.lines}
    assert np.array_equal(drawn["loss"], np.stack([record.s, record.loss], 1))
    assert np.array_equal(drawn["test data"][:, 1], record.metrics["test_loss"])
    assert np.array_equal(drawn["not repaired"][:, 1], record.unrepaired_loss)
    assert np.array_equal(drawn["minima"], [[0, 0.03], [1, 0.05]])
    chord = drawn["chord"]
    assert np.allclose(np.interp(record.s, *chord.T), record.chord, atol=1e-12)
    low, high = record.band()
    edges = losses.collections[0].get_paths()[0].vertices[:, 1]
    assert edges.min() == pytest.approx(low.min()) and edges.max() == pytest.approx(high.max())
    curves = [line.get_ydata() for line in image.lines]
    for values in (*record.values.T, record.smallest, record.curvatures):
        assert any(np.array_equal(values, one) for one in curves if len(one) == len(values))
    assert len(small) == 3
    arrow = next(text for text in losses.texts if text.get_text() == "")
    assert arrow.xy[0] == record.barrier_at
    assert arrow.xy[1] == pytest.approx(record.loss.max())
    assert arrow.xyann[1] == pytest.approx(record.chord[np.argmax(record.loss)])


def test_the_image_is_aligned_with_the_loss_and_is_the_density():
    figure = interpolation(record := profile(margin=0.25))
    losses, image, *small = axes_of(figure)
    for other in (image, *small):
        assert other.get_xlim() == losses.get_xlim() == (-0.25, 1.25)
        assert other.get_position().x0 == losses.get_position().x0
        assert other.get_position().x1 == losses.get_position().x1
    mesh = next(one for one in image.collections if one.get_array() is not None and np.ndim(one.get_array()) == 2)
    shown = np.ma.filled(mesh.get_array(), np.nan)
    cells = mesh.get_coordinates()
    edges = cells[0, :, 0]
    assert (edges[0], edges[-1]) == (record.s[0], record.s[-1])
    assert np.allclose(edges[1:-1], (record.s[1:] + record.s[:-1]) / 2)
    found = EigenvalueMap.of([record], len(shown))
    for index, density in enumerate(record.densities):
        sigma = 0.01 * density.magnitude
        expected = density.pdf(found.x, sigma) * record.n * sigma * np.sqrt(2 * np.pi)
        seen = expected >= 0.05
        assert np.allclose(shown[seen, index], expected[seen])
        assert np.isnan(shown[~seen, index]).all()
    assert np.nanmax(shown) <= mesh.norm.vmax


def test_one_eigenvalue_has_the_height_one_whatever_the_kernel():
    record = wide()
    found = EigenvalueMap.of([record], 4000)
    for density in record.densities[4:-4]:  # those before and after have a wider kernel than their own
        top = density.lambda_max
        at = np.argmin(np.abs(found.x - top))
        sigma = found.kernel(density)
        assert found.heights(density)[at] == pytest.approx(np.exp(-(((found.x[at] - top) / sigma) ** 2) / 2), abs=0.1)
    assert EigenvalueMap.of([bare()], 10) is None
    chosen = EigenvalueMap.of([record], 100, sigma=3.0)
    assert chosen.width == 3.0 == chosen.kernel(record.densities[0])


def test_columns_share_their_scales():
    figure = interpolation([profile(), profile(height=0.1, seed=1)], names=["plain", "aligned"])
    rows = {}
    for axes in axes_of(figure):
        rows.setdefault(round(axes.get_position().y0, 6), []).append(axes)
    assert [len(row) for row in rows.values()] == [2] * 5
    for left, right in rows.values():
        assert left.get_ylim() == right.get_ylim() and left.get_xlim() == right.get_xlim()
    words = all_text(figure)
    assert "plain" in words and "aligned" in words and words.count("barrier") == 2
    assert "with SGD" in words and "5 largest λ" in words
    fewer = replace(profile(height=0.1), values=profile().values[:, :2], end_names=np.array(["SGD", "Adam"]))
    words = all_text(interpolation([profile(points=5), fewer]))
    assert "with end 0" in words and "with SGD" not in words and "5 largest λ" not in words and "largest λ" in words


def test_what_is_written():
    record = profile()
    words = all_text(interpolation(record))
    low, high = record.barrier_band()
    assert f"barrier {record.barrier:.3f} ± {(high - low) / 2:.3f}" in words
    for text in ("SGD", "ProxSGD", "95 % band", "chord", "test data", "5 largest λ", "smallest λ", "accuracy",
                 "50 micro-batches", "25 points", "straight line", "of the Hessian"):  # fmt: skip
        assert text in words
    assert "90 %" in all_text(interpolation(profile(points=3), level=0.9))
    assert "no barrier" in all_text(interpolation(CASES["no barrier"]()))
    assert "σ = 0.5" in all_text(interpolation(profile(points=3), sigma=0.5))
    words = all_text(interpolation(holed()))
    assert "5 points without a finite loss" in words and "hatched: 1 point without a density" in words
    record = profile(points=3)
    worse = replace(record, facts={**record.facts, "converged": np.zeros(3, bool)})
    assert "3 of them not as accurate as asked for" in all_text(interpolation(worse))
    kinds = all_text(interpolation([bare(), bare(), bare(path="band")]))
    assert "straight line (2)" in kinds and "elastic band" in kinds


def test_the_same_figure_has_the_same_bytes(tmp_path):
    record = bare()
    for suffix in ("png", "svg"):
        paths = [tmp_path / f"{name}.{suffix}" for name in "ab"]
        for path in paths:
            record.plot(path)
        assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    ("record", "options", "message"),
    [
        ([], {}, "the list is empty"),
        ([bare()] * 5, {}, "5 paths do not fit side by side; draw at most 4"),
        (bare(), {"path": "walk.gif"}, "must end in one of"),
        (bare(), {"log": "maybe"}, "log is 'maybe'"),
        (shifted(-5), {"log": True}, "no logarithm"),
        (bare(), {"names": ["a", "b"]}, "2 names for 1 paths"),
        (bare(), {"sigma": -1.0}, "sigma is -1.0"),
        (bare(), {"level": 2.0}, "level must be between"),
        (replace(bare(), loss=np.full(11, np.nan)), {}, "nothing to draw"),
        (replace(bare(), s=np.zeros(11)), {}, "finite places that ascend"),
        (replace(bare(), loss=np.ones(3)), {}, "11 points and 3 losses"),
        ([bare(n=3), bare(n=4)], {}, "different sizes: 3, 4 parameters"),
        (replace(profile(points=5), **packed(list(profile(points=4).densities))), {}, "5 points, but 4 densities"),
    ],
)  # fmt: skip
def test_bad_input(record, options, message):
    with pytest.raises(InputError, match=message):
        interpolation(record, **options)
