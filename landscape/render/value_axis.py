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
        ticks = marked(spread(low, high, 12, logarithmic), logarithmic, most)
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
