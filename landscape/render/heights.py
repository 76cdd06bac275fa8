"""What the values of a surface look like: linear or logarithmic, at which levels, in which colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from landscape.errors import InputError
from landscape.records.displaying import is_logarithmic
from landscape.render import theme
from landscape.render.numerals import number, plural

if TYPE_CHECKING:
    from landscape.records import Surface

Array = NDArray[np.float64]
NAMES = {"model_error": "loss − quadratic model"}  # what a figure calls a metric
LEVELS = 16  # bands: as many as the eye can tell apart in one colour bar
# Steps within a decade, from coarse to fine.
DECADES = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8))


@dataclass(frozen=True)
class Heights:
    """Values of a surface and how they become colours.

    Attributes
    ----------
    values : (ny, nx) float64
        NaN in holes.
    name : str
        "loss" or the name of a metric.
    logarithmic : bool
    levels : (k,) float64
        Ends of the colour bands, ascending; empty without a finite value.
    marks : (m,) float64
        The levels that are written out.
    below, above : bool
        Whether there are values beyond the first and the last level.
    signed : bool
        Whether zero means something: colours then differ by the sign, and are equally dark equally far from zero.
    """

    values: Array
    name: str
    logarithmic: bool
    levels: Array
    marks: Array
    below: bool
    above: bool
    signed: bool = False

    @property
    def colormap(self) -> ListedColormap:
        """The colours of the scale, for :meth:`shade`."""
        return theme.SIGNED if self.signed else theme.LANDSCAPE

    @property
    def finite(self) -> Array:
        """The values that are not holes, in one row."""
        return self.values[np.isfinite(self.values)]

    @property
    def constant(self) -> bool:
        """Whether all finite values are equal."""
        return self.finite.size > 0 and bool(np.ptp(self.finite) == 0)

    @property
    def extend(self) -> str:
        """For which values beyond the levels the colour bar has an arrow."""
        return {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[self.below, self.above]

    @property
    def norm(self) -> Any:
        """From values to [0, 1], the colours' range."""
        if len(self.levels) == 0:
            return Normalize(0, 1)
        kind = LogNorm if self.logarithmic else Normalize
        return kind(self.levels[0], self.levels[-1], clip=True)

    def colors(self) -> NDArray[np.float64]:
        """One colour per band, (k - 1 + below + above, 4): that of the middle of the band."""
        position = self.shade(self.levels)
        middles = (position[1:] + position[:-1]) / 2
        ends = [[0.0]] * self.below, [[1.0]] * self.above
        return self.colormap(np.concatenate([*ends[0], middles, *ends[1]]))

    def shade(self, values: ArrayLike) -> Array:
        """Where values lie in the colours, [0, 1]: as on the scale, but zero in the middle of those with a sign."""
        if not self.signed:
            return np.clip(self.position(values), 0, 1)
        reach = float(np.abs(self.levels).max())
        return np.clip((np.asarray(values, float) / reach + 1) / 2, 0, 1)

    def position(self, values: ArrayLike) -> Array:
        """Where values lie on the scale, 0 at the first level and 1 at the last; not clipped, NaN stays."""
        first, last = float(self.levels[0]), float(self.levels[-1])
        values = np.asarray(values, float)
        if not self.logarithmic:
            return (values - first) / (last - first)
        positive = np.where(values > 0, values, np.where(np.isnan(values), np.nan, first))
        return np.log(positive / first) / np.log(last / first)


def heights(
    surface: Surface, metric: str | None = None, log: bool | str = "auto", levels: int | Sequence[float] = LEVELS
) -> Heights:
    """Choose scale and levels for the loss of a surface, or for one of its metrics.

    Parameters
    ----------
    surface : Surface
    metric : str, optional
        Default: the loss.
    log : bool or "auto"
        "auto" is logarithmic for a loss that is nowhere negative and spans more than a factor of 20.
    levels : int or sequence of float
        About how many bands, or their ends.

    Raises
    ------
    InputError
        An unknown metric, values without a logarithm, levels that do not ascend, or grid and values that do not fit.
    """
    known_values = {**_model_error(surface), **surface.metrics}
    if metric is not None and metric not in known_values:
        known = ", ".join(known_values) or "none"
        raise InputError(f"the surface has no metric {metric!r}; it has: {known} (leave it out for the loss)")
    if log not in (True, False, "auto"):
        raise InputError(f"log is {log!r}; choose True, False or 'auto'")
    values = np.asarray(surface.loss if metric is None else known_values[metric], float)
    if values.shape != (len(surface.y), len(surface.x)) or values.size == 0:
        raise InputError(
            f"values of shape {values.shape} do not belong to a grid of {len(surface.x)} × {len(surface.y)} points; "
            "they must have the shape (ny, nx)"
        )
    values = np.where(np.isfinite(values), values, np.nan)
    logarithmic = _is_logarithmic(values[np.isfinite(values)], log, automatic=metric is None)
    bands, chosen = _check_levels(levels, logarithmic)
    finite = values[np.isfinite(values) & (values > 0)] if logarithmic else values[np.isfinite(values)]
    signed = metric == "model_error" and metric not in surface.metrics and not logarithmic
    if chosen is None:
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (np.nan, np.nan)
        if signed and low < high:
            low, high = -max(-low, high), max(-low, high)
        chosen = spread(low, high, bands, logarithmic) if len(finite) else np.zeros(0)
    ends = (chosen[0], chosen[-1]) if len(chosen) else (np.nan, np.nan)
    return Heights(
        values,
        NAMES.get(metric or "loss", metric or "loss"),
        logarithmic,
        chosen,
        marked(chosen, logarithmic),
        bool((values < ends[0]).any()),
        bool((values > ends[1]).any()),
        signed,
    )


def _model_error(surface: Surface) -> dict[str, Array]:
    """What the quadratic model of the loss leaves out, if the surface has one."""
    if surface.model.shape != surface.loss.shape:
        return {}
    return {"model_error": np.asarray(surface.model_error, float)}


def spread(low: float, high: float, about: int, logarithmic: bool) -> Array:
    """Round levels that cover [low, high], about so many.

    Parameters
    ----------
    low, high : float
        Finite, ``low <= high``; positive for a logarithmic scale.
    about : int
    logarithmic : bool

    Returns
    -------
    (k,) float64, ascending, k >= 2
    """
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value: a band around it
        margin = 0.05 * abs(low) or 1.0
        return np.array([low - margin, high + margin])
    if logarithmic:
        decades = np.arange(np.floor(np.log10(low)) - 1, np.ceil(np.log10(high)) + 2)
        stride = max(1, round(len(decades) / (1.5 * about)))
        candidates = [_covering(np.outer(10 ** decades[::stride], steps).ravel(), low, high) for steps in DECADES]
        best = min(candidates, key=lambda found: abs(len(found) - 1 - about))
        if len(best) > about / 2:
            return best
    found = np.array(MaxNLocator(about, steps=[1, 2, 2.5, 5, 10], min_n_ticks=2).tick_values(low, high))
    if logarithmic:
        found = found[found > 0]
        found = found if found[0] <= low else np.concatenate([[low], found])
    return _covering(found, low, high)


def marked(levels: Array, logarithmic: bool, most: int = 8) -> Array:
    """The roundest of some levels, at most so many."""
    if len(levels) <= most:
        return levels
    if logarithmic:
        mantissas = levels / 10 ** np.floor(np.log10(levels) + 1e-9)
        for steps in DECADES[:3][::-1]:
            found = levels[[bool(np.isclose(steps, mantissa).any()) for mantissa in mantissas]]
            if 3 <= len(found) <= most:
                return found
    for about in range(most - 1, 2, -1):
        ticks = np.array(MaxNLocator(about, steps=[1, 2, 4, 5, 10]).tick_values(levels[0], levels[-1]))
        found = levels[np.isclose(levels[:, None], ticks, rtol=1e-9, atol=1e-9 * np.ptp(levels)).any(axis=1)]
        if 3 <= len(found) <= most:
            return found
    return levels[:: -(-len(levels) // most)]


def _covering(levels: Array, low: float, high: float) -> Array:
    """Those of ascending levels that are needed to cover [low, high]."""
    first = max(int(np.searchsorted(levels, low * (1 + 1e-12) if low > 0 else low, side="right")) - 1, 0)
    last = int(np.searchsorted(levels, high * (1 - 1e-12) if high > 0 else high, side="left"))
    return levels[first : last + 1]


def _is_logarithmic(finite: Array, log: bool | str, automatic: bool) -> bool:
    negative = finite[finite < 0]
    if log is True and len(negative):
        raise InputError(
            f"log=True, but the values are negative at {plural(len(negative), 'point')} (lowest: "
            f"{number(float(negative.min()))}) and have no logarithm there; draw them with log=False"
        )
    if log is True and len(finite) and not (finite > 0).any():
        raise InputError("log=True, but all values are zero and have no logarithm; draw them with log=False")
    if log != "auto":
        return bool(log) and len(finite) > 0
    return automatic and is_logarithmic(finite)


def _check_levels(levels: int | Sequence[float], logarithmic: bool) -> tuple[int, Array | None]:
    """How many levels, or the levels as the user lists them."""
    if isinstance(levels, (int, np.integer)):
        if not 2 <= levels <= 256:
            raise InputError(f"levels is {levels}; give between 2 and 256, or the levels themselves")
        return int(levels), None
    found = np.asarray(levels, float)
    if found.ndim != 1 or len(found) < 2 or not np.isfinite(found).all() or (np.diff(found) <= 0).any():
        raise InputError(f"levels is {levels!r}; give at least two finite values in ascending order")
    if logarithmic and found[0] <= 0:
        raise InputError(f"levels begins with {number(found[0])}, but the scale is logarithmic: begin above 0")
    return len(found) - 1, found
