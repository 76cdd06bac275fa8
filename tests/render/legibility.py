"""What every picture owes its reader: no text cut off or covered, enough contrast, and no string that breaks it.

For a still figure: ``assert_legible(figure)`` and ``assert_contrast(figure)``. For a film, whose frames are pixels:
``assert_film_legible(lambda: Film(...))``, which builds it twice, with and without its letters. ``HOSTILE`` holds names
and titles that break careless drawing.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colors import to_rgba
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from landscape.render import film_stage

CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3, for text of any size
TOUCHING = 1.0  # pixels by which boxes of two texts may meet: they hold the room of letters that are not there
HOSTILE = {
    "markup": "<script>alert('x')</script> &amp; <b>bold</b>",
    "TeX": r"$\frac{1}{0}$ \undefined $$ a_b^c $",
    "one dollar": "costs 5 $ more",
    "lines": "first\nsecond\r\nthird\ttab",
    "controls": "null\x00 bell\x07 escape\x1b[31m \u202eesrever\u202c \u200bzero\ufeff",
    "long": "a name without an end " * 10,
    "one long word": "W" * 200,
    "right to left": "שלום עולם مرحبا",
    "unknown glyphs": "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 漢字 \ue000 \U000e0041",
    "empty": "",
    "spaces": "   ",
    "format": "%s %d {} {0} %(name)s",
}


@dataclass(frozen=True)
class Drawn:
    """A text as it was drawn: what, where in pixels from below, in which colour."""

    text: str
    box: Bbox
    color: tuple[float, float, float, float]
    clip: Bbox | None


@contextmanager
def recording():
    """Collect every text that is drawn inside, the last time that it is; yields the list, complete at the end."""
    found, original = {}, Text.draw

    def draw(self, renderer, *arguments, **options):
        original(self, renderer, *arguments, **options)
        if not (self.get_visible() and self.get_text().strip()):
            return
        if not isinstance(renderer, RendererAgg):
            return
        color = to_rgba(self.get_color(), self.get_alpha())
        clip = self.get_clip_box() if self.get_clip_on() else None
        box = self.get_window_extent(renderer)
        found[id(self)] = (self, Drawn(self.get_text(), box.frozen(), color, None if clip is None else clip.frozen()))

    drawn = []
    Text.draw, film_stage.KEEP_LETTERS = draw, False
    try:
        yield drawn
    finally:
        Text.draw, film_stage.KEEP_LETTERS = original, True
        drawn += [one for _, one in found.values()]


@contextmanager
def without_letters():
    """Draw everything but the letters: what lies under them."""
    kinds = ((RendererAgg, "draw_text"), (RendererAgg, "draw_mathtext"), (RendererBase, "draw_text"))  # last: outlines
    originals = {kind: getattr(*kind) for kind in kinds}
    for owner, name in originals:
        setattr(owner, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for (owner, name), original in originals.items():
            setattr(owner, name, original)


def drawn_texts(figure):
    """Every text of a figure that is drawn."""
    with recording() as drawn:
        _canvas(figure).draw()
    return drawn


def texts_of(figure):
    """Every text of a figure that is drawn, with its box in pixels."""
    return [(one.text, one.box) for one in drawn_texts(figure)]


def all_text(figure):
    """Everything that is written in a figure."""
    return "\n".join(text for text, _ in texts_of(figure))


def written_in(film, k):
    """What is written in a frame and not in all of them."""
    with recording() as drawn:
        film.draw(k)
    return [one.text for one in drawn]


def assert_legible(figure):
    """No text of a figure is cut off at the page, and none covers another."""
    assert_apart(drawn_texts(figure), figure.bbox)


def assert_contrast(figure, least=CONTRAST):
    """Every text of a figure stands out from what is drawn under it."""
    drawn = drawn_texts(figure)
    canvas = _canvas(figure)
    full = np.array(canvas.buffer_rgba())[..., :3]
    with without_letters():
        canvas.draw()
    _assert_stands_out(drawn, full, np.array(canvas.buffer_rgba())[..., :3], least)


def assert_film_legible(make, frames=None, *, contrast=CONTRAST):
    """No text of a film's frames is cut off or covered, and all of them stand out; returns the film.

    Parameters
    ----------
    make : callable
        Returns the film; called twice.
    frames : sequence of int, optional
        Which are looked at. Default: the first, the middle and the last.
    """
    with recording() as still:
        film = make()
    with without_letters():
        bare = make()
    width, height = film.size
    page = Bbox([[0, 0], [width, height]])
    for k in (0, len(film) // 2, len(film) - 1) if frames is None else frames:
        with recording() as moving:
            full = film.frame(k)
        with without_letters(), recording():
            under = bare.frame(k)
        drawn = [one for one in still if one.box.width < width] + moving
        assert drawn, "no text at all"
        assert_apart(drawn, page)
        _assert_stands_out(drawn, full, under, contrast)
    return film


def assert_apart(drawn, page):
    """No text is cut off at the page or at its own clip box, and none covers another."""
    for index, one in enumerate(drawn):
        box = one.box
        inside = box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0 and box.y1 <= page.y1
        assert inside, f"{one.text!r} is cut off: {box} on {page}"
        if one.clip is not None:
            kept = Bbox.intersection(box, one.clip)
            whole = kept is not None and kept.width >= box.width - 1 and kept.height >= box.height - 1
            assert whole, f"{one.text!r} is cut off: {box} in {one.clip}"
        for other in drawn[index + 1 :]:
            second = other.box
            overlap = min(box.x1, second.x1) - max(box.x0, second.x0), min(box.y1, second.y1) - max(box.y0, second.y0)
            assert min(overlap) <= TOUCHING, f"{one.text!r} covers {other.text!r} by {overlap} pixels"


def contrast_ratio(first, second):
    """WCAG contrast of colours, (..., 3) in 0 to 1."""
    bright, dark = _luminance(np.asarray(first, float)), _luminance(np.asarray(second, float))
    return (np.maximum(bright, dark) + 0.05) / (np.minimum(bright, dark) + 0.05)


def _assert_stands_out(drawn, full, under, least):
    """The colour of each text against the pixels that lie under its letters."""
    full, under = full.astype(float) / 255, under.astype(float) / 255
    for one in drawn:
        rows = slice(max(0, int(full.shape[0] - one.box.y1)), int(np.ceil(full.shape[0] - one.box.y0)))
        columns = slice(max(0, int(one.box.x0)), int(np.ceil(one.box.x1)))
        ink = np.abs(full[rows, columns] - under[rows, columns]).max(axis=-1)
        assert ink.size, f"{one.text!r} is not on the page"
        assert ink.max() > 0.2, f"{one.text!r} cannot be seen: it has the colour of what lies under it"
        below = under[rows, columns][ink > 0.4 * ink.max()]
        color = np.array(one.color[:3]) * one.color[3] + below * (1 - one.color[3])
        # A thin line that crosses a letter does not hide it.
        worst = float(np.quantile(contrast_ratio(color, below), 0.1))
        assert worst >= least, f"{one.text!r} has a contrast of {worst:.2f} only"


def _luminance(color):
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def _canvas(figure):
    canvas = figure.canvas
    return canvas if isinstance(canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
