"""The density at one place of a path, lying beside the image of all: eigenvalues upwards, their number to the right."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator
from matplotlib.transforms import IdentityTransform
from numpy.typing import NDArray

from landscape.render import theme
from landscape.render.density_figure import FLOOR
from landscape.render.eigenvalue_scale import eigenvalue_axis
from landscape.render.morphing import Morph
from landscape.render.numerals import number
from landscape.render.path_density import EigenvalueMap, densities_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from landscape.records import PathProfile, SpectralDensity

Array = NDArray[np.float64]
LEVEL = 0.95  # of the band
AREA, BAND = 0.12, 0.45  # how opaque what lies under the curve is, and the band around it
LEAST = FLOOR / 10  # zero has no logarithm


class DensitySlice:
    """The density at a place, with band and resolved eigenvalues; between two points quantiles move straight.

    Parameters
    ----------
    axes : Axes
        As high as the image of the densities.
    record : PathProfile
        With densities.
    found : EigenvalueMap
    """

    def __init__(self, axes: Axes, record: PathProfile, found: EigenvalueMap) -> None:
        self.axes, self.found = axes, found
        self.densities = densities_of(record)
        nothing = np.zeros(len(found.x))
        self._heights = [nothing if one is None else found.heights(one) for one in self.densities]
        self._bands = [
            (nothing, nothing) if one is None else self._band(one, heights)
            for one, heights in zip(self.densities, self._heights, strict=True)
        ]
        self._morphs: dict[int, Morph] = {}
        eigenvalue_axis(axes, "y", found.limits, found.width, "symlog")
        axes.tick_params(axis="y", labelleft=False)
        axes.set_xscale("log")
        axes.set_xlim(FLOOR, found.top)
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.xaxis.set_minor_locator(FixedLocator([]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))
        axes.set_xlabel("eigenvalues within σ", labelpad=4)
        axes.axhline(0, color=theme.FAINT, linewidth=1.0, zorder=1)
        axes.axvline(1, color=theme.FAINT, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1)

    def prepare(self) -> None:
        """Find out where everything is, once the figure is laid out."""
        box = self.axes.bbox
        places = np.column_stack([np.ones(len(self.found.x)), self.found.x])
        self._rows = np.asarray(self.axes.transData.transform(places))[:, 1]
        self._left, self._per_log = float(box.x0), float(box.width) / log(self.found.top / FLOOR)
        color = theme.PALETTE[0]
        self._area = Polygon(np.zeros((1, 2)), closed=True, facecolor=color, alpha=AREA, linewidth=0)
        self._ribbon = Polygon(np.zeros((1, 2)), closed=True, facecolor=color, alpha=BAND, linewidth=0)
        self._line = Line2D([], [], color=color, linewidth=2.4)
        self._stems = LineCollection([], colors=theme.PALETTE[1], linewidths=0.7, alpha=0.5)
        self._heads = Line2D([], [], color=theme.PALETTE[1], linestyle="none", marker="o", markersize=3.6)
        self._artists = (self._area, self._ribbon, self._line, self._stems, self._heads)
        for artist in self._artists:
            artist.set_figure(self.axes.get_figure())  # type: ignore[arg-type]
            artist.set_transform(IdentityTransform())
            artist.set_clip_box(box)

    def draw(self, renderer: Any, index: int, part: float) -> bool:
        """What lies a part of the way from one point to the next; False where one of them has no density."""
        following = index + (part > 0)
        first, second = self.densities[index], self.densities[following]
        if first is None or second is None:
            return False
        if index not in self._morphs:
            self._morphs = {index: Morph(first, self.densities[min(index + 1, len(self.densities) - 1)] or first)}
        morph = self._morphs[index]
        heights = self._heights[index] if part == 0 else self._between(morph, first, second, part)
        logs = np.log(np.maximum(heights, LEAST) / FLOOR)
        down, up = (
            (1 - part) * low + part * high for low, high in zip(self._bands[index], self._bands[following], strict=True)
        )
        middle = self._outline(logs)
        ends = np.array([[self._left, self._rows[-1]], [self._left, self._rows[0]]])
        self._area.set_xy(np.concatenate([middle, ends]))
        self._ribbon.set_xy(np.concatenate([self._outline(logs + up), self._outline(logs + down)[::-1]]))
        self._line.set_data(*middle.T)
        self._draw_stems(morph.resolved(part))
        for artist in self._artists:
            artist.draw(renderer)
        return True

    def _between(self, morph: Morph, first: SpectralDensity, second: SpectralDensity, part: float) -> Array:
        """Heights of the moved eigenvalues: of one it is 1 whatever the kernel."""
        nodes, weights = morph.at(part)
        sigma = self.found.kernel(first) ** (1 - part) * self.found.kernel(second) ** part
        bumps = np.exp(-0.5 * ((self.found.x[:, None] - nodes) / sigma) ** 2)
        return np.asarray(first.n * (bumps @ weights))

    def _band(self, density: SpectralDensity, heights: Array) -> tuple[Array, Array]:
        """Logarithms of the ends of the band over the curve."""
        ends = density.pdf_band(self.found.x, self.found.kernel(density), LEVEL)
        low, high = (np.where(np.isfinite(end), end / self.found.one(density), heights) for end in ends)
        curve = np.maximum(heights, LEAST)
        return np.log(np.maximum(low, LEAST) / curve), np.log(np.maximum(high, LEAST) / curve)

    def _outline(self, logs: Array) -> Array:
        return np.column_stack([self._left + self._per_log * np.maximum(logs, -0.5), self._rows])

    def _draw_stems(self, values: Array) -> None:
        """Resolved eigenvalues, as long as one eigenvalue is high."""
        right = self._left + self._per_log * log(1 / FLOOR)
        ups = np.interp(np.arcsinh(values / self.found.width), np.arcsinh(self.found.x / self.found.width), self._rows)
        self._stems.set_segments([np.array([[self._left, up], [right, up]]) for up in ups])
        self._heads.set_data(np.full(len(ups), right), ups)
