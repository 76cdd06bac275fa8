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
from landscape.render.film_stage import BODY
from landscape.render.numerals import number
from landscape.render.runs import run_style

if TYPE_CHECKING:
    from landscape.records import EigenSeries, PathOnSurface
    from landscape.render.film_schedule import Followed

Array = NDArray[np.float64]
IN_REACH = 3  # times the largest eigenvalue: a threshold farther up would flatten the curves, and is written instead
MOST = 6  # eigenvalues of one run
LONGEST_NAME = 1.2  # inches of a picture of 1080 lines, in a heading


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


def eigenvalue_heading(
    followed: Sequence[Followed], thresholds: Sequence[Curve], runs: Sequence[PathOnSurface]
) -> tuple[str, list[str]]:
    """What the panel shows, and remarks on thresholds, from long to short; those out of its reach as numbers."""
    known = [(one.place, threshold_of(one, runs)) for one in followed]
    above = []
    for place, values in known:
        if place is None or values is None or thresholds_near([place], runs, _top(followed)):
            continue
        name = theme.shortened(runs[place].name, BODY, LONGEST_NAME)
        above.append((float(np.nanmin(values)), name if len(runs) > 1 else "", threshold_text(values)))
    above.sort()
    if thresholds:
        written = "".join(f"; {name} below {bound}" for _, name, bound in above)
        return "eigenvalues", [", dashed: stable below" + written, ", dashed: stable below"]
    if above:
        parts = [f"{name} stable below {bound}".strip() for _, name, bound in above]
        parts[1:] = [part.replace(" stable", "") for part in parts[1:]]
        # The lowest is the one that an eigenvalue meets first.
        return "eigenvalues", [f"; {', '.join(parts)}", *[f"; {parts[0]}, …"] * (len(parts) > 1), f"; {parts[0]}"]
    operator = followed[0].series.operator
    return f"eigenvalues of the {OPERATORS.get(operator, operator)}", []


def threshold_text(values: Array) -> str:
    """A threshold in figures: with a learning rate that changes, from its lowest to its highest."""
    low, high = number(float(np.nanmin(values))), number(float(np.nanmax(values)))
    return low if low == high else f"{low}–{high}"


def _top(followed: Sequence[Followed]) -> float:
    """The largest of all eigenvalues."""
    return max(float(np.nanmax(one.series.values)) for one in followed)


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
