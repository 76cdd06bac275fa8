"""Layouts of videos: what each shows, that all of it can be read, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text

from landscape import render
from landscape.errors import InputError
from landscape.records import DensitySeries, EigenSeries
from landscape.render import theme
from landscape.render.film_compare import CompareFilm
from landscape.render.film_layouts import LAYOUTS, film_class, length_of, subject_of
from landscape.render.film_panels import fitting
from landscape.render.film_spectrum import SpectrumFilm, spread_over
from landscape.render.merging import merged
from tests.render.legibility import HOSTILE, assert_film_legible, written_in
from tests.render.surface_cases import densities, surface, with_holes

SIZE = (960, 540)


def series(count=4, run="SGD", **changes):
    """Densities at steps 0, 100, …, with losses."""
    moments = densities(count)
    loss = 2.0 * 0.7 ** np.arange(count)
    facts = {"loss": loss, "losses": loss, "learning_rates": np.full(count, 0.1), "theta_sha256": np.full(count, "")}
    steps = np.array([step for step, _ in moments])
    return DensitySeries.of([one for _, one in moments], steps=steps, run=run, **{**facts, **changes})


def eigenvalues(run="SGD", count=8, n=2762, seed=0):
    """Three eigenvalues that rise and fall."""
    random = np.random.default_rng(seed)
    steps = 50 * np.arange(count)
    values = np.sort(5 * np.sin(np.pi * (steps + 40) / 500)[:, None] * random.uniform(0.5, 1, (count, 3)))[:, ::-1]
    flat = np.full(count, np.nan)
    return EigenSeries(
        steps=steps, values=values, residuals=0.01 * values, converged=np.ones((count, 3), bool), n=n, tol=0.01,
        loss=flat, losses=flat, learning_rates=flat, scales=values[:, 0], noise_floors=np.full(count, 1e-6),
        product_counts=np.full(count, 9), warm=np.zeros(count, bool), theta_sha256=np.full(count, ""), run=run,
    )  # fmt: skip


def bearing(threshold=6.0, **options):
    """A surface whose first run has a stability threshold."""
    record = surface(**options)
    return replace(record, path_threshold=np.where(record.path_run == 0, threshold, np.nan))


FILMS = {
    "trajectory": lambda **o: render.Film(bearing(), densities=series(), eigenvalues=eigenvalues(), **o),
    "compare": lambda **o: CompareFilm(bearing(), eigenvalues=[eigenvalues("ProxSGD", seed=1), eigenvalues()], **o),
    "spectrum": lambda **o: SpectrumFilm(densities=series(), **o),
    "spectrum on a surface": lambda **o: SpectrumFilm(bearing(), densities=series(), eigenvalues=eigenvalues(), **o),
}


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize("size", [SIZE, pytest.param((1920, 1080), marks=pytest.mark.slow), (900, 720)])
def test_everything_can_be_read(name, size):
    film = assert_film_legible(lambda: FILMS[name](size=size, frames=7, title="digits-mlp"))
    assert film.frame(3).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("name", FILMS)
def test_a_frame_depends_on_its_number_only(name):
    first, second = (FILMS[name](size=SIZE, frames=9) for _ in range(2))
    for k in (8, 2, 5):
        second.draw(k)
    for k in (0, 2, 8):
        assert np.array_equal(first.frame(k), second.frame(k))
    assert not np.array_equal(first.frame(0), first.frame(8))


@pytest.mark.parametrize("name", ["trajectory", "compare", "spectrum on a surface"])
@pytest.mark.parametrize(
    "hostile",
    [
        "unknown glyphs",
        "one long word",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("TeX", "lines", "markup")),
    ],
)
def test_names_may_hold_anything(name, hostile):
    text = HOSTILE[hostile]
    record = surface(checkpoints=12)
    record = replace(
        record, path_names=np.array([text, "other"]), axes=np.array([text, text]), unit=text, parameters=text,
        metrics={text: record.metrics["accuracy"]}, anchor_names=np.array([text, text]),
        anchor_coordinates=np.array([[0.0, 0], [1, 1]]), anchor_loss=np.zeros(2),
    )  # fmt: skip
    options = {"size": SIZE, "title": text, "frames": 2, "metric": text}
    kind = {"trajectory": render.Film, "compare": CompareFilm}.get(name, SpectrumFilm)
    if kind is not CompareFilm:
        options["densities"] = series(2, run=text)
    assert_film_legible(lambda: kind(record, **options), (0, 1))


def test_the_threshold_is_drawn_where_it_is_in_reach_and_written_where_not():
    followed = {"eigenvalues": eigenvalues(), "frames": 2, "size": SIZE}
    for threshold, words in ((6.0, "dashed: stable below"), (600.0, "stable below 600"), (np.nan, "of the Hessian")):
        film = render.Film(bearing(threshold), **followed)
        heading = film.figure.axes[4].get_title(loc="left")
        assert words in heading


def test_a_heading_says_whose_threshold_it_is_and_from_where_to_where():
    both = [eigenvalues(), eigenvalues("ProxSGD", seed=1)]
    record = bearing()
    falling = 600 - record.path_step  # 600 to 210
    for first, second, words in (
        (np.nan, 600.0, "eigenvalues; ProxSGD stable below 600"),
        (600.0, 700.0, "eigenvalues; SGD stable below 600, …"),
        (falling, np.nan, "eigenvalues; SGD stable below 210–600"),
        (600.0, 6.0, "eigenvalues, dashed: stable below"),
    ):
        threshold = np.where(record.path_run == 0, first, second)
        film = render.Film(replace(record, path_threshold=threshold), eigenvalues=both, frames=2, size=(1920, 1080))
        axes = film.figure.axes[4]
        assert axes.get_title(loc="left").startswith(words)
        title = next(text for text in axes.findobj(Text) if text.get_text().startswith("eigenvalues"))
        assert title.get_window_extent().x1 <= axes.bbox.x1 + 1
        notes = " ".join(text.get_text() for text in CompareFilm(film.surface, eigenvalues=both, frames=2).figure.texts)
        assert first is not falling or "SGD 210–600" in notes


def test_a_panel_names_its_scale_before_its_remarks():
    assert fitting("eigenvalues", ["; SGD stable below 76"], True, 4.8) == "eigenvalues (log); SGD stable below 76"
    assert fitting("eigenvalues", [", dashed: stable below"], True, 9.0).startswith("eigenvalues (logarithmic), dashed")
    assert theme.text_width(fitting("eigenvalues " * 9, [], True, 4.0), 16.0) <= 4.0


def test_the_spectrum_is_the_measured_one_at_measured_steps():
    record = series(4)
    film = SpectrumFilm(densities=record, size=SIZE, frames=31)  # every tenth frame is a measured one
    assert np.array_equal(film.steps[::10], record.steps)
    assert film.sigma == max(density.default_sigma for density in record)
    assert film.limits[0] < record.lambda_min.min()
    assert film.limits[1] > record.lambda_max.max()
    for curve, density in zip(film.curves, record, strict=True):
        assert np.array_equal(curve, density.pdf(film.x, film.sigma))
    # The map holds one row of pixels for each step, in the colours of its density: the last row is the last density's.
    first, last, left, right = film._place
    frame = film.frame(30)
    assert np.array_equal(frame[last - 3, left:right], film._full[last - 3 - first, :, :3])
    assert (film.frame(0)[last - 3, left:right].astype(int) >= frame[last - 3, left:right]).all()  # still pale


def test_the_spectrum_names_what_was_measured_last():
    film = SpectrumFilm(densities=series(4), size=SIZE, frames=31)
    assert "Hessian, last measured at step 0" in written_in(film, 9)
    rows = [text.get_text() for text in film.figure.texts]
    assert "measured at step" in rows  # in the column, above the eigenvalues of that step
    assert "100" in written_in(film, 17)
    assert "0" in written_in(film, 9)
    assert "Hessian, last measured at step 100" in written_in(film, 10)


def test_frames_of_a_spectrum():
    assert spread_over(np.array([0.0, 10, 40]), 5).tolist() == [0, 5, 10, 25, 40]
    assert spread_over(np.array([7.0]), 2).tolist() == [7, 7]
    assert spread_over(np.array([0.0, 10]), 1).tolist() == [10]
    assert len(SpectrumFilm(densities=series(1), size=SIZE, frames=1)) == 1
    assert length_of(None, "spectrum", {"densities": series(3), "frames": None}) == 150


def test_surfaces_of_one_plane_become_one():
    both = surface(runs=2)
    parts = []
    for index in (0, 1):
        mine = both.path_run == index
        fields = [name for name in vars(both) if name.startswith("path_") and len(getattr(both, name)) == len(mine)]
        part = replace(
            both, path_names=both.path_names[[index]], **{name: getattr(both, name)[mine] for name in fields}
        )
        parts.append(replace(part, path_run=np.zeros(mine.sum(), int)))
    found = merged(parts)
    for name in (name for name in vars(both) if name.startswith("path_")):
        assert np.array_equal(getattr(found, name), getattr(both, name), equal_nan=name != "path_names"), name
    assert merged([parts[0], replace(parts[0], path_loss=parts[0].path_loss + 1)]).path_names.tolist() == [
        "SGD",
        "SGD (2)",
    ]
    twice = merged([both, both])
    assert twice.path_names.tolist() == ["SGD", "ProxSGD"]
    assert np.array_equal(twice.path_coordinates, both.path_coordinates)
    rest = merged([parts[1], both])  # the second of both is there already
    assert rest.path_names.tolist() == ["ProxSGD", "SGD"]
    for run, index in zip(rest.paths, (1, 0), strict=True):
        assert np.array_equal(run.loss, both.paths[index].loss)
    subject, layout, _ = subject_of(parts, None, {})
    assert layout == "compare"
    assert len(subject.paths) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 5, "unit": "other"}, "surface 2 does not belong to the first: its number of parameters is 5, not 2762"),
        ({"axes": np.array(["pca_1", "pca_3"])}, "its axes is pca_1, pca_3, not pca_1, pca_2"),
        ({"theta_sha256": "ab"}, "its SHA-256 of the plane's origin is ab, not"),
        ({"loss": np.ones((25, 31))}, "its loss values differ, so it is another plane"),
    ],
)
def test_trajectories_of_different_models_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        merged([surface(), replace(surface(), **change)])
    with pytest.raises(InputError, match="its grid is 31 × 20 points, not 31 × 25 points"):
        merged([surface(), surface(ny=20)])
    with pytest.raises(InputError, match="the list is empty"):
        merged([])


def test_runs_of_very_different_lengths_and_losses_that_are_not_finite():
    record = surface(runs=3, checkpoints=40)
    kept = (record.path_run != 1) | (record.path_step <= 20)
    fields = [name for name in vars(record) if name.startswith("path_") and len(getattr(record, name)) == len(kept)]
    record = replace(record, **{name: getattr(record, name)[kept] for name in fields})
    record = replace(record, path_loss=np.where(record.path_run == 2, np.nan, record.path_loss))
    film = assert_film_legible(lambda: CompareFilm(record, size=SIZE, frames=3))
    words = written_in(film, 2)
    assert any(text.startswith("ended at step 20") for text in words)
    assert "loss not finite" in words
    assert_film_legible(lambda: CompareFilm(with_holes(runs=7)[0], size=(1280, 720), frames=1))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (CompareFilm, {"surface": surface(runs=1)}, "needs at least two runs"),
        (CompareFilm, {"surface": surface(), "densities": series()}, "has no panel for densities"),
        (SpectrumFilm, {}, "the layout spectrum needs eigenvalue densities"),
        (SpectrumFilm, {"densities": []}, "the layout spectrum needs eigenvalue densities"),
        (SpectrumFilm, {"surface": surface(), "densities": series(run="Adam", count=9)}, "would not be shown"),
        (SpectrumFilm, {"densities": [*densities(1), (5, replace(densities(1)[0][1], n=9))]},
         "networks of different sizes: 9, 2762 parameters"),
        (render.Film, {"surface": surface(), "eigenvalues": eigenvalues("Adam")}, "run 'Adam', but the runs are SGD"),
        (render.Film, {"surface": surface(), "eigenvalues": eigenvalues(n=7)}, "a network of 7 parameters, not to one"),
        (render.Film, {"surface": surface(), "eigenvalues": [eigenvalues(), eigenvalues()]}, "belong to the same run"),
    ],
)  # fmt: skip
def test_bad_input(kind, options, message):
    with pytest.raises(InputError, match=message):
        kind(**{"size": SIZE, "frames": 2, **options})


def test_an_empty_series_is_named():
    nothing = replace(series(1), steps=np.zeros(0, int))
    for film in (lambda: SpectrumFilm(densities=nothing), lambda: render.Film(surface(), densities=nothing)):
        with pytest.raises(
            InputError, match=r"the series of densities is empty; landscape spectrum run\.h5 --every 10"
        ):
            film()
    for empty in (eigenvalues(count=0), replace(eigenvalues(), values=np.full((8, 3), np.nan))):
        with pytest.raises(InputError, match=r"a series of eigenvalues is empty; landscape eigenpairs run\.h5"):
            render.Film(surface(), eigenvalues=empty)


def test_layouts_by_name():
    with pytest.raises(
        InputError, match=r"no layout 'movie'; choose one of:\n  trajectory .*\n  flyover .*\n  spectrum"
    ):
        film_class("movie")
    assert {film_class(name).__name__ for name in LAYOUTS} == {
        "Film", "Flyover", "SpectrumFilm", "CompareFilm", "PathFilm",
    }  # fmt: skip
    assert subject_of(series(), None, {})[1] == "spectrum"
    assert subject_of(surface(), None, {})[1] == "trajectory"
    with pytest.raises(InputError, match="the densities are given twice"):
        subject_of(series(), None, {"densities": series()})
    with pytest.raises(InputError, match="the layout compare needs a surface"):
        subject_of(series(), "compare", {})
    with pytest.raises(InputError, match="a EigenSeries cannot be filmed"):
        subject_of(eigenvalues(), None, {})
