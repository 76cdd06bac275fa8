"""Figures of lines: what is written in them, and that it can be read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from landscape.errors import InputError
from landscape.records import Profile
from landscape.render import profile
from tests.render.surface_cases import all_text, assert_legible


def line(scale=1.0, count=51, **changes):
    s = np.linspace(-2, 2, count)
    loss = scale * (0.02 + s**2 / 2 + 0.05 * s**3 / 6)
    parts = loss * (1 + 0.2 * np.random.default_rng(0).standard_normal((50, 1)))
    facts = {
        "metrics": {"accuracy": 1 / (1 + loss), "test_loss": 1.1 * loss}, "samples": parts,
        "sample_weights": np.ones(50), "axis": "eigenvector_1", "slope": 0.0, "curvature": scale, "n": 2770,
        "axis_source": "eigenvector 1 of the Hessian, λ = 1, residual 1e-06", "anchor_names": np.array(["origin"]),
        "anchor_s": np.zeros(1), "anchor_loss": np.array([0.02 * scale]), "provenance": {"parts": "micro-batches"},
    }  # fmt: skip
    return Profile(s=s, loss=loss, **{**facts, **changes})


CASES = {
    "usual": line,
    "linear": lambda: replace(line(), loss=line().loss + 5, samples=line().samples + 5),
    "negative": lambda: replace(line(), loss=line().loss - 5, metrics={}),
    "holes": lambda: replace(line(), loss=np.where(line().s > 1, np.nan, line().loss)),
    "one finite point": lambda: replace(line(), loss=np.where(line().s == 0, 1.0, np.inf)),
    "constant": lambda: replace(line(), loss=np.full(51, 0.3), samples=np.zeros((0, 51))),
    "two points": lambda: line(count=2),
    "bare": lambda: Profile(s=np.arange(3.0), loss=np.array([3.0, 1, 2])),
    "zeros": lambda: replace(line(), loss=np.maximum(line().loss - 0.5, 0)),
    "anchors": lambda: line(
        anchor_names=np.array(["a", "a point with a name that is far too long for its place", "b <b>$x$"]),
        anchor_s=np.array([-2.0, 0, 2]), anchor_loss=np.array([2.0, 0.02, 2.1]), batchnorm="recompute",
    ),
    "long names": lambda: line(axis="direction " * 20, axis_source="given by the user " * 20, unit="unit " * 20),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_everything_can_be_read(name):
    assert_legible(profile(CASES[name](), title="a title " * (30 if name == "long names" else 1)))


def test_what_is_written():
    words = all_text(profile(line()))
    for text in ("eigenvector_1 (distance in parameter space)", "95 % band", "test", "quadratic", "origin", "50 micro"):
        assert text in words
    assert "slope 0, curvature 1 at 0" in words and "statistics of the origin" in words
    assert "90 %" in all_text(profile(line(), level=0.9)) and "quadratic" not in all_text(profile(line(), model=False))
    shown = all_text(profile(line(), metric="accuracy"))
    assert "accuracy" in shown and "band of the data" not in shown
    axes = profile(line()).axes[0]
    assert axes.get_yscale() == "log" and profile(line(), log=False).axes[0].get_yscale() == "linear"


def test_the_band_and_the_curves_are_the_record():
    record = line()
    axes = profile(record, log=False).axes[0]
    curves = {one.get_label(): one.get_xydata() for one in axes.lines}
    assert np.array_equal(curves["loss"], np.stack([record.s, record.loss], 1))
    assert np.array_equal(curves["test"][:, 1], record.metrics["test_loss"])
    edges = axes.collections[0].get_paths()[0].vertices[:, 1]
    low, high = record.band(0.95)
    assert edges.min() == pytest.approx(low.min()) and edges.max() == pytest.approx(high.max())


def test_the_same_figure_has_the_same_bytes(tmp_path):
    for suffix in ("png", "svg", "pdf"):
        paths = [tmp_path / f"{name}.{suffix}" for name in "ab"]
        for path in paths:
            line().plot(path)
        assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "f1"}, "no metric 'f1'; it has: accuracy, test_loss"),
        ({"path": "line.gif"}, "must end in one of"),
        ({"log": "maybe"}, "log is 'maybe'"),
        ({"level": 2.0}, "level must be between"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(InputError, match=message):
        profile(line(), **options)


def test_nothing_to_draw():
    with pytest.raises(InputError, match="nothing to draw"):
        profile(replace(line(), loss=np.full(51, np.nan)))
    with pytest.raises(InputError, match="no logarithm"):
        profile(replace(line(), loss=line().loss - 5), log=True)
