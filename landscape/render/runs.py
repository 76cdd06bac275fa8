"""Recorded runs on a surface: one hue each, dark at the start and bright at the end, with a light seam around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.legend_handler import HandlerBase
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.patches import PathPatch
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from landscape.render import theme
from landscape.render.numerals import count

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

    from landscape.records import PathOnSurface

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RunStyle:
    """How one run is drawn everywhere.

    Attributes
    ----------
    dark, bright : str
        Colours at its start and at its end.
    line : str
        Colour of its curves on white; contrast at least 4.5, so that text may have it, too.
    marker, word : str
        Its end, for matplotlib and in words.
    size : float
        Of the marker, relative to a circle.
    dashes : str or tuple
        Line style on white, which tells apart runs of the same colour.
    """

    dark: str
    bright: str
    line: str
    marker: str
    word: str
    size: float = 1.0
    dashes: Any = "-"

    @property
    def ramp(self) -> LinearSegmentedColormap:
        """Colours from its start to its end."""
        return LinearSegmentedColormap.from_list("run", [self.dark, self.bright])


# Warm hues and white, which the map of the heights does not have; in this order distinct for every kind of colour
# vision, by lightness where hues meet.
_STYLES = (
    RunStyle("#5A1E00", "#FF7A1A", "#B84A00", "X", "cross", 1.15),
    RunStyle("#3D0A33", "#FF6BD0", "#A3217F", "*", "star", 1.6),
    RunStyle("#000000", "#FFFFFF", "#222222", "s", "square", 1.0),
    RunStyle("#4A3500", "#FFD21F", "#564800", "D", "diamond", 0.9),
    RunStyle("#300000", "#C8102E", "#7A0014", "p", "pentagon", 1.15),
)
# Ends of the sixth to the tenth run, whose colours are those of the first five.
_MORE_ENDS = (
    ("P", "plus", 1.1),
    ("h", "hexagon", 1.15),
    ("d", "rhombus", 1.1),
    ("8", "octagon", 1.1),
    ("v", "wedge", 1.1),
)
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1.2, 1, 1.2)))
SEAM = "#FFFFFF"


def run_style(index: int) -> RunStyle:
    """The look of run number `index`, counted from 0; after five runs the colours come again with dashes."""
    base = _STYLES[index % len(_STYLES)]
    dashes = _DASHES[index // len(_STYLES) % len(_DASHES)]
    if index // len(_STYLES) % 2:
        marker, word, size = _MORE_ENDS[index % len(_STYLES)]
        return replace(base, marker=marker, word=word, size=size, dashes=dashes)
    return replace(base, dashes=dashes)


def draw_run(axes: Axes, coordinates: Array, style: RunStyle, width: float = 1.6, marker: float = 6.5) -> None:
    """Draw the path of a run in the plane, coloured by time, its start an open circle.

    Parameters
    ----------
    axes : Axes
    coordinates : (t, 2) float64
    style : RunStyle
    width, marker : float
        Of the line and of the markers, points.
    """
    axes.plot(*coordinates.T, color=SEAM, linewidth=width + 1.4, zorder=5, alpha=0.9)
    segments = np.stack([coordinates[:-1], coordinates[1:]], axis=1)
    if len(segments):
        colors = style.ramp(np.linspace(0, 1, len(segments)))
        line = LineCollection(list(segments), colors=colors, linewidths=width, capstyle="round", zorder=6)
        if style.dashes != "-":
            line.set_linestyle(style.dashes)
        axes.add_collection(line, autolim=False)
    if 2 < len(coordinates) <= 40:  # few enough to show where each checkpoint is
        times = np.linspace(0, 1, len(coordinates))
        axes.scatter(
            coordinates[:, 0], coordinates[:, 1], s=(1.6 * width) ** 2, c=style.ramp(times), linewidths=0, zorder=6.5
        )
    axes.plot(*coordinates[0], **start_marker(style, marker), zorder=7)
    axes.plot(*coordinates[-1], **end_marker(style, marker), zorder=8)


def start_marker(style: RunStyle, size: float) -> dict[str, Any]:
    """Look of a start: an open circle, with the seam's colour inside and around."""
    return {
        "linestyle": "none", "marker": "o", "markersize": size, "markerfacecolor": SEAM,
        "markeredgecolor": style.dark, "markeredgewidth": 0.2 * size,
    }  # fmt: skip


def end_marker(style: RunStyle, size: float) -> dict[str, Any]:
    """Look of an end: the run's own marker with a dark rim, which shows on light ground and in dark valleys alike."""
    return {
        "linestyle": "none", "marker": style.marker, "markersize": 1.25 * style.size * size,
        "markerfacecolor": style.bright, "markeredgecolor": style.dark, "markeredgewidth": 0.13 * size,
    }  # fmt: skip


def run_text(run: PathOnSurface, style: RunStyle, size: float, width: float) -> str:
    """What the legend says of a run, in `width` inches: a long name is shortened."""
    first, last = count(int(run.steps[0])), count(int(run.steps[-1]))
    what = (
        f": step {first} (circle) to {last} ({style.word})" if len(run.steps) > 1 else f": step {last} ({style.word})"
    )
    return theme.shortened(run.name, size, width - theme.text_width(what, size)) + what


def marker_patch(style: RunStyle, pixels: float) -> PathPatch:
    """A run's marker around the origin, so many pixels wide: a patch, as markers would jump in whole pixels."""
    marker = MarkerStyle(style.marker)
    size = Affine2D().scale(pixels * style.size)
    path = (marker.get_transform() + size).transform_path(marker.get_path())
    return PathPatch(path, facecolor=style.bright, edgecolor=style.dark, linewidth=1.6)


class HandlerRun(HandlerBase):
    """Legend handle of a run: its ramp between its two markers; for a `RunStyle` as handle."""

    def create_artists(
        self,
        legend: Legend,
        orig_handle: Artist,
        xdescent: float,
        ydescent: float,
        width: float,
        height: float,
        fontsize: float,
        trans: Any,
    ) -> Sequence[Artist]:
        """Draw the handle."""
        style: RunStyle = orig_handle.style  # type: ignore[attr-defined]
        marker = 0.62 * fontsize
        left, right, middle = 0.4 * marker - xdescent, width - xdescent - 0.6 * marker, height / 2 - ydescent
        x = np.linspace(left, right, 17)
        points = np.column_stack([x, np.full(17, middle)])
        ramp = LineCollection(
            list(np.stack([points[:-1], points[1:]], axis=1)),
            colors=style.ramp(np.linspace(0, 1, 16)),
            linewidths=0.2 * fontsize,
            transform=trans,
        )
        if style.dashes != "-":
            ramp.set_linestyle(style.dashes)
        start = Line2D([left], [middle], **start_marker(style, marker), transform=trans)
        end = Line2D([right], [middle], **end_marker(style, marker), transform=trans)
        return [ramp, start, end]


class RunHandle(Line2D):
    """What stands for a run in the list of legend handles."""

    def __init__(self, style: RunStyle) -> None:
        super().__init__([], [])
        self.style = style
