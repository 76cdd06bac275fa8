"""What stands beside the spectrum in a film: the loss, and the extreme eigenvalues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape.render import theme
from landscape.render.film_eigenvalues import eigenvalue_curves, eigenvalue_heading, threshold_text, thresholds_near
from landscape.render.film_panels import Curve
from landscape.render.runs import run_style

if TYPE_CHECKING:
    from landscape.records import PathOnSurface, Surface
    from landscape.render.film_schedule import Followed, Moment

Array = NDArray[np.float64]


def side_curves(
    surface: Surface | None, densities: Any, moments: Sequence[Moment], eigenvalues: Sequence[Followed]
) -> list[dict[str, Any]]:
    """Arguments of the panels: the loss where one is known, and the eigenvalues.

    Parameters
    ----------
    surface : Surface or None
    densities : DensitySeries or list of (int, SpectralDensity)
    moments : sequence of Moment
        The same densities, in their order.
    eigenvalues : sequence of Followed
        May be empty: then the largest node of each density is drawn.
    """
    steps = np.array([moment.step for moment in moments])
    place = moments[0].place
    runs = surface.paths if surface is not None else ()
    style = run_style(place or 0)
    color, dot = (
        (style.line, (style.bright, style.dark))
        if place is not None
        else (theme.PALETTE[1], ("white", theme.PALETTE[1]))
    )
    found: list[dict[str, Any]] = []
    remarks: list[str]
    loss = _loss(runs, place, densities)
    if loss is not None:
        found.append({"curves": [_within(Curve(*loss, color, dot=dot), steps)], "heading": "loss", "kind": "loss"})
    if eigenvalues:
        curves, behind = eigenvalue_curves(eigenvalues, runs)
        heading, remarks = eigenvalue_heading(eigenvalues, behind, runs)
    else:
        values = np.array([moment.density.lambda_max for moment in moments])
        curves = [Curve(steps, values, color, dot=dot)]
        hessian = moments[0].density.operator == "hessian"
        behind = thresholds_near([place] if hessian and place is not None else [], runs, float(values.max()))
        heading, remarks = "largest eigenvalue", [", dashed: stable below"] if behind else []
        if hessian and place is not None and not behind and np.isfinite(runs[place].threshold).any():
            remarks = [f"; stable below {threshold_text(runs[place].threshold)}"]
    curves, behind = ([_within(curve, steps) for curve in group] for group in (curves, behind))
    found.append({"curves": curves, "behind": behind, "heading": heading, "remarks": remarks, "kind": "eigenvalue"})
    return found


def _loss(runs: Sequence[PathOnSurface], place: int | None, densities: Any) -> tuple[NDArray[Any], Array] | None:
    """Steps and losses of the run, as finely as they are known."""
    if place is not None and np.isfinite(runs[place].loss).any():
        return runs[place].steps, np.asarray(runs[place].loss, float)
    for name in ("loss", "losses"):
        values = np.asarray(getattr(densities, name, np.zeros(0)), float)
        if np.isfinite(values).any():
            return np.asarray(densities.steps), values
    return None


def _within(curve: Curve, steps: NDArray[Any]) -> Curve:
    """The part of a curve from the first to the last of some steps."""
    kept = (curve.steps >= steps[0]) & (curve.steps <= steps[-1])
    return curve._replace(steps=np.asarray(curve.steps)[kept], values=np.asarray(curve.values)[kept])
