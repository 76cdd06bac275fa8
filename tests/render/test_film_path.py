"""The video that walks a path: what each frame shows is the record's, all of it can be read, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from landscape import render
from landscape.errors import InputError
from landscape.records.densities import packed
from landscape.render.film_layouts import length_of, subject_of
from landscape.render.film_path import PathFilm, loss_text
from landscape.render.film_path_plane import coordinates_on
from landscape.render.filming import configuration, read_configuration
from tests.render.legibility import HOSTILE, assert_film_legible, written_in
from tests.render.path_cases import bare, holed, plane_of, profile, wide
from tests.render.surface_cases import densities, surface

SIZE = (960, 540)
CURVED = profile(points=9, path="bezier", height=0.5)
FILMS = {
    "plain": lambda **o: PathFilm(profile(points=9), **o),
    "on a plane": lambda **o: PathFilm(CURVED, surface=plane_of(CURVED), **o),
    "repaired": lambda **o: PathFilm(
        profile(points=9, margin=0.25, unrepaired_loss=profile(points=9, margin=0.25).loss), **o
    ),
    "bare": lambda **o: PathFilm(bare(), **o),
    "holes": lambda **o: PathFilm(holed(), **o),
    "wide": lambda **o: PathFilm(wide(), **o),
    "lines": lambda **o: PathFilm(replace(profile(points=9), **packed([])), **o),
    "a plane without densities": lambda **o: PathFilm(
        replace(CURVED, **packed([])), surface=plane_of(CURVED), **o
    ),
    "no spectra": lambda **o: PathFilm(profile(points=9, spectra=False), **o),
    "negative": lambda **o: PathFilm(
        replace(bare(), loss=bare().loss - 5, metrics={"test_loss": bare().loss - 4}), **o
    ),
    "two points": lambda **o: PathFilm(profile(points=2), **o),
}  # fmt: skip
QUICK = ("on a plane", "bare", "holes")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FILMS]
)
@pytest.mark.parametrize(
    "size", [SIZE, *(pytest.param(size, marks=pytest.mark.slow) for size in ((1920, 1080), (900, 720), (1400, 540)))]
)
def test_everything_can_be_read(name, size):
    film = assert_film_legible(lambda: FILMS[name](size=size, frames=7, title="digits-cnn: two seeds"), (0, 3))
    assert film.frame(3).shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    "hostile",
    [name if name in ("one long word",) else pytest.param(name, marks=pytest.mark.slow) for name in HOSTILE],
)
def test_names_may_hold_anything(hostile):
    text = HOSTILE[hostile]
    record = replace(
        profile(points=3, path="bezier"), end_names=np.array([f"{text}1", f"{text}2"]), path=text, path_source=text,
        metrics={text: np.ones(3)},
    )  # fmt: skip
    plane = plane_of(record, axes=np.array([text, text]), unit=text)
    assert_film_legible(lambda: PathFilm(record, surface=plane, size=SIZE, frames=2, title=text), (0,))
    assert_film_legible(lambda: PathFilm(record, size=SIZE, frames=2, title=text), (1,))


def test_a_frame_depends_on_its_number_only():
    first, second = (FILMS["on a plane"](size=SIZE, frames=9) for _ in range(2))
    for k in (8, 2, 5):
        second.draw(k)
    for k in (0, 2, 8):
        assert np.array_equal(first.frame(k), second.frame(k))
    assert not np.array_equal(first.frame(0), first.frame(8))


def test_the_image_fills_up_to_the_dot_and_is_under_the_loss():
    film = PathFilm(profile(points=9), size=SIZE, frames=9)
    first, last, left, right = film._place
    assert film._losses.axes.get_position().x0 == film._image.get_position().x0
    assert film._losses.axes.get_xlim() == film._image.get_xlim() == (0, 1)
    for k in (2, 6):
        frame, at = film.frame(k), left + round((right - left) * k / 8)
        shown = frame[first:last, left:right]
        done = slice(0, at - left - 3)
        assert np.array_equal(shown[:, done], film._full[:, done, :3])
        rest = slice(at - left + 3, None)
        assert (shown[:, rest].astype(int) >= film._full[:, rest, :3]).all()
        assert shown[:, rest].mean() > film._full[:, rest, :3].mean() + 20


def test_the_density_is_the_measured_one_at_measured_points_and_moves_between():
    film = PathFilm(record := profile(points=5), size=SIZE, frames=9)
    assert np.allclose(film.steps[::2], record.s)
    panel, found = film._slice, film._found
    for k in (0, 2, 5):
        film.draw(k)
        x, y = panel._line.get_data()
        logs = (x - panel._left) / panel._per_log
        if k % 2 == 0:
            density = record.densities[k // 2]
            heights = found.heights(density)
            seen = heights > 0.05
            assert np.allclose(np.exp(logs[seen]) * 0.05, heights[seen])
        stems = panel._heads.get_data()[1]
        values = np.interp(stems, y, np.arcsinh(found.x / found.width))
        ends = [record.densities[index].eigenvalues for index in (k // 2, (k + 1) // 2)]
        expected = ends[0] if k % 2 == 0 else (ends[0] + ends[1]) / 2
        assert np.allclose(np.sinh(values) * found.width, expected, rtol=1e-3)


def test_the_dot_walks_on_the_loss_and_on_the_plane():
    film = PathFilm(CURVED, surface=plane_of(CURVED), size=SIZE, frames=17)
    for k in (0, 4, 16):
        film.draw(k)
        s = film.steps[k]
        dot = film._losses._dots[0].get_center()
        at = int(np.argmin(np.abs(CURVED.s - s)))
        assert np.allclose(film._losses.axes.transData.inverted().transform(dot), [s, CURVED.loss[at]])
        line = film._plane._line.get_xydata()[-1]
        assert np.allclose(film._plane.axes.transData.inverted().transform(line), CURVED.coordinates[at])


def test_what_is_written():
    record = profile(points=9)
    film = PathFilm(record, size=SIZE, frames=9)
    assert "s = 0.500" in written_in(film, 4)
    above = record.loss[4] - record.chord[4]
    assert f"loss {record.loss[4]:.3g}, {above:.2g} above the chord" in " ".join(written_in(film, 4))
    low, high = record.lambda_min[4], record.lambda_max[4]
    assert f"λ from −{-low:.2f} to {high:.1f} at s = 0.500" in written_in(film, 4)
    words = " ".join(text.get_text() for text in film.figure.texts)
    for text in ("SGD", "ProxSGD", "accuracy", "share of the way", "curvature along the path"):
        assert text in words
    film = FILMS["holes"](size=SIZE, frames=25)
    assert "no density here" in written_in(film, 6)
    assert "loss not finite" in written_in(film, 13)
    assert loss_text(bare(), 0.0, False) == "loss 0.500"
    assert loss_text(replace(bare(), loss=1 - bare().loss), 0.5, False) == "loss 0.250, 0.25 below the chord"


def test_a_straight_path_is_found_between_the_anchors_of_a_plane():
    record = profile(points=5)
    found = coordinates_on(record, plane_of(record))
    assert np.allclose(found, np.column_stack([8 * record.s, 0 * record.s]))
    assert coordinates_on(CURVED, plane_of(CURVED)) is not None


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_workers(tmp_path):
    options = {"size": (640, 360), "frames": 4, "surface": plane_of(CURVED)}
    paths = [render.video(CURVED, tmp_path / f"{workers}.mp4", workers=workers, **options) for workers in (1, 2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_video_and_its_configuration(tmp_path):
    plane = plane_of(CURVED)
    options = {"size": (640, 360), "frames": 4, "surface": plane}
    render.video(CURVED, tmp_path / "1.mp4", **options)
    told = read_configuration(tmp_path / "1.mp4")
    assert told["layout"] == "path" and told["frames"] == 4
    others = [
        configuration(CURVED, frames=4, size=(640, 360)),
        configuration(replace(CURVED, loss=2 * CURVED.loss), **options),
        configuration(CURVED, **{**options, "surface": replace(plane, loss=2 * plane.loss)}),
    ]
    assert told == configuration(replace(CURVED, seconds=3.0), **options)
    assert all(other != told for other in others)
    film = PathFilm(CURVED, surface=plane, size=(640, 360))
    found = render.frame(CURVED, tmp_path / "frame.png", step=0.5, surface=plane, size=(640, 360))
    assert np.array_equal(found, film.frame(int(np.abs(film.steps - 0.5).argmin())))


def test_layouts_of_paths():
    assert subject_of(CURVED, None, {})[1] == "path"
    assert length_of(CURVED, "path", {}) == 150 and length_of(CURVED, "path", {"frames": 3}) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PathFilm(profile(points=1)), "a single point is no path"),
        (lambda: PathFilm(bare(), densities=densities(2)), "leave densities= and eigenvalues= out"),
        (lambda: PathFilm(CURVED, surface=plane_of(CURVED, n=5)), "a network of 5 parameters, not to one of 2762"),
        (lambda: PathFilm(CURVED, surface=surface(1, 5)), "1 × 5 points is no landscape"),
        (lambda: PathFilm(CURVED, surface=plane_of(CURVED, anchor_coordinates=np.array([[0.0, 0], [8, 1], [4, 3]]))),
         r"another plane than that of the path: ProxSGD is at \(8, 1\) there, but at \(8, 0\)"),
        (lambda: PathFilm(profile(points=3, path="spherical"), surface=plane_of(CURVED)),
         "nobody says where the path is"),
        (lambda: PathFilm(profile(points=3), surface=surface()),
         "the anchors of the surface are none, not SGD and ProxSGD"),
        (lambda: subject_of(CURVED, "compare", {}), "the layout compare does not show a path"),
        (lambda: subject_of(CURVED, "movie", {}), "no layout 'movie'"),
        (lambda: subject_of(surface(), None, {"surface": surface()}), "surface= is the plane of a path"),
        (lambda: subject_of(surface(), "path", {}), "the layout path needs a path between two minima"),
        (lambda: render.frame(bare(), step=2.0), "there is no step 2.0: the film goes from step 0 to 1"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
