"""Every container: the same bytes again, a comment that is found again, pictures that can be decoded."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from landscape import render
from landscape.errors import InputError
from landscape.render.encoder import VideoFile, encoder, read_comment
from landscape.render.film_schedule import pixels
from landscape.render.filming import read_configuration
from landscape.render.video_formats import FORMATS, append_gif_comment, format_of, read_gif_comment
from tests.render.surface_cases import densities, surface
from tests.render.test_film_layouts import eigenvalues, series

SMALL = {"size": (640, 360), "frames": 5}
CODECS = {".mp4": "Video: h264", ".webm": "Video: vp9", ".gif": "Video: gif"}


def decoded(path, size):
    """All frames of a video, (frames, height, width, 3)."""
    command = [encoder(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    content = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(content, np.uint8).reshape(-1, size[1], size[0], 3)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_video_is_what_its_name_says_and_is_recognized(tmp_path, suffix):
    drawn, title = [], 'a = "b"; #1 \\ ü\nnext ' + 300 * "x"
    options = {
        "densities": densities(2),
        "title": title,
        "progress": lambda done, total, _: drawn.append(done),
        **SMALL,
    }
    path = render.video(surface(), tmp_path / f"run{suffix}", **options)
    said = subprocess.run([encoder(), "-i", path], capture_output=True, text=True, check=False).stderr
    assert CODECS[suffix] in said
    assert "640x360" in said
    film = render.Film(surface(), densities=densities(2), title=title, **SMALL)
    frames = decoded(path, (640, 360))
    for k in (0, 4):
        assert np.abs(frames[k].astype(int) - film.frame(k)).mean() < 2
    assert read_configuration(path)["title"] == title
    assert read_configuration(path)["fps"] == FORMATS[suffix].fps
    render.video(surface(), path, **options)
    assert drawn == [1, 2, 3, 4, 5]
    workers = 2 if suffix == ".gif" else 1
    other = render.video(surface(), tmp_path / f"other{suffix}", workers=workers, **options)
    assert other.read_bytes() == path.read_bytes()
    render.video(surface(), path, **{**options, "title": "another"})
    assert read_configuration(path)["title"] == "another"
    assert {item.name for item in tmp_path.iterdir()} == {f"run{suffix}", f"other{suffix}"}


def test_frames_of_a_gif_without_samples_have_palettes_of_their_own(tmp_path):
    film = render.Film(surface(), **SMALL)
    with VideoFile(tmp_path / "run.gif", film.size, 20, "a comment") as file:
        for k in range(len(film)):
            file.write(film.draw(k))
    assert read_comment(tmp_path / "run.gif") == "a comment"
    assert np.abs(decoded(tmp_path / "run.gif", film.size)[4].astype(int) - film.frame(4)).mean() < 2


def test_comments_of_a_gif(tmp_path):
    path = render.video(surface(), tmp_path / "run.gif", **SMALL)
    for comment in ("short", "ü" * 1000, "x" * 255, ""):
        append_gif_comment(path, comment)
        assert read_gif_comment(path) == comment
    assert len(decoded(path, (640, 360))) == 5
    content = path.read_bytes()
    for damaged in (content[:3000], content[:20], b"GIF89a", b"", b"GIF89a" + bytes(50)):
        (tmp_path / "damaged.gif").write_bytes(damaged)
        assert read_gif_comment(tmp_path / "damaged.gif") is None
    with pytest.raises(ValueError, match="does not end as a GIF does"):
        append_gif_comment(tmp_path / "damaged.gif", "x")


def test_other_subjects(tmp_path):
    path = render.video(series(3), tmp_path / "spectrum.mp4", **SMALL)
    found = read_configuration(path)
    assert (found["layout"], found["surface_sha256"], len(found["densities"])) == ("spectrum", None, 3)
    other = render.video(series(3, loss=np.ones(3)), tmp_path / "other.mp4", **SMALL)
    assert read_configuration(other) != found
    path = render.video([surface(), surface(seed=0)], tmp_path / "compare.mp4", eigenvalues=eigenvalues(), **SMALL)
    assert read_configuration(path)["layout"] == "compare"
    with pytest.raises(InputError, match="does not belong to the first"):
        render.video([surface(), surface(seed=1, nx=9)], tmp_path / "x.mp4", **SMALL)
    with pytest.raises(InputError, match="another plane, another model or other data"):
        render.video([surface(), surface(value=lambda x, y: x**2 + y**2)], tmp_path / "x.mp4", **SMALL)


def test_sizes_and_rates():
    assert pixels("4K") == (3840, 2160)
    assert pixels("1920×1080") == pixels("1080p") == (1920, 1080)
    assert pixels((7, 5)) == (7, 5)
    for size in ("huge", "12x", "1x2x3", "-1x5"):
        with pytest.raises(InputError, match="write width and height in pixels"):
            pixels(size)
    assert format_of("a.GIF").size == (960, 540)
    with pytest.raises(InputError, match=r"must end in one of \.mp4, \.webm, \.gif"):
        format_of("a.mov")
