"""Panels of the report for paths between minima and for barriers: numbers of the records, and no time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from landscape.errors import InputError
from landscape.records.densities import packed
from landscape.render.path_density import EigenvalueMap
from landscape.render.report_page.connectivity_panel import connectivity_panel
from landscape.render.report_page.path_panels import path_panels
from tests.render.path_cases import bare, barriers, holed, profile, wide
from tests.render.test_report import page_of, unpacked


def test_the_loss_of_the_page_is_the_record(tmp_path):
    record = profile(points=9, unrepaired_loss=profile(points=9, height=2).loss)
    page = page_of(record, tmp_path)
    assert page.data["moments"] == []
    assert "time" not in [attributes.get("id") for _, attributes in page.elements]
    traces = {trace["name"]: trace for trace in page.data["panels"][0]["data"]}
    assert np.allclose(traces["loss"]["y"], record.loss, rtol=1e-6)
    assert np.allclose(traces["test data"]["y"], record.metrics["test_loss"], rtol=1e-6)
    assert np.allclose(traces["not repaired"]["y"], record.unrepaired_loss, rtol=1e-6)
    assert np.allclose(np.interp(record.s, traces["chord"]["x"], traces["chord"]["y"]), record.chord, rtol=0.01)
    barrier = next(trace for name, trace in traces.items() if name.startswith("barrier"))
    assert np.ptp(barrier["y"]) == pytest.approx(record.barrier, rel=1e-5)
    assert barrier["x"] == [record.barrier_at] * 2
    low, high = record.band()
    band = np.array(traces["95 % band"]["y"])
    assert np.allclose(band[:9], low, rtol=1e-6) and np.allclose(band[9:][::-1], high, rtol=1e-6)
    assert page.titles[0] == "Loss from SGD to ProxSGD"
    text = "".join(page.text)
    assert "barrier" in text and "path between two minima" in text


def test_the_image_of_the_page_is_the_density(tmp_path):
    record = profile(points=5)
    panel = page_of(record, tmp_path).data["panels"][1]
    image = panel["data"][0]
    found = EigenvalueMap.of([record], len(image["y"]))
    assert np.allclose(np.sinh(image["y"]) * found.width, found.x, rtol=1e-4, atol=1e-6)
    assert np.allclose(unpacked(image["customdata"]), np.repeat(found.x[:, None], 5, 1), rtol=1e-6)
    shown, expected = unpacked(image["z"]), found.image(record)
    seen = np.isfinite(expected)
    assert np.allclose(shown[seen], expected[seen], rtol=1e-3)
    assert np.allclose(shown[~seen], 0.05)
    assert image["colorscale"][0][1] == "rgba(0,0,0,0)"
    largest = next(trace for trace in panel["data"] if trace["name"] == "5 largest λ")
    assert np.allclose(largest["customdata"], record.values[:, 0], rtol=1e-6)
    assert np.allclose(np.sinh(largest["y"]) * found.width, record.values[:, 0], rtol=1e-4)


@pytest.mark.parametrize(
    ("record", "titles"),
    [
        (bare(), ["Loss from A to B"]),
        (profile(points=5, spectra=False), ["Loss from SGD to ProxSGD", "Accuracy along the path",
                                            "Gradient norm along the path", "Curvature along the path"]),
        (replace(profile(points=5), **packed([]), metrics={}), ["Loss from SGD to ProxSGD",
         "Eigenvalues from SGD to ProxSGD", "Gradient norm along the path", "Overlap of the eigenvectors"]),
    ],
)  # fmt: skip
def test_what_is_missing_makes_no_panel(record, titles):
    assert [panel.title for panel in path_panels(record, "thing")] == titles


def test_what_is_not_certain_is_said():
    panels = path_panels(holed(), "thing")
    assert panels[0].warnings == ["5 points without a finite loss"]
    assert panels[1].warnings == ["1 point without a density"]
    record = profile(points=5)
    worse = replace(record, facts={**record.facts, "converged": np.zeros(5, bool)})
    assert "5 of 5 densities NOT CONVERGED to the error asked for" in path_panels(worse, "thing")[1].warnings
    assert len(path_panels(wide(), "thing")) == 5
    assert len(path_panels(profile(points=1), "thing")) == 5


def test_several_paths_are_told_apart(tmp_path):
    page = page_of([bare(), bare()], tmp_path, labels=["plain.h5", "aligned.h5"])
    assert page.titles == ["Loss from A to B: plain.h5", "Loss from A to B: aligned.h5"]


def test_barriers_of_the_page_are_the_record(tmp_path):
    record = barriers(6, groups=2)
    panel = page_of(record, tmp_path).data["panels"][0]
    shown = np.array(panel["data"][0]["z"], float)
    names = [text.split(": ")[1] for text in panel["layout"]["yaxis"]["ticktext"]]
    order = [record.point_names.tolist().index(name) for name in names]
    expected = record.barriers[np.ix_(order, order)]
    off = ~np.eye(6, dtype=bool)
    assert [index % 2 for index in order] == [0, 0, 0, 1, 1, 1]  # every second one is of the same group
    assert np.allclose(10 ** shown[off], expected[off], rtol=1e-5)
    assert np.isnan(shown[~off]).all()
    assert len(panel["layout"]["shapes"]) == 2
    far = np.array(panel["choices"][2]["z"], float)
    assert np.allclose(far[off], record.distances[np.ix_(order, order)][off], rtol=1e-6)
    assert panel["layout"]["yaxis"]["range"][0] > panel["layout"]["yaxis"]["range"][1]
    few = replace(record, distances=np.zeros((0, 0)), function_distances=np.full((6, 6), np.nan), s=np.zeros(0))
    assert len(connectivity_panel(few, "thing").choices) == 2
    holes = record.barriers.copy()
    holes[0, 1] = holes[1, 0] = np.nan
    assert connectivity_panel(replace(record, barriers=holes), "thing").warnings == ["no finite barrier of 1 pair"]


def test_what_is_empty_is_refused(tmp_path):
    empty = barriers(2, point_names=np.zeros(0, str))
    for record in (empty, replace(bare(), s=np.zeros(0))):
        with pytest.raises(InputError, match="thing is empty"):
            page_of(record, tmp_path, labels=["thing"])
