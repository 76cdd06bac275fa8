"""A series along a run in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.cli.summaries.eigen_pairs import ENDS, UNIT

if TYPE_CHECKING:
    from landscape.records import DensitySeries, EigenSeries

# All steps are printed of a series of so many; of a longer one these many, evenly spread.
ALL, ROWS = 12, 8


def eigen_series_in_words(series: EigenSeries) -> list[str]:
    """Lines that state the result, with units and residuals."""
    relative = np.nanmax(np.nanmax(series.residuals, axis=1) / np.where(series.scales > 0, series.scales, 1.0))
    done = series.converged.all(axis=1)
    rows = [
        ("operator", f"{series.operator} of {series.n} parameters, along run {series.run}"),
        ("checkpoints", checkpoints_in_words(series)),
        ("eigenvalues", f"{series.values.shape[1]} {ENDS.get(series.which, series.which)}, in {UNIT}; outermost:"),
        *(("", f"step {series.steps[row]}: {ends_in_words(series.values[row])}") for row in shown(len(series))),
        ("residuals", f"‖Av − λv‖ at most {np.nanmax(series.residuals):.2g}, {relative:.2g} of the largest |λ|"),
        ("converged", f"all pairs at {int(done.sum())} of {len(series)} checkpoints, asked for {series.tol:g} · |λ|"),
        ("cost", f"{products_in_words(series)}; {warm_in_words(series)}"),
    ]
    return [f"  {name:<20} {text}" for name, text in rows]


def density_series_in_words(series: DensitySeries) -> list[str]:
    """Lines that state the result, with units and errors."""
    errors = np.asarray(series.facts["error"], float)
    traces, stderrs = series.facts["trace"], series.facts["trace_stderr"]
    operator, method = series.words.get("operator", ""), series.words.get("method", "")
    known = errors[np.isfinite(errors)]
    asked = f"asked for {float(series.facts['tol'][0]):g}"
    rows = [
        ("operator", f"{operator} of {series.n} parameters, {method} method, along run {series.run}"),
        ("checkpoints", checkpoints_in_words(series)),
        ("eigenvalues", f"smallest to largest, and trace, in {UNIT}:"),
        *(
            (
                "",
                f"step {series.steps[row]}: {series[row].lambda_min:.4g} to {series[row].lambda_max:.4g}, trace "
                f"{traces[row]:.4g} ± {stderrs[row]:.2g}",
            )
            for row in shown(len(series))
        ),
        ("predicted error", f"at most {known.max():.2g} of the spread, {asked}" if len(known) else "not estimated"),
        ("converged", f"{int(series.converged.sum())} of {len(series)} densities"),
        ("cost", products_in_words(series)),
    ]
    return [f"  {name:<20} {text}" for name, text in rows]


def shown(length: int) -> list[int]:
    """Which checkpoints are printed."""
    return list(range(length)) if length <= ALL else [round(place) for place in np.linspace(0, length - 1, ROWS)]


def checkpoints_in_words(series: Any) -> str:
    """How many, from where to where, and the loss there."""
    steps, loss = series.steps, series.loss
    listed = f"; {ROWS} of them:" if len(series) > ALL else ""
    return f"{len(series)}, of steps {steps[0]} to {steps[-1]}: loss {loss[0]:.6g} to {loss[-1]:.6g}{listed}"


def ends_in_words(values: np.ndarray) -> str:
    """The first and the last value of a row."""
    found = values[np.isfinite(values)]
    if len(found) == 0:
        return "none"
    return f"{found[0]:.6g}" + (f" … {found[-1]:.6g}" if len(found) > 1 else "")


def products_in_words(series: Any) -> str:
    """Products, seconds, and gradients that would have taken as long."""
    earlier = series.provenance.get("resumed_checkpoints", 0)
    resumed = f" ({earlier} checkpoints in an earlier run)" if earlier else ""
    cost = series.gradient_equivalents
    gradients = f", as long as {cost:.0f} gradients" if cost > 0 else ""
    return f"{series.products} products{resumed} in {series.seconds:.3g} s{gradients}"


def warm_in_words(series: EigenSeries) -> str:
    """What a checkpoint took on average, with and without the vectors of the one before."""
    counts, warm = series.product_counts, series.warm
    parts = [
        f"{counts[chosen].mean():.3g} at {int(chosen.sum())} {text} start{'s' if chosen.sum() > 1 else ''}"
        for chosen, text in ((~warm, "cold"), (warm, "warm"))
        if chosen.any()
    ]
    return "products per checkpoint: " + ", ".join(parts)
