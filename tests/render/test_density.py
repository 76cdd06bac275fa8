"""The density figure shows what the record holds, looks the same every time, and leaves no trace in matplotlib."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.container import StemContainer

from landscape import render
from landscape.errors import InputError
from landscape.records import SpectralDensity


def heavy_bulk(seed=0, n=2762, scale=1.0, outliers=10, negative=3, **changes):
    """A density like that of a trained network: a heavy bulk at zero, a few large eigenvalues, fewer negative ones."""
    random = np.random.default_rng(seed)
    ends = np.concatenate([-0.3 * 0.6 ** np.arange(negative), 4.2 * 0.73 ** np.arange(outliers)])
    bulk = np.concatenate([-np.geomspace(1e-6, 0.06, 22), np.geomspace(1e-7, 0.14, 45)])
    share = np.exp(-np.abs(bulk) / 0.02) * random.uniform(0.5, 1.5, len(bulk))
    share *= (1 - len(ends) / n) / share.sum()
    nodes, weights = scale * np.concatenate([ends, bulk]), np.concatenate([np.full(len(ends), 1 / n), share])
    resolved = np.arange(len(nodes)) < len(ends)
    order = np.argsort(nodes)
    facts = {"trace": n * float(nodes @ weights), "trace_stderr": 0.2, "error": 0.02, "tol": 0.05, "converged": True}
    residuals = np.where(resolved, 1e-4, 1e-2) * scale
    return SpectralDensity(
        nodes[order], weights[order], n, resolved[order], residuals[order],
        **{**facts, "noise_floor": 1e-6 * scale, "products": 90, **changes},
    )  # fmt: skip


def text_of(figure):
    return "\n".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize("seed", range(3))
def test_curve_band_and_stems_are_those_of_the_record(seed):
    record = heavy_bulk(seed)
    sigma = 0.01 * np.abs(record.nodes).max()
    one = 1 / (record.n * sigma * np.sqrt(2 * np.pi))  # the height of a Gaussian of mass 1/n
    axes = render.density(record).axes[0]

    floor, ceiling = axes.get_ylim()
    curve = max(axes.lines, key=lambda line: len(line.get_xdata()))
    x, y = curve.get_data()
    visible = y > floor
    assert np.allclose(y[visible], record.pdf(x[visible], sigma))
    assert np.isclose(floor, one / 20)
    assert ceiling > record.pdf_band(x, sigma)[1].max()
    assert x[0] < record.lambda_min - 3 * sigma
    assert x[-1] > record.lambda_max + 3 * sigma
    assert np.diff(x).max() < sigma / 5

    (band,) = axes.collections[:1]
    corners = band.get_paths()[0].vertices
    low, high = record.pdf_band(x, sigma, 0.95)
    for edge in (low, high):
        points = np.column_stack([x, edge])[edge > floor][::50]
        assert all(np.isclose(corners, point, rtol=1e-6).all(axis=1).any() for point in points)

    (stems,) = (item for item in axes.containers if isinstance(item, StemContainer))
    assert np.allclose(stems.markerline.get_xdata(), record.eigenvalues)
    assert np.allclose(stems.markerline.get_ydata(), one)
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "eigenvalue λ  (loss per parameter²)"


def test_caption_states_what_a_reader_needs():
    text = text_of(render.density(heavy_bulk()))
    for fact in (
        "λₘₐₓ = 4.2",
        "λₘᵢₙ = −0.3",
        "n = 2\u202f762",
        "σ = 0.042 (1 % of the largest |λ|)",
        "90 products, 1 probe",
        "predicted error 0.02 (asked: 0.05)",
        "λ < −0.00042: ",
        "|λ| ≤ 0.00042: ",
        "noise floor 10⁻⁶",
    ):
        assert fact in text
    assert "NOT CONVERGED" not in text
    assert "NOT CONVERGED" in text_of(render.density(heavy_bulk(converged=False)))
    assert "(1 %" not in text_of(render.density(heavy_bulk(), sigma=0.1))


def test_nothing_overlaps_and_nothing_is_cut_off():
    many = [heavy_bulk(seed, scale=0.5**seed, converged=seed != 1) for seed in range(3)]
    for figure in (
        render.density(heavy_bulk(), title="digits-cnn"),
        render.density(many, labels=["at the start", "in between", "at the end"]),
        render.density(heavy_bulk(n=10**8, scale=2e-4), scale="symlog"),
    ):
        axes = figure.axes[0]
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        labels = []
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            labels += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        shown = [*figure.texts, axes.xaxis.label, axes.yaxis.label, axes.title, *axes.texts, axes.xaxis.offsetText]
        boxes = [item.get_window_extent(renderer) for item in [*labels, *shown] if item.get_text()]
        for index, box in enumerate(boxes):
            assert figure.bbox.x0 <= box.x0
            assert box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0
            assert box.y1 <= figure.bbox.y1
            assert not any(box.overlaps(other) for other in boxes[index + 1 :])
        legend = axes.get_legend().get_window_extent(renderer)
        for line in axes.lines[:1]:
            points = axes.transData.transform(line.get_xydata())
            assert not any(legend.contains(*point) for point in points)


def test_several_share_one_sigma():
    records = [heavy_bulk(0), heavy_bulk(1, scale=0.2, operator="gauss-newton", negative=0)]
    figure = render.density(records)
    axes = figure.axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) > 1000]
    assert len({line.get_color() for line in curves}) == 2
    for record, line in zip(records, curves, strict=True):
        x, y = line.get_data()
        visible = y > axes.get_ylim()[0]
        assert np.allclose(y[visible], record.pdf(x[visible], 0.042))
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["Hessian, 13 resolved", "Gauss-Newton, 10 resolved"]


@pytest.mark.parametrize(
    "record",
    [
        SpectralDensity(np.array([1.0]), np.array([1.0]), 20),  # the identity
        SpectralDensity(np.array([0.0]), np.array([1.0]), 20),  # zero
        SpectralDensity(np.array([-2.0, -1.0]), np.array([0.5, 0.5]), 2, resolved=np.array([True, True])),
    ],
    ids=["identity", "zero", "negative"],
)
@pytest.mark.parametrize("scale", ["linear", "symlog"])
def test_unusual_spectra_can_be_drawn(tmp_path, record, scale):
    render.density(record, tmp_path / "figure.png", scale=scale)
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_files_are_the_same_every_time(tmp_path, suffix):
    first, second = (tmp_path / f"{name}.{suffix}" for name in ("first", "second"))
    for path in (first, second):
        render.density(heavy_bulk(), path)
    content = first.read_bytes()
    assert content == second.read_bytes()
    assert content.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix])
    if suffix == "png":
        width = int.from_bytes(content[16:20], "big")
        assert width / 6.3 >= 200  # dots per inch
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]


def test_the_settings_of_the_user_stay(tmp_path):
    matplotlib.rcParams["lines.linewidth"] = 7.5
    before = dict(matplotlib.rcParams)
    render.density(heavy_bulk(), tmp_path / "a.svg")
    assert dict(matplotlib.rcParams) == before
    matplotlib.rcdefaults()
    code = "import sys, landscape.render; print({'matplotlib.pyplot', 'torch', 'h5py', 'mpi4py'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ([[]], {}, "list is empty"),
        ([heavy_bulk()], {"sigma": 0.0}, "sigma is 0.0; give a positive width"),
        ([heavy_bulk()], {"level": 95}, "level is 95; give the level"),
        ([heavy_bulk()], {"scale": "log"}, "scale is 'log'; choose one of: linear, symlog"),
        ([heavy_bulk()], {"labels": ["a", "b"]}, "2 labels for 1 densities"),
        ([heavy_bulk(), "figure.gif"], {}, r"must end in one of \.png, \.svg, \.pdf"),
        ([heavy_bulk(), "/nowhere/figure.png"], {}, "cannot write the figure /nowhere/figure.png"),
    ],
)
def test_bad_input(arguments, options, message):
    with pytest.raises(InputError, match=message):
        render.density(*arguments, **options)
