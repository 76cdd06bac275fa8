"""What every film is: a canvas of pixels, layers that are drawn once, and what moves over them, frame by frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render import theme
from landscape.render.film_schedule import check_size
from landscape.render.numerals import count
from landscape.render.runs import RunStyle, marker_patch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
# Lengths in pixels of a picture that is 1080 pixels high; other sizes scale with it.
HEIGHT = 1080
LEFT, MARGIN = 90, 50
KEEP_LETTERS = True  # the tests of legibility draw all of them every time
MOST_LETTERS = 16  # strings of a text that are kept
BODY, SMALL, TITLE, COUNTER = 16.0, 14.0, 21.0, 27.0  # points, of which 72 are 100 pixels

SETTINGS: dict[str, Any] = {
    **theme.SETTINGS,
    "font.size": BODY, "axes.labelsize": BODY, "axes.titlesize": BODY, "legend.fontsize": SMALL,
    "xtick.labelsize": SMALL, "ytick.labelsize": SMALL, "axes.linewidth": 1.2, "lines.linewidth": 2.2,
    "xtick.major.size": 6, "ytick.major.size": 6, "xtick.major.width": 1.2, "ytick.major.width": 1.2,
    "hatch.linewidth": 1.2,
}  # fmt: skip


class Stage(ABC):
    """A film; a subclass draws what stands still in `_build` and what moves in `_move`.

    A frame depends on nothing but its number: any process can draw any of them, with the same bytes.

    Parameters
    ----------
    size : (int, int)
        Width and height in pixels, both even.
    steps : (frames,) float64
        What each frame shows.

    Attributes
    ----------
    size : (int, int)
    steps : (frames,) float64
    still : (height, width, 4) uint8
        What is the same in all frames.

    Raises
    ------
    InputError
        An impossible size.
    """

    still: Image

    def __init__(self, size: tuple[int, int], steps: Array) -> None:
        check_size(size)
        self.size = (int(size[0]), int(size[1]))
        self.steps = steps
        self.dots_per_inch = 100 * self.size[1] / HEIGHT
        self.width = HEIGHT * self.size[0] / self.size[1]
        inches = self.size[0] / self.dots_per_inch, self.size[1] / self.dots_per_inch
        with theme.applied(SETTINGS):
            self.figure = Figure(figsize=inches, dpi=self.dots_per_inch)
            canvas: Any = FigureCanvasAgg(self.figure)
            self._canvas = canvas

    def __len__(self) -> int:
        return len(self.steps)

    def frame(self, k: int) -> Image:
        """Frame number `k`, counted from 0; negative numbers count from the end.

        Returns
        -------
        (height, width, 3) uint8

        Raises
        ------
        InputError
            There is no such frame.
        """
        return np.ascontiguousarray(self.draw(k)[..., :3])

    def draw(self, k: int) -> Image:
        """Frame number `k` as red, green, blue and 255, without a copy: it lasts until the next frame is drawn.

        Returns
        -------
        (height, width, 4) uint8
        """
        number = self._number(k)
        with _settings():
            self._canvas.restore_region(self._background)
            self._move(self._canvas.get_renderer(), number)
        return np.asarray(self._canvas.buffer_rgba())

    @abstractmethod
    def _move(self, renderer: Any, number: int) -> None:
        """Draw what belongs to a frame."""

    def _settle(self) -> None:
        """Draw what stands still: positions are final from here on."""
        self._canvas.draw()

    def _keep(self) -> None:
        """Keep what is drawn as the background of all frames."""
        self._background = self._canvas.copy_from_bbox(self.figure.bbox)
        self.still = np.array(self._canvas.buffer_rgba())

    def _number(self, k: int) -> int:
        if not -len(self) <= k < len(self):
            raise InputError(f"there is no frame {k}: the film has {len(self)}, 0 to {len(self) - 1}")
        return k % len(self)

    def box(self, left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Lengths of a picture of 1080 lines as fractions of the figure."""
        return left / self.width, bottom / HEIGHT, width / self.width, height / HEIGHT

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Axes in a box, in pixels of a picture of 1080 lines."""
        return self.figure.add_axes(self.box(left, bottom, width, height))

    def dots(self, x: float, y: float) -> tuple[float, float]:
        """A place of a picture of 1080 lines in pixels of this one, from below."""
        return x * self.size[1] / HEIGHT, y * self.size[1] / HEIGHT

    def text(self, left: float, bottom: float, words: str, **look: Any) -> Any:
        """Text at a place of a picture of 1080 lines; never read as TeX. What is animated may change later."""
        place = left / self.width, bottom / HEIGHT
        if look.get("animated"):
            return changing_text(self.figure, *place, **look)
        return self.figure.text(*place, words, parse_math=False, **look)

    def marker(self, style: RunStyle, x: float, y: float, pixels: float = 22) -> None:
        """Draw the marker of a run around a place of a picture of 1080 lines."""
        patch = marker_patch(style, pixels * self.size[1] / HEIGHT)
        patch.set_transform(Affine2D().translate(*self.dots(x, y)))
        patch.set_figure(self.figure)
        self.figure.add_artist(patch)

    def counter(self, left: float) -> Any:
        """The place of the step, in the upper corner of a column."""
        return self.text(left, HEIGHT - 34, "", fontsize=COUNTER, va="top", animated=True)

    def title(self, words: str | None, across: float) -> None:
        """Write a title into the upper left corner, shortened to a width in pixels of a picture of 1080 lines."""
        if words:
            self.text(LEFT, HEIGHT - 30, theme.shortened(words, TITLE, across / 100), fontsize=TITLE, va="top")


class ChangingText(Text):
    """Text over a background that stands still: letters that were drawn before are copied, not drawn again.

    Drawing letters costs more than everything else in a frame.
    """

    def draw(self, renderer: Any) -> None:
        """Draw it, or copy the pixels that it gave the last time."""
        kept: OrderedDict[Any, tuple[tuple[slice, slice], Image]] = self.__dict__.setdefault("_kept", OrderedDict())
        key = self.get_text(), self.get_position(), self.get_color()
        pixels = np.asarray(renderer.buffer_rgba())
        if key in kept and KEEP_LETTERS:
            place, letters = kept[key]
            pixels[place] = letters
            return
        super().draw(renderer)
        if not self.get_text():
            return
        box = self.get_window_extent(renderer)
        height, width = pixels.shape[:2]
        rows = slice(max(0, int(height - box.y1) - 3), min(height, int(height - box.y0) + 4))
        columns = slice(max(0, int(box.x0) - 3), min(width, int(box.x1) + 4))
        kept[key] = (rows, columns), pixels[rows, columns].copy()
        if len(kept) > MOST_LETTERS:
            kept.popitem(last=False)


def changing_text(figure: Figure, x: float, y: float, **look: Any) -> ChangingText:
    """An empty text of a figure that is drawn on demand; never read as TeX."""
    text = ChangingText(x, y, "", parse_math=False, **{"transform": figure.transSubfigure, **look})
    text.set_figure(figure)
    text.set_animated(True)
    figure.texts.append(text)
    return text


@contextmanager
def _settings() -> Iterator[None]:
    """The theme of films, as theme.applied gives it, in microseconds: without checking every setting again."""
    settings: Any = matplotlib.rcParams
    if not _resolved:
        with theme.applied(SETTINGS):
            _resolved.update(dict.copy(settings))
    before = dict.copy(settings)
    dict.update(settings, _resolved)
    try:
        yield
    finally:
        dict.update(settings, before)


_resolved: dict[str, Any] = {}


def step_text(step: float) -> str:
    """The step as the counter shows it."""
    return f"step {count(int(step))}"
