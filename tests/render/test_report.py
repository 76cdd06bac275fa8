"""The report: what is in the file, that it is the record's, that nothing in it is markup, and what it refuses."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from landscape import render
from landscape.errors import InputError
from landscape.records import DensitySeries
from landscape.render.report_page import packing
from tests.render.report_cases import (
    HOSTILE,
    N,
    Run,
    densities,
    density_series,
    eigen_series,
    everything,
    profile,
    stability,
)
from tests.render.surface_cases import UNUSUAL, eigen_pairs, surface, with_holes

CSS = (Path(render.__file__).parent / "report_page" / "page.css").read_text(encoding="utf-8")


class Page(HTMLParser):
    """The elements, their attributes and the visible text of a page, and the contents of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.scripts, self.titles = [], [], [], []
        self.within = ""
        self.feed(text)
        matrices = json.loads(self.scripts[0])["matrices"]
        self.data = json.loads(
            self.scripts[0], object_hook=lambda found: matrices[found["matrix"]] if "matrix" in found else found
        )

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.within = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.within = ""

    def handle_data(self, text):
        if self.within == "script":
            self.scripts[-1] += text
        elif self.within == "h3" and not text.startswith("Files, "):
            self.titles.append(text)
            self.text.append(text)
        elif self.within != "style":
            self.text.append(text)


def page_of(records, folder, **options):
    return Page(render.report(records, folder / "page.html", **options).read_text(encoding="utf-8"))


def unpacked(packed):
    """As page.js does it, with NumPy."""
    numbers = np.frombuffer(base64.b64decode(packed["base64"]), {"f4": "<f4", "u2": "<u2"}[packed["type"]])
    rows = numbers.reshape(-1, packed["columns"]).astype(float)
    return rows if packed["type"] == "f4" else 10 ** (packed["from"] + packed["step"] * rows)


def test_numbers_of_the_page_are_those_of_the_record(tmp_path):
    record = surface()
    data = page_of(record, tmp_path).data
    relief, chart = data["panels"][:2]
    for trace in (relief["data"][0], chart["data"][0]):
        assert np.allclose(trace["x"], record.x)
        assert np.allclose(trace["y"], record.y)
        assert np.allclose(unpacked(trace["values"]), record.loss, rtol=1e-6)
        low, high, logarithmic = trace["scale"]
        assert low <= record.loss.min() < record.loss.max() <= high and logarithmic
    path = record.paths[1]
    move = next(one for one in chart["moves"] if one.get("shape") == 1)
    assert np.allclose(np.stack([move["x"], move["y"]], axis=1), path.coordinates, rtol=1e-6)
    assert move["steps"] == path.steps.tolist()
    hover = next(trace for trace in chart["data"] if trace.get("name") == "ProxSGD")["customdata"]
    assert np.allclose(hover, np.stack([path.steps, path.loss, path.projected_loss, path.distance], axis=1), rtol=1e-6)


def test_densities_of_a_series_share_one_kernel_and_have_their_bands(tmp_path):
    series = density_series()
    panel = page_of(series, tmp_path).data["panels"][0]
    sigma = 0.01 * max(np.abs(one.nodes).max() for one in series)
    frames = next(move for move in panel["moves"] if move["kind"] == "frames")
    band, curve, stems = frames["traces"]
    x = np.array(panel["data"][1]["x"])
    floor = 10 ** panel["layout"]["yaxis"]["range"][0]
    for index, density in enumerate(series):
        visible = density.pdf(x, sigma) > floor
        assert np.allclose(unpacked(curve["y"])[index][visible], density.pdf(x, sigma)[visible], rtol=1e-3)
        low, high = density.pdf_band(x, sigma, 0.95)
        assert np.allclose(unpacked(band["y"])[index][: len(x)][high > floor], high[high > floor], rtol=1e-3)
        assert np.allclose(unpacked(band["y"])[index][len(x) :][::-1][low > floor], low[low > floor], rtol=1e-3)
        assert np.allclose(sorted({value for value in stems["x"][index] if value is not None}), density.eigenvalues)


def test_densities_that_name_their_step_move(tmp_path):
    records = [replace(one, provenance={"step": step, "run": "SGD"}) for step, one in densities(4)]
    data = page_of(records[::-1], tmp_path).data
    assert data["moments"] == [0, 100, 200, 300]
    assert [panel["moves"][0]["steps"] for panel in data["panels"]] == [[0, 100, 200, 300]] * 2
    assert page_of([replace(one, provenance={}) for one in records], tmp_path).data["moments"] == []


def test_of_several_densities_at_a_step_the_most_accurate_is_drawn(tmp_path):
    (_, coarse), (_, fine) = densities(2)
    provenance = {"step": 5, "run": "SGD"}
    records = [replace(coarse, error=0.3, provenance=provenance), replace(fine, error=0.1, provenance=provenance)]
    for given in (records, records[::-1]):
        page = page_of(given, tmp_path)
        stems = page.data["panels"][0]["data"][2]["x"]
        assert np.allclose(sorted({value for value in stems if value is not None}), fine.eigenvalues)
        assert "the most accurate is drawn; 1 left out" in "".join(page.text)


def test_long_series_are_thinned_and_the_page_says_so(tmp_path):
    one = densities(1)[0][1]
    zeros = np.zeros(150)
    series = DensitySeries.of(
        [one] * 150, steps=np.arange(150), loss=zeros, losses=zeros, learning_rates=zeros,
        theta_sha256=np.array([""] * 150), run="SGD",
    )  # fmt: skip
    page = page_of(series, tmp_path)
    assert "drawn at 120 of 150 moments" in "".join(page.text)
    assert (page.data["moments"][0], page.data["moments"][-1], len(page.data["moments"])) == (0, 149, 120)


@pytest.mark.parametrize("values", [[1.0, np.nan, np.inf, -2.5], [[1e-30, 3.0], [4.0, 5e30]]])
def test_packed_floats(values):
    assert np.array_equal(
        unpacked(packing.floats(values)), np.atleast_2d(np.asarray(values, np.float32)), equal_nan=True
    )


@pytest.mark.parametrize("seed", range(3))
def test_packed_logarithms(seed):
    values = 10 ** np.random.default_rng(seed).uniform(-9, 2, (3, 50))
    assert np.allclose(unpacked(packing.logarithms(values, 1e-9, 1e2)), values, rtol=2.5e-4)
    assert np.allclose(unpacked(packing.logarithms([[0, np.nan, 1e9]], 1e-9, 1e2)), [[1e-9, 1e-9, 1e2]], rtol=1e-6)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    first = render.report(everything(), tmp_path / "a.html").read_bytes()
    assert render.report(everything(), tmp_path / "b.html").read_bytes() == first
    assert len(first) < 6e6
    assert not list(tmp_path.glob(".*"))


def test_nothing_is_loaded_and_only_our_scripts_run(tmp_path):
    page = page_of(everything(), tmp_path)
    policy = next(value["content"] for tag, value in page.elements if value.get("http-equiv"))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("style-src")[0]
    assert "http" not in policy
    addresses = [value[name] for _, value in page.elements for name in ("src", "href", "action") if name in value]
    assert set(addresses) == {"#panels", "data:,"}
    assert not [name for _, value in page.elements for name in value if name.startswith("on")]
    assert "url(" not in CSS


def test_text_of_files_is_never_markup(tmp_path):
    page = page_of(everything(HOSTILE), tmp_path, title=HOSTILE, labels=[f"{HOSTILE} {index}" for index in range(12)])
    plain = page_of(everything(), tmp_path)
    tags = [tag for tag, _ in page.elements]
    assert {"img", "b"} & set(tags) <= {"b"}  # the names of the files are bold
    assert sorted(set(tags)) == sorted({tag for tag, _ in plain.elements})
    assert len(page.scripts) == 3
    assert "".join(page.text).count(HOSTILE) > 40
    raw = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert plain.elements[0][0] == "html"
    assert "<img" not in raw.split("<script>")[0]


TURNING = "\u202e\u202d\u202a\u202b\u202c\u2066\u2067\u2068\u2069\u200e\u200f"


def test_nothing_in_a_name_turns_the_text_behind_it(tmp_path):
    assert {unicodedata.category(one) for one in TURNING} == {"Cf"}
    page = page_of(everything(f"SGD{TURNING}x\U0001f600"), tmp_path, title=TURNING, labels=[TURNING] * 12)
    raw = (tmp_path / "page.html").read_text(encoding="utf-8").split("</script>")
    everywhere = "".join(page.text) + json.dumps(page.data, ensure_ascii=False) + raw[0]
    everywhere += "".join(str(value) for _, values in page.elements for value in values.values())
    assert not set(TURNING) & set(everywhere)
    assert "SGD\ufffd" in everywhere and "\U0001f600" in json.dumps(page.data, ensure_ascii=False)


@pytest.mark.parametrize("name", UNUSUAL)
def test_every_surface_makes_a_page(tmp_path, name):
    record = UNUSUAL[name]()
    page = page_of(record, tmp_path)
    assert len(page.data["panels"]) >= (2 if min(record.loss.shape) > 1 and np.isfinite(record.loss).any() else 1)


def test_what_is_missing_makes_no_panel(tmp_path):
    assert len(page_of(surface(runs=0), tmp_path).data["panels"]) == 2
    page = page_of(Run(losses=np.full(40, np.nan), learning_rates=np.full(40, 0.1)), tmp_path)
    assert page.data["panels"] == []
    assert ("details", {}) in page.elements


def test_what_is_not_certain_is_said(tmp_path):
    record, holes = with_holes()
    text = "".join(page_of([*everything(), record], tmp_path).text)
    for words in (
        f"{int(holes.sum())} points without a finite loss", "1 eigenvalue NOT CONVERGED", "1 pair NOT CONVERGED",
        "NOT CONVERGED to the error asked for (0.1)", "the recording of SGD was cut off",
        "above the threshold at 2 of 12",
    ):  # fmt: skip
        assert words in text


def test_large_grids_and_long_runs_are_thinned_and_the_page_says_so(tmp_path):
    record = surface(nx=701, ny=301, checkpoints=9000)
    page = page_of([record, replace(record, metrics={})], tmp_path)
    assert (tmp_path / "page.html").stat().st_size < 8e6
    assert "drawn at 201 × 201 of the 701 × 301 points of the file" in "".join(page.text)
    assert "SGD: drawn at 800 of 9\u202f000 checkpoints" in "".join(page.text)
    chart = page.data["panels"][1]["data"][0]
    assert (chart["x"][0], chart["x"][-1]) == (record.x[0], record.x[-1])


def test_runs_of_one_name_are_told_apart_by_their_content(tmp_path):
    first, second = "a" * 64, "b" * 64
    planes = [
        replace(surface(runs=1, seed=seed), provenance={"configuration": {"runs": [digest]}},
                path_threshold=np.full(40, 10.0 + seed))
        for seed, digest in enumerate((first, second))
    ]  # fmt: skip
    belongs = {"configuration": {"run_sha256": second}}
    other_plane = replace(planes[0], path_distance=planes[0].path_distance + 1)
    records = [*planes, other_plane, replace(eigen_series(), provenance=belongs)]
    records += [
        replace(density_series(), provenance={"configuration": {"run_sha256": digest}}) for digest in (first, second)
    ]
    page = page_of(records, tmp_path, labels=["one", "two", "three", "eigen", "density 1", "density 2"])
    panels = {title: [] for title in page.titles}
    for title, panel in zip(page.titles, page.data["panels"], strict=True):
        panels[title].append(panel)
    eigen = panels["Eigenvalues along SGD (2)"][0]["data"]
    threshold = next(trace for trace in eigen if "threshold" in trace["name"])
    assert set(threshold["y"]) == {11.0}
    assert len(panels["Eigenvalue density along SGD"]) == len(panels["Eigenvalue density along SGD (2)"]) == 1
    curves = {trace["name"]: trace["y"] for trace in panels["Loss"][0]["data"]}
    assert np.allclose(curves["SGD"], planes[0].path_loss, rtol=1e-6)
    assert np.allclose(curves["SGD (2)"], planes[1].path_loss, rtol=1e-6)
    distances = {trace["name"]: trace["y"][0] for trace in panels["Distance from the plane"][0]["data"]}
    assert distances == {"SGD from one": 0, "SGD (2)": 0, "SGD from three": 1}


def test_without_the_content_equal_names_are_not_mixed(tmp_path):
    planes = [
        replace(surface(runs=1), provenance={"configuration": {"runs": [letter * 64]}}, path_threshold=np.full(40, 9.0))
        for letter in "ab"
    ]
    page = page_of([*planes, eigen_series()], tmp_path)
    assert "Eigenvalues along SGD (not known which)" in page.titles
    assert "threshold" not in json.dumps(page.data["panels"][-1]["data"])


def test_long_names_are_cut_and_stand_in_full_in_titles(tmp_path):
    name = "run " + 60 * "nomen "
    plane = surface(runs=1, path_names=np.array([name]))
    records = [plane, Run(name), replace(eigen_series(), run=name), replace(density_series(), run=name)]
    page = page_of(records, tmp_path, labels=[name, "run", "eigen", "density"])
    captions = "".join(page.text).split("Files, configuration")[0]
    assert name not in captions and "nomen nom…" in captions
    entries = [entry for panel in page.data["panels"] for entry in panel["legend"]]
    assert max(len(entry["name"]) for entry in entries) < 80
    assert any(name in entry["full"] for entry in entries)
    assert any(name in (value.get("title") or "") for tag, value in page.elements if tag == "h3")


@pytest.mark.parametrize("kind", ["eigenvalues", "densities", "stability", "pairs", "density", "profile", "run"])
def test_what_is_empty_is_refused(tmp_path, kind):
    record = {
        "eigenvalues": lambda: replace(eigen_series(), steps=np.zeros(0, int), values=np.zeros((0, 3))),
        "densities": lambda: replace(density_series(), steps=np.zeros(0, int)),
        "stability": lambda: replace(stability(), steps=np.zeros(0, int)),
        "pairs": lambda: replace(eigen_pairs(), values=np.zeros(0)),
        "density": lambda: replace(densities(1)[0][1], nodes=np.zeros(0)),
        "profile": lambda: replace(profile(), s=np.zeros(0)),
        "run": lambda: Run(steps=np.zeros(0, int)),
    }[kind]()
    with pytest.raises(InputError, match="thing is empty"):
        render.report([record], tmp_path / "page.html", labels=["thing"])


def test_networks_get_a_section_each_and_what_says_no_size_the_only_one(tmp_path):
    text = "".join(page_of([surface(n=N), surface(n=100)], tmp_path).text)
    assert "Network of 2\u202f762 parameters" in text and "Network of 100 parameters" in text
    page = page_of(everything(), tmp_path)
    assert sum(1 for tag, _ in page.elements if tag == "section") == 1


def test_figures_have_words(tmp_path):
    page = page_of(everything(), tmp_path)
    plots = [value for _, value in page.elements if value.get("class") == "plot"]
    assert len(plots) == len(page.data["panels"]) >= 12
    assert all(len(plot["aria-label"]) > 30 for plot in plots)
    buttons = [value for tag, value in page.elements if tag in ("button", "input", "select")]
    assert all(value.get("aria-label") or value.get("class") or value.get("id") for value in buttons)


def luminance(color):
    channels = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_of_text_and_curves(theme):
    blocks = re.findall(r":root\S* \{(.*?)\n\}", CSS, re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[theme == "dark"]))
    pairs = [(name, ground) for name in ("ink", "quiet", "accent", "warning") for ground in ("card", "page")]
    pairs += [(name, "card") for name in colors if name.startswith(("run-", "curve-", "cursor"))]
    pairs += [("warning", "warning-soft"), ("on-accent", "accent")]
    for name, ground in pairs:
        dark, light = sorted((luminance(colors[name]), luminance(colors[ground])))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


def test_what_is_refused(tmp_path):
    target = tmp_path / "page.html"
    for records, options, words in (
        ([], {}, "the list of results is empty"),
        ([surface()], {"labels": ["a", "b"]}, "2 labels for 1 results"),
        ([surface(), 3], {}, "is a int, which a report cannot show"),
    ):
        with pytest.raises(InputError, match=words):
            render.report(records, target, **options)
    with pytest.raises(InputError, match=r"must end in \.html"):
        render.report(surface(), tmp_path / "page.png")
    with pytest.raises(InputError, match="cannot write the report"):
        render.report(surface(), tmp_path / "missing" / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_without_plotly(tmp_path, monkeypatch):
    monkeypatch.setattr("landscape.render.report_page.document.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install 'plotly"):
        render.report(surface(), tmp_path / "page.html")


def heights_in_space(page, name):
    panel = page.data["panels"][0]
    return panel, next(trace for trace in panel["data"] if trace.get("name") == name)["z"]


def test_true_losses_in_space_are_where_they_are(tmp_path):
    record = surface(runs=1)
    low = record.loss.min()
    loss = np.geomspace(3 * low, low / 5, 40)
    panel, z = heights_in_space(page_of(replace(record, path_loss=loss), tmp_path), "SGD, true loss")
    assert np.allclose(z, np.log10(loss), rtol=1e-5)
    assert panel["layout"]["scene"]["zaxis"]["range"][0] == pytest.approx(np.log10(low / 5), rel=1e-5)

    loss[30:] = [np.nan, np.inf, 0, *[low / 1e6] * 6, 1e9]
    page = page_of(replace(record, path_loss=loss), tmp_path)
    _, z = heights_in_space(page, "SGD, true loss")
    assert z[30:] == [None] * 10 and np.allclose(z[:30], np.log10(loss[:30]), rtol=1e-5)
    assert "at 10 checkpoints, where the dotted line is interrupted" in "".join(page.text)


def test_bars_of_colours_and_contours_of_a_linear_map_are_round(tmp_path):
    record = surface(runs=0, value=lambda x, y: 3 + x**2 + y**2)
    trace = page_of(record, tmp_path).data["panels"][1]["data"][0]
    assert not trace["scale"][2]
    ticks = np.array(trace["colorbar"]["tickvals"])
    assert [float(text) for text in trace["colorbar"]["ticktext"]] == ticks.tolist()
    bands = trace["contours"]
    assert bands["size"] in (0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5)
    for values in (ticks, bands["start"], bands["end"]):
        assert np.allclose(np.asarray(values) / bands["size"], np.round(np.asarray(values) / bands["size"]))


@pytest.mark.parametrize("ratio", [0.4, 1, 2.5])
def test_marks_in_space_keep_off_the_corners(tmp_path, ratio):
    record = surface(runs=1)
    record = replace(record, y=record.y * ratio)
    scene = page_of(record, tmp_path).data["panels"][0]["layout"]["scene"]
    for name, room in (("xaxis", 0.08), ("yaxis", 0.08), ("zaxis", 0.04)):
        low, high = scene[name]["range"]
        places = (np.array(scene[name]["tickvals"]) - low) / (high - low)
        assert len(places) >= 1 and places.min() >= room
        assert name == "zaxis" or places.max() <= 1 - room
