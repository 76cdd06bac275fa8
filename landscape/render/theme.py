"""One look for every figure: colours, type, sizes, and how a figure becomes a file with the same bytes every time."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from landscape.render.formats import check_suffix, write_whole
from landscape.render.plain_text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito, "Color universal design" (2008): distinct for every kind of colour vision. Yellow is left out: too pale
# for lines on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, QUIET, FAINT = "#222222", "#666666", "#BBBBBB"
WARNING = "#B2182B"


def _landscape_colors() -> NDArray[np.float64]:
    """Colours in equal steps of Oklab (Ottosson 2020), from dark indigo over teal to ivory.

    Perceptually uniform like viridis, but without warm colours: those are left to the runs that are drawn on it.
    """
    t, knots = np.linspace(0, 1, 2001), np.linspace(0, 1, 6)
    chroma = np.interp(t, knots, (0.09, 0.10, 0.09, 0.08, 0.07, 0.04))
    hue = np.deg2rad(np.interp(t, knots, (285, 262, 225, 190, 150, 105)))
    return _srgb(_even(np.stack([0.27 + 0.70 * t, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1), 256))


def _signed_colors() -> NDArray[np.float64]:
    """Colours in equal steps of Oklab from dark blue over nearly white to dark brown; both arms equally dark.

    Blue and orange differ for every kind of colour vision (Okabe & Ito); what is equally far from zero is equally dark.
    """
    t = np.linspace(0, 1, 2001)
    arms = []
    for hue in np.deg2rad([255, 50]):
        chroma = 0.105 * t
        arms.append(np.stack([0.965 - 0.565 * t, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1))
    return _srgb(_even(np.concatenate([arms[0][::-1], arms[1][1:]]), 257))


def _even(curve: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Points of a curve in equal distances along it."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    even = np.linspace(0, length[-1], steps)
    return np.stack([np.interp(even, length, channel) for channel in curve.T], axis=1)


def _srgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours of Oklab in sRGB."""
    cones = lab @ np.array([
        [1, 1, 1],
        [0.3963377774, -0.1055613458, -0.0894841775],
        [0.2158037573, -0.0638541728, -1.2914855480],
    ])  # fmt: skip
    linear = cones**3 @ np.array([
        [4.0767416621, -1.2684380046, -0.0041960863],
        [-3.3077115913, 2.6097574011, -0.7034186147],
        [0.2309699292, -0.3413193965, 1.7076147010],
    ])  # fmt: skip
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


# The heights of a surface: dark valleys, light peaks.
LANDSCAPE = ListedColormap(_landscape_colors(), "landscape")
# What has a sign: zero in the middle.
SIGNED = ListedColormap(_signed_colors(), "signed")

BODY, SMALL = 9.0, 7.0  # points, at the printed width
WIDTH = 6.3  # inches: the text width of an A4 or letter page with one column
DOTS_PER_INCH = 250

SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that a figure is the same everywhere
    "font.size": BODY,
    "mathtext.fontset": "dejavusans",
    "text.color": INK,
    "text.usetex": False,
    "axes.unicode_minus": True,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.labelsize": BODY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": BODY + 1,
    "axes.titlelocation": "left",
    "axes.grid": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": BODY - 1,
    "ytick.labelsize": BODY - 1,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "legend.frameon": False,
    "legend.fontsize": BODY - 1,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.3,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": DOTS_PER_INCH,
    "svg.hashsalt": "landscape",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # TrueType: text stays text, as journals ask
}

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@contextmanager
def applied(settings: Any = SETTINGS) -> Iterator[None]:
    """Draw under the theme, or a variant of it; the user's matplotlib settings are as before afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def themed(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run a drawing function under the theme."""

    @wraps(function)
    def drawn(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        with applied():
            return function(*arguments, **options)

    return drawn


def new_figure(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """Make a figure of one pair of axes, unknown to pyplot, so that nothing opens a window and nothing leaks.

    Parameters
    ----------
    height, width : float
        Inches.
    """
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH / 2)
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


@lru_cache(maxsize=4096)
def text_width(text: str, size: float) -> float:
    """Width of a line of text of so many points, inches."""
    properties = FontProperties(family=SETTINGS["font.family"], size=size)
    text = plain(text, SETTINGS["font.family"])
    return float(text_to_path.get_text_width_height_descent(text, properties, False)[0]) / 72


@lru_cache(maxsize=4096)
def shortened(text: str, size: float, width: float) -> str:
    """One line of text that fits into a width in inches: an ellipsis stands for the end of a longer one."""
    text = " ".join(plain(text, SETTINGS["font.family"]).splitlines())
    if text_width(text, size) <= width:
        return text
    kept = min(len(text) - 1, int(2 * len(text) * width / text_width(text, size)) + 2)  # not more than fits twice
    while kept > 1 and text_width(text[:kept].rstrip() + "…", size) > width:
        kept -= 1
    return text[:kept].rstrip() + "…"


def joined(facts: Sequence[str], size: float, width: float) -> list[str]:
    """Facts with dots between them, in as few lines as fit into a width in inches."""
    lines: list[str] = []
    for fact in facts:
        longer = f"{lines[-1]}  ·  {fact}" if lines else fact
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(fact)
    return [shortened(line, size, width) for line in lines]


@themed
def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure, whole or not at all; the same figure gives the same bytes.

    Raises
    ------
    InputError
        The suffix is none of .png, .svg, .pdf, or the file cannot be written.
    """
    kind = check_suffix(path)
    nothing = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None, "ModDate": None}}
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=DOTS_PER_INCH, metadata=nothing[kind])
    return write_whole("figure", path, content.getvalue())
