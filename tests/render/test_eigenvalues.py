"""Figures of eigenvalues: values, residuals, what has not converged, curves along a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from landscape import render
from landscape.errors import InputError
from tests.render.surface_cases import all_text, assert_legible, eigen_pairs


@pytest.mark.parametrize("seed", range(3))
def test_symbols_and_bars_are_those_of_the_record(seed):
    pairs = eigen_pairs(seed=seed)
    axes = render.eigenvalues(pairs).axes[0]
    done, open_ones = [line for line in axes.lines if line.get_marker() == "o"]
    assert np.array_equal(done.get_ydata(), pairs.values[pairs.converged])
    assert np.array_equal(open_ones.get_ydata(), pairs.values[~pairs.converged])
    assert np.array_equal(open_ones.get_xdata(), np.flatnonzero(~pairs.converged) + 1)
    assert open_ones.get_markerfacecolor() == "white"
    (bars,) = axes.containers
    ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
    assert np.allclose(ends, np.column_stack([pairs.values - pairs.residuals, pairs.values + pairs.residuals]))


def test_curves_along_a_run():
    series = [eigen_pairs(seed=seed, k=4 + (seed > 0)) for seed in range(3)]
    figure = render.eigenvalues(series, steps=[0, 10, 40])
    axes = figure.axes[0]
    first = next(line for line in axes.lines if len(line.get_xdata()) == 3)
    assert np.array_equal(first.get_xdata(), [0, 10, 40])
    assert np.array_equal(first.get_ydata(), [pairs.values[0] for pairs in series])
    assert "λ₁" in all_text(figure)
    assert "not converged" in all_text(figure)
    assert_legible(figure)


def test_close_eigenvalues_share_the_place_of_their_names():
    last = eigen_pairs(k=4)
    values = np.array([12.0, 11.9, 11.85, 2.0])
    last = replace(last, values=values, residuals=np.full(4, 1e-3), converged=np.ones(4, bool))
    figure = render.eigenvalues([last, last], steps=[0, 10])
    names = {text.get_text(): text for text in figure.axes[0].texts if text.get_text().startswith("λ")}
    assert set(names) == {"λ₁–λ₃", "λ₄"}
    assert names["λ₁–λ₃"].xy[1] == pytest.approx(values[:3].mean())
    assert_legible(figure)
    pair = replace(last, values=np.array([12.0, 11.9, 8.0, 2.0]))
    assert "λ₁, λ₂" in all_text(render.eigenvalues([last, pair], steps=[0, 10]))


def test_words_and_scale():
    figure = render.eigenvalues(eigen_pairs(), title="digits")
    text = all_text(figure)
    for fact in (
        "n = 100",
        "largest residual 0.4 (asked: 0.001·|λ| of each)",
        "5 of 6 converged",
        "60 products",
        "loss 0.5",
        "rank (largest)",
    ):
        assert fact in text
    assert figure.axes[0].get_yscale() == "linear"
    wide = replace(eigen_pairs(), values=np.geomspace(1e3, 1e-2, 6), noise_floor=0.05)
    assert render.eigenvalues(wide).axes[0].get_yscale() == "log"
    assert "rounding" in all_text(render.eigenvalues(wide))
    assert render.eigenvalues(wide, log=False).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("k", [2, 7, 10, 60])
def test_both_ends_are_told_apart(k):
    values = np.linspace(9, -5, k)
    done = np.ones(k, bool)
    pairs = replace(eigen_pairs(k), values=values, residuals=np.full(k, 1e-4), converged=done, which="both")
    figure = render.eigenvalues(pairs)
    axes = figure.axes[0]
    top, bottom = (next(line for line in axes.lines if line.get_marker() == marker) for marker in "os")
    assert np.array_equal(np.concatenate([top.get_ydata(), bottom.get_ydata()]), values)
    assert len(top.get_xdata()) == (k + 1) // 2
    assert "smallest ± residual" in all_text(figure)
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels[0] == labels[-1] == "1"
    assert all(label.isdigit() for label in labels)
    assert_legible(figure)


@pytest.mark.parametrize(
    "pairs",
    [
        eigen_pairs(1, converged=np.array([True])),
        eigen_pairs(3, which="magnitude"),
        replace(eigen_pairs(), values=-eigen_pairs().values[::-1], which="smallest"),
        replace(eigen_pairs(), values=np.array([9.0, 3, 1, -0.1, -0.5, -2]), which="both", noise_floor=0.3),
        replace(eigen_pairs(), values=np.zeros(6)),
        replace(eigen_pairs(), values=np.geomspace(1e9, 1, 6)),
    ],
    ids=["one", "magnitude", "negative", "both", "zero", "wide"],
)
def test_unusual_pairs_are_drawn_legibly(pairs, tmp_path):
    assert_legible(render.eigenvalues(pairs, tmp_path / "figure.png", title="digits-mlp"))
    assert_legible(render.eigenvalues([pairs], steps=[7]))
    first = (tmp_path / "figure.png").read_bytes()
    render.eigenvalues(pairs, tmp_path / "figure.png", title="digits-mlp")
    assert (tmp_path / "figure.png").read_bytes() == first


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        ([], {}, "list is empty"),
        (eigen_pairs(), {"steps": [1]}, "steps belong to a series"),
        ([eigen_pairs()], {"steps": [1, 2]}, "2 steps for 1 sets"),
        ([eigen_pairs(), eigen_pairs()], {"steps": [2, 1]}, "ascending"),
        (replace(eigen_pairs(), values=np.array([3.0, 2, 1, 0, -1, -2])), {"log": True}, "smallest eigenvalue is −2"),
        (eigen_pairs(), {"log": "maybe"}, "log is 'maybe'"),
        (eigen_pairs(), {"path": "eigenvalues.txt"}, "must end in one of"),
        (replace(eigen_pairs(), residuals=np.zeros(2)), {}, "the record is damaged"),
    ],
)
def test_bad_input(pairs, options, message):
    with pytest.raises(InputError, match=message):
        render.eigenvalues(pairs, **options)


def test_the_stability_threshold_is_drawn_where_it_is_in_reach():
    series = [eigen_pairs(seed=seed) for seed in range(4)]
    threshold = np.array([12.0, 12.0, np.nan, 10.0])
    figure = render.eigenvalues(series, threshold=threshold)
    assert_legible(figure)
    assert "stability threshold" in all_text(figure)
    assert any(np.array_equal(line.get_ydata(), threshold, equal_nan=True) for line in figure.axes[0].get_lines())
    for absent in (None, np.full(4, np.nan)):
        assert "stability threshold" not in all_text(render.eigenvalues(series, threshold=absent))
    for far, words in ((np.full(4, 1e6), "10⁶"), (np.array([1e6, 2e6, np.nan, 3e6]), "10⁶–3·10⁶")):
        figure = render.eigenvalues(series, threshold=far)
        assert f"stability threshold {words}: far above the curves" in all_text(figure)
        assert not any(np.array_equal(line.get_ydata(), far, equal_nan=True) for line in figure.axes[0].get_lines())
    with pytest.raises(InputError, match=r"a threshold of shape \(2,\) for 4 sets of eigenpairs"):
        render.eigenvalues(series, threshold=[1.0, 2.0])
