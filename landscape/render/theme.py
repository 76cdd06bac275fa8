"""One look for every figure: colours, type, sizes, and how a figure becomes a file with the same bytes every time."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from landscape.errors import InputError
from landscape.render.formats import check_suffix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito, "Color universal design" (2008): distinct for every kind of colour vision. Yellow is left out: too pale
# for lines on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, QUIET, FAINT = "#222222", "#666666", "#BBBBBB"
WARNING = "#B2182B"

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


def themed(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run a drawing function under the theme; the user's matplotlib settings are as before afterwards."""

    @wraps(function)
    def drawn(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(SETTINGS)
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
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        temporary.write_bytes(content.getvalue())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"cannot write the figure {path}: {error.strerror}") from error
    return path
