"""The report in a real browser: it draws, moves, can be used with the keyboard, and nothing in a file is executed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from landscape import render
from tests.render.report_cases import HOSTILE, N, everything
from tests.render.surface_cases import surface

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

SIZES = {"desktop": (1440, 900), "laptop": (1280, 720), "phone": (390, 844), "narrow": (360, 740)}
TIME = "document.getElementById('time')"


@pytest.fixture(scope="module")
def records():
    return everything()


@pytest.fixture(scope="module")
def report(tmp_path_factory, records):
    return render.report(records, tmp_path_factory.mktemp("page") / "page.html", title="Two runs")


@pytest.fixture(scope="module")
def page(open_page, report):
    """One page for all tests that leave it as it was."""
    with open_page(report) as found:
        yield found


def content(page):
    return json.loads(page.run("return document.getElementById('data').textContent"))


def test_every_panel_is_drawn_and_nothing_complains_or_is_loaded(open_page, report, addresses_of):
    with open_page(report) as page:
        count = page.run("return document.querySelectorAll('.panel').length")
        assert count == len(content(page)["panels"]) > 10
        for panel in range(count):
            page.show(panel)
            size = page.run(
                "const r = document.querySelector(`#panel-${arguments[0]} .plot`).getBoundingClientRect();"
                "return [r.width, r.height, document.querySelectorAll(`#panel-${arguments[0]} .main-svg`).length];",
                panel,
            )
            assert size[0] > 300 and size[1] > 200 and size[2] >= 1
        for choice in page.driver.find_elements("css selector", ".choice"):
            page.run("arguments[0].value = '1'; arguments[0].dispatchEvent(new Event('change'))", choice)
        page.move(3)
        assert page.complaints() == []
        assert page.run("return document.getElementById('failure').hidden")
        assert addresses_of(page.driver.get_log("performance")) == []


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_the_slider_moves_every_panel(page, records, share):
    data = content(page)
    moments = data["moments"]
    position = round(share * (len(moments) - 1))
    now = moments[position]
    surface = records[0]
    seen = set()
    for panel, one in enumerate(data["panels"]):
        if not one["moves"]:
            continue
        page.show(panel)
        page.move(position)
        plot = "document.querySelector(`#panel-${arguments[0]} .plot`)"
        for move in one["moves"]:
            seen.add(move["kind"])
            at = max(int(np.searchsorted(move["steps"], now, side="right")) - 1, 0)
            if move["kind"] == "cursor":
                names = [f"{move['axis']}0", f"{move['axis']}1"]
                shape = page.run(f"return {plot}._fullLayout.shapes[arguments[1]]", panel, move["shape"])
                assert [shape[name] for name in names] == [now, now]
            elif move["kind"] == "marker":
                run = surface.paths[move["shape"]]
                index = max(int(np.searchsorted(run.steps, now, side="right")) - 1, 0)
                shape = page.run(f"return {plot}._fullLayout.shapes[arguments[1]]", panel, move["shape"])
                assert np.allclose([shape["xanchor"], shape["yanchor"]], run.coordinates[index], rtol=1e-5)
            elif move["kind"] == "point":
                place = page.run(
                    f"const t = {plot}._fullData[arguments[1]]; return [t.x[0], t.y[0], t.z[0]]", panel, move["trace"]
                )
                assert np.allclose(place, [move[name][at] for name in "xyz"], rtol=1e-6)
            elif move["kind"] == "frames":
                stems = next(one for one in move["traces"] if "x" in one)
                x = page.run(f"return Array.from({plot}._fullData[arguments[1]].x)", panel, stems["trace"])
                assert x == stems["x"][at]
            else:
                assert move["texts"][at] in page.run(
                    "return document.querySelector(`#panel-${arguments[0]} figcaption`).textContent", panel
                )
    assert seen == {"cursor", "marker", "point", "frames", "words"}
    assert page.run("return document.getElementById('step').textContent") == f"step {now}"
    assert page.run(f"return {TIME}.getAttribute('aria-valuetext')") == f"step {now}"


def test_the_marker_moves_on_the_screen(page):
    places = []
    page.show(1)
    for position in (0, 20):
        page.move(position)
        box = page.run("return document.querySelector('#panel-1 .shapelayer path').getBoundingClientRect()")
        places.append([box["x"], box["y"]])
    assert np.hypot(*np.subtract(*places)) > 20


def test_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    slider = page.driver.find_element("id", "time")
    last = len(content(page)["moments"]) - 1
    slider.send_keys(Keys.HOME)
    assert slider.get_attribute("value") == "0"
    slider.send_keys(Keys.ARROW_RIGHT)
    assert slider.get_attribute("value") == "1"
    slider.send_keys(Keys.END)
    assert slider.get_attribute("value") == str(last)
    slider.send_keys(Keys.HOME)
    slider.send_keys(Keys.SPACE)
    assert page.run("return document.getElementById('play').getAttribute('aria-label')") == "Pause"
    page.wait(f"Number({TIME}.value) > 0")
    slider.send_keys(Keys.SPACE)
    assert page.run("return document.getElementById('play').getAttribute('aria-label')") == "Play"


def test_everything_can_be_reached_with_tab_and_shows_its_focus(page):
    from selenium.webdriver.common.keys import Keys

    page.run("document.activeElement?.blur(); window.scrollTo(0, 0)")
    wanted = page.run(
        "return document.querySelectorAll('a[href], button, select, input, summary, .plot[tabindex]').length"
    )
    page.run("window.reached = new Set(); window.bare = 0; document.addEventListener('focusin', (event) => {"
             "window.reached.add(event.target);"
             "if (getComputedStyle(event.target).outlineStyle === 'none') window.bare += 1; })")  # fmt: skip
    for _ in range(wanted + 10):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
    assert page.run("return window.reached.size") >= wanted
    assert page.run("return window.bare") == 0


def test_arrow_keys_turn_the_landscape_and_reset_turns_it_back(page):
    from selenium.webdriver.common.keys import Keys

    page.show(0)
    eye = "document.querySelector('#panel-0 .plot')._fullLayout.scene.camera.eye"
    first = page.run(f"return {eye}")
    page.run("document.querySelector('#panel-0 .plot').focus()")
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    page.wait(f"Math.abs({eye}.x - arguments[0]) > 0.05", first["x"])
    turned = page.run(f"return {eye}")
    assert np.isclose(np.linalg.norm(list(turned.values())), np.linalg.norm(list(first.values())))
    page.run("document.querySelector('#panel-0 .reset').click()")
    page.wait(f"Math.abs({eye}.x - arguments[0]) < 1e-6", first["x"])


def test_the_legend_hides_and_shows(page):
    page.show(2)
    visible = "document.querySelector('#panel-2 .plot')._fullData[0].visible"
    for expected in (False, True):
        page.run("document.querySelector('#panel-2 .legend button').click()")
        page.wait(f"{visible} === arguments[0] || ({visible} === 'legendonly') === !arguments[0]", expected)
        state = page.run("return document.querySelector('#panel-2 .legend button').getAttribute('aria-pressed')")
        assert state == str(expected).lower()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_theme_follows_the_system_and_the_button(open_page, report, scheme):
    other = "light" if scheme == "dark" else "dark"
    theme, ground = (
        "return document.documentElement.dataset.theme",
        "return getComputedStyle(document.body).backgroundColor",
    )
    ink = "document.querySelector('#panel-1 .plot')._fullLayout.font.color"
    with open_page(report, scheme=scheme) as page:
        assert page.run(theme) == scheme
        page.show(1)
        before = page.run(ground), page.run(f"return {ink}")
        page.driver.find_element("id", "theme").click()
        assert page.run(theme) == other
        page.wait(f"{ink} !== arguments[0]", before[1])
        assert page.run(ground) != before[0]
        assert page.complaints() == []


def test_figures_follow_the_size_of_the_window(open_page, report):
    area = "document.querySelector('#panel-1 .plot')._fullLayout._size"
    with open_page(report, *SIZES["desktop"]) as page:
        page.show(1)
        wide = page.run(f"return {area}.w")
        for name in ("phone", "laptop", "desktop"):
            width, height = SIZES[name]
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            page.show(1)
            page.wait("(p => p._fullLayout.width === p.clientWidth)(document.querySelector('#panel-1 .plot'))")
            place = page.run("return document.querySelector('#panel-1 .plot').clientWidth")
            assert 0.6 * place < page.run(f"return {area}.w") < place
        assert page.run(f"return {area}.w") == pytest.approx(wide, rel=0.02)
        assert page.complaints() == []


@pytest.mark.parametrize("size", [(1440, 900), (1366, 768), (390, 844)])
def test_the_landscape_is_seen_whole(open_page, tmp_path, size):
    import io

    from PIL import Image

    square = surface(runs=1, n=N)
    path = render.report([replace(square, unit="norms of the filters", axes=np.array(["direction_1", "direction_2"])),
                          replace(square, y=3 * square.y)], tmp_path / "page.html")  # fmt: skip
    with open_page(path, *size) as page:
        for panel in (0, 2):
            page.show(panel)
            page.wait(f"document.querySelector('#panel-{panel} canvas')")
            found = None
            while True:  # until it is drawn and stays
                picture = page.driver.find_element("css selector", f"#panel-{panel} .plot").screenshot_as_png
                pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
                ink = np.abs(pixels - pixels[1, 1]).max(axis=2) > 24
                if found is not None and ink.mean() > 0.05 and np.array_equal(found, ink):
                    break
                found = ink
                page.wait("new Promise((done) => setTimeout(() => done(true), 300))")
            ring = ink.copy()
            ring[3:-3, 3:-3] = False
            assert not ring.any()


@pytest.mark.parametrize("name", SIZES)
def test_no_horizontal_scrolling(open_page, report, name):
    width, height = SIZES[name]
    with open_page(report, width, height) as page:
        for panel in range(len(content(page)["panels"])):
            page.show(panel)
        page.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert page.run("return window.innerWidth") == width
        assert page.run("const root = document.documentElement; return root.scrollWidth <= root.clientWidth")
        outside = page.run(
            "return [...document.querySelectorAll('.panel, .plot, button, select, input, table')].filter(one => {"
            "const r = one.getBoundingClientRect(); return r.width && (r.left < -0.5 || r.right > innerWidth + 0.5); })"
            ".map(one => one.outerHTML.slice(0, 80))"
        )
        assert outside == []


def test_strings_of_files_do_nothing(open_page, tmp_path, monkeypatch):
    monkeypatch.setattr("landscape.render.report_page.run_names.LONGEST", 1000)
    path = render.report(everything(HOSTILE), tmp_path / "page.html", title=HOSTILE, labels=[HOSTILE] * 12)
    with open_page(path) as page:
        count = page.run("return document.querySelectorAll('.panel').length")
        for panel in range(count):
            page.show(panel)
        page.move(2)
        page.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert page.run("return document.hacked === undefined")
        assert page.run("return document.images.length") == page.run(
            "return document.querySelectorAll('.plot img').length"
        )
        assert page.run("return document.querySelectorAll('script').length") == 3
        assert page.run("return document.querySelector('h1').textContent") == HOSTILE
        shown = " ".join(HOSTILE.split())
        texts = page.run("return [...document.querySelectorAll('svg text')].map(one => one.textContent)")
        assert sum(shown in " ".join(text.split()) for text in texts) >= 2  # the named points
        assert sum(shown[:50] in " ".join(text.split()) for text in texts) >= 5  # and the axes, whose titles are cut
        legend = page.run("return [...document.querySelectorAll('.legend button')].map(one => one.textContent)")
        assert sum(shown in text for text in legend) >= 5
        assert page.run("return document.body.textContent").count(HOSTILE) > 40
        assert page.complaints() == []


def test_hover_boxes_show_text_as_it_is(open_page, tmp_path, monkeypatch):
    monkeypatch.setattr("landscape.render.report_page.run_names.LONGEST", 1000)
    path = render.report(everything(HOSTILE)[:1], tmp_path / "page.html")
    with open_page(path) as page:
        page.show(1)
        page.run("const plot = document.querySelector('#panel-1 .plot');"
                 "const line = plot.data.findIndex(one => one.mode === 'lines+markers');"
                 "Plotly.Fx.hover(plot, [{curveNumber: line, pointNumber: 20}]);")  # fmt: skip
        text = page.wait("document.querySelector('#panel-1 .hoverlayer')?.textContent")
        assert " ".join(HOSTILE.split()) in text.replace("\u00a0", " ")
        assert page.run("return document.hacked === undefined")
        assert page.complaints() == []


def test_without_webgl_the_map_remains(open_page, report):
    with open_page(report, webgl=False) as page:
        page.show(0)
        page.show(1)
        assert "cannot draw in three dimensions" in page.run("return document.querySelector('#panel-0').textContent")
        assert page.run("return document.querySelectorAll('#panel-1 .main-svg').length") >= 1
        page.move(3)
        assert page.complaints() == []


def test_on_paper(page):
    import base64

    pdf = base64.b64decode(page.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 50_000
    assert page.run("return document.documentElement.dataset.theme") == "light"
