"""VTK's picture of a relief against ours: two renderers that know nothing of each other see the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from landscape import render
from landscape.errors import InputError
from landscape.render import shaded_figure
from landscape.render.heights import heights
from landscape.render.relief_page import ReliefPage
from tests.render.legibility import all_text, assert_legible
from tests.render.surface_cases import UNUSUAL, surface, with_holes
from tests.render.test_relief import ridge

pytest.importorskip("pyvista", reason="pip install '.[vtk]'")


@pytest.fixture(scope="module", autouse=True)
def _drawing():
    try:
        shaded_figure.check_vtk()
    except InputError as error:
        pytest.skip(str(error))


def ground(figure):
    """The picture of the ground, and how much of each pixel it covers."""
    picture = np.asarray(figure.axes[0].images[0].get_array())
    return picture[..., :3].astype(float), picture[..., 3] / 255


@pytest.mark.parametrize("azimuth", [35.0, pytest.param(200.0, marks=pytest.mark.slow)])
def test_both_renderers_see_the_same(azimuth):
    record = surface(runs=0)
    theirs, ours = (ground(draw(record, azimuth=azimuth, elevation=40)) for draw in (render.shaded, render.relief))
    assert theirs[1].shape == ours[1].shape
    # What is below the rim in front is covered by sides later on; what we cover, VTK covers.
    both = (theirs[1] > 0.9) & (ours[1] > 0.9)
    assert both.sum() > 0.985 * (ours[1] > 0.9).sum()
    # The same colours, but for light: hues agree.
    hue = [colors[both] / colors[both].sum(axis=1, keepdims=True) for colors in (theirs[0], ours[0])]
    assert np.median(np.abs(hue[0] - hue[1])) < 0.02


@pytest.mark.slow
def test_holes_are_hatched():
    picture = ground(render.shaded(with_holes(runs=0)[0], azimuth=200, elevation=40))[0]
    assert (picture == 138).all(axis=-1).mean() > 0.002


@pytest.mark.slow
def test_a_ridge_hides_the_tube_behind_it():
    shown, hidden = (ground(render.shaded(ridge(), log=False, azimuth=angle, elevation=15))[0] for angle in (180, 0))
    warm = [((picture[..., 0] > 1.5 * picture[..., 2]) & (picture[..., 0] > 60)).sum() for picture in (shown, hidden)]
    assert warm[0] > 1000
    assert warm[1] < 0.02 * warm[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["points", "constant", "seven runs"])
def test_unusual_surfaces(name, tmp_path):
    figure = render.shaded(UNUSUAL[name](), tmp_path / "shaded.png", title="digits-mlp")
    assert (tmp_path / "shaded.png").stat().st_size > 20_000
    assert_legible(figure)
    assert "behind a hill" not in all_text(figure)


@pytest.mark.slow
def test_single_checkpoints_have_no_tube_but_a_marker():
    record = surface(runs=1, checkpoints=1)
    figure = render.shaded(record)
    assert len([line for line in figure.axes[0].lines if line.get_marker() not in ("None", "")]) == 2


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr(shaded_figure, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install '\.\[vtk\]'"):
        render.shaded(surface())


def test_without_opengl(monkeypatch):
    monkeypatch.setattr(shaded_figure, "PROBE", "import os; os.kill(os.getpid(), 11)")
    shaded_figure._cannot_draw.cache_clear()
    try:
        with pytest.raises(InputError, match=r"signal 11.*apt install libegl1"):
            render.shaded(surface())
    finally:
        shaded_figure._cannot_draw.cache_clear()


def test_bad_input():
    for changes, message in (({"x": np.zeros(31)}, "ascending"), ({"loss": np.full((25, 31), np.nan)}, "no relief")):
        with pytest.raises(InputError, match=message):
            render.shaded(replace(surface(), **changes))
    assert ReliefPage(surface(), heights(surface()), 10, 40, None).view.azimuth == 10
