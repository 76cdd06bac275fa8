"""One moment of a video as a picture: the frame of the film, as a file, and what has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from landscape import render
from landscape.errors import InputError
from tests.render.surface_cases import surface


def test_it_is_the_frame_of_the_film_that_is_nearest_to_the_step(tmp_path: Path) -> None:
    film = render.Film(surface(), size=(640, 360))
    step = float(film.steps[70])
    found = render.frame(surface(), tmp_path / "frame.png", step=step + 0.1, size="640x360")
    assert np.array_equal(found, film.frame(70))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "frame.png")), found)
    assert np.array_equal(render.frame(surface(), size=(640, 360)), film.frame(-1))


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("frame.jpg", {}, r"cannot write the frame .*frame.jpg: the name must end in .png"),
        ("frame.png", {"step": -1}, "there is no step -1: the film goes from step 0 to"),
        ("frame.png", {"layout": "filmstrip"}, "there is no layout 'filmstrip'"),
        ("nowhere/frame.png", {"size": (640, 360)}, "cannot write the picture .*: No such file or directory"),
    ],
)
def test_what_has_no_picture(tmp_path: Path, path: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        render.frame(surface(), tmp_path / path, **options)
    assert not list(tmp_path.iterdir())
