"""An axis of losses: a few round values, also where less than a decade is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from landscape.render.heights import marked, spread
from landscape.render.numerals import number, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]


def value_axis(axes: Axes, finite: Array, logarithmic: bool, most: int) -> None:
    """Give the vertical axis the scale, limits and ticks that suit some values.

    Parameters
    ----------
    axes : Axes
    finite : (m,) float64
        What is drawn, without holes; may be empty.
    logarithmic : bool
    most : int
        Ticks at most.
    """
    if logarithmic:
        axes.set_yscale("log", nonpositive="mask")
    positive = finite[finite > 0] if logarithmic else finite
    if len(positive) == 0:
        axes.set_yticks([])
        return
    low, high = float(positive.min()), float(positive.max())
    if logarithmic:
        ticks = _round_ticks(low, high, most)
        margin = (high / low) ** 0.05 if high > low else 1.2
        axes.set_ylim(low / margin, high * margin)
    else:
        ticks = np.array(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
        margin = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(low - margin, high + margin)
    if high == low:
        axes.set_yticks([low], [number(low, 5)])
        return
    bottom, top = axes.get_ylim()
    ticks = ticks[(ticks >= bottom) & (ticks <= top)]
    axes.yaxis.set_major_locator(FixedLocator(ticks.tolist()))
    axes.yaxis.set_minor_locator(NullLocator())
    texts = dict(zip(ticks.tolist(), numbers(ticks), strict=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: texts.get(value, "")))


def _round_ticks(low: float, high: float, most: int) -> Array:
    """1, 2 and 5 in each decade, or fewer of them; other values where a range holds fewer than two of these."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)) - 1, np.ceil(np.log10(high)) + 1)
    margin = (high / low) ** 0.05
    found = [np.outer(decades, mantissas).ravel() for mantissas in ((1, 2, 5), (1,))]
    fine, coarse = (ticks[(ticks >= low / margin) & (ticks <= high * margin)] for ticks in found)
    if len(fine) < 2:
        return marked(spread(low, high, 12, True), True, most)
    if len(fine) <= most:
        return fine
    chosen = coarse if len(coarse) > 1 else fine
    return chosen[::-1][:: -(-len(chosen) // most)][::-1]
