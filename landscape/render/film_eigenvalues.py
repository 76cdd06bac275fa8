"""Eigenvalues along the runs of a film, and the thresholds of the optimizers that made them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from landscape.render import theme
from landscape.render.density_figure import OPERATORS
from landscape.render.film_panels import DASHES, Curve
from landscape.render.numerals import number
from landscape.render.runs import run_style

if TYPE_CHECKING:
    from landscape.records import EigenSeries, PathOnSurface
    from landscape.render.film_schedule import Followed

Array = NDArray[np.float64]
IN_REACH = 3  # times the largest eigenvalue: a threshold farther up would flatten the curves, and is written instead
MOST = 6  # eigenvalues of one run


def eigenvalue_curves(followed: Sequence[Followed], runs: Sequence[PathOnSurface]) -> tuple[list[Curve], list[Curve]]:
    """Curves of the eigenvalues, and of the thresholds that are in their reach.

    Parameters
    ----------
    followed : sequence of Followed
        At least one.
    runs : sequence of PathOnSurface

    Returns
    -------
    eigenvalues, thresholds : list of Curve
        Several runs have their colours, and their largest eigenvalue only; one run shows up to six, from dark to light.
    """
    several = len(followed) > 1
    curves = []
    for one in followed:
        style = run_style(one.place or 0)
        shown = 1 if several else min(one.series.values.shape[1], MOST)
        colors = [style.line] if one.place is not None else [theme.PALETTE[0]]
        colors += [to_hex(color) for color in theme.LANDSCAPE(np.linspace(0.1, 0.55, max(shown - 1, 0)))]
        curves += [
            Curve(
                one.series.steps, one.series.values[:, rank], colors[rank], 2.4 if rank == 0 else 1.3,
                (style.bright, style.dark) if rank == 0 else None,
            )
            for rank in reversed(range(shown))
        ]  # fmt: skip
    top = max((float(np.nanmax(curve.values)) for curve in curves if np.isfinite(curve.values).any()), default=0.0)
    return curves, thresholds_in_reach(followed, runs, top)


def thresholds_in_reach(followed: Sequence[Followed], runs: Sequence[PathOnSurface], top: float) -> list[Curve]:
    """Thresholds that do not flatten curves of eigenvalues that end at `top`."""
    places = [one.place for one in followed if threshold_of(one, runs) is not None]
    return thresholds_near([place for place in places if place is not None], runs, top)


def thresholds_near(places: Sequence[int], runs: Sequence[PathOnSurface], top: float) -> list[Curve]:
    """Thresholds of some runs that do not flatten curves that end at `top`: in red, or several in the runs' colours."""
    found = []
    for place in places:
        values = np.asarray(runs[place].threshold, float)
        if np.isfinite(values).any() and float(np.nanmin(values)) <= IN_REACH * top:
            near = np.where(values <= 1.5 * IN_REACH * top, values, np.nan)
            color = run_style(place).line if len(places) > 1 else theme.WARNING
            found.append(Curve(runs[place].steps, near, color, 1.6, dashes=DASHES))
    return found


def eigenvalue_heading(followed: Sequence[Followed], thresholds: Sequence[Curve], runs: Sequence[PathOnSurface]) -> str:
    """What the panel shows; a threshold out of its reach as a number."""
    operator = followed[0].series.operator
    name = f"eigenvalues of the {OPERATORS.get(operator, operator)}"
    if thresholds:
        return "eigenvalues, dashed: stable below"
    known = [values for values in (threshold_of(one, runs) for one in followed) if values is not None]
    if known:
        return f"eigenvalues (stable below {number(min(float(np.nanmin(values)) for values in known))})"
    return name


def threshold_of(one: Followed, runs: Sequence[PathOnSurface]) -> Array | None:
    """The stability threshold of the optimizer at the checkpoints; None where none is right for these eigenvalues."""
    if one.place is None or one.series.operator != "hessian":
        return None
    values = np.asarray(runs[one.place].threshold, float)
    return values if np.isfinite(values).any() else None


def largest(series: EigenSeries) -> Array:
    """The largest eigenvalue at each checkpoint, (T,)."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.fmax.reduce(series.values, axis=1))
