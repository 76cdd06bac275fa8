"""A loss surface in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from landscape.cli.summaries.lines import STATISTICS, aligned

if TYPE_CHECKING:
    from landscape.records import PathOnSurface, Surface

DIFFERENT = 1e-3  # relative: more than the rounding of another computer

PLANES = {
    "pca": "principal components of the runs",
    "eigenvectors": "eigenvectors",
    "gradient": "gradient and an eigenvector",
    "custom": "given directions",
    "random": "random directions",
    "points": "three points",
}


def surface_in_words(surface: Surface) -> list[str]:
    """Lines that state where the surface lies, its extremes, and what happens to the runs on it."""
    x, y, lowest = surface.lowest
    edge = " (on the edge of the grid: lower ones may lie outside)" if surface.lowest_is_on_the_edge else ""
    rows = [
        ("plane", f"{PLANES.get(surface.plane, surface.plane)}: {' and '.join(map(str, surface.axes))}"),
        *(
            (str(axis), str(source))
            for axis, source in zip(surface.axes, surface.axis_sources, strict=True)
            if len({*surface.axis_sources}) > 1 or axis == surface.axes[0]
        ),
        ("explained variance", variance_in_words(surface)),
        ("curvature", curvature_in_words(surface)),
        ("grid", grid_in_words(surface)),
        ("interpolated", interpolated_in_words(surface)),
        (
            "lowest",
            f"{lowest:.6g} at ({x:.4g}, {y:.4g}){edge}" if np.isfinite(lowest) else "no point has a finite loss",
        ),
        ("highest", highest_in_words(surface)),
        *((name, range_in_words(values)) for name, values in surface.metrics.items() if name != "lambda_max_residual"),
        ("quadratic model", model_in_words(surface)),
        ("holes", f"{surface.holes} points have no finite loss" if surface.holes else ""),
        *(
            (f"loss at {name}", f"{loss:.6g}")
            for name, loss in zip(surface.anchor_names, surface.anchor_loss, strict=True)
        ),
        *((f"run {path.name}", line) for path in surface.paths for line in path_in_words(path)),
        *(("WARNING", line) for line in other_functions_in_words(surface)),
        ("batch norm", statistics_in_words(surface)),
        ("cost", cost_in_words(surface)),
    ]
    return aligned(rows)


def interpolated_in_words(surface: Surface) -> str:
    """How many points an adaptive surface has computed, and how wrong the others may be."""
    between = ~surface.evaluated
    if not between.any():
        return ""
    share = 100 * surface.evaluated.mean()
    error = float(np.nanmax(np.where(between, surface.loss_error, 0)))
    return f"{between.sum()} points, from the {share:.3g} % that were computed; estimated error at most {error:.2g}"


def range_in_words(values: np.ndarray) -> str:
    """From the lowest to the highest finite value."""
    finite = values[np.isfinite(values)]
    return f"{finite.min():.6g} to {finite.max():.6g}" if finite.size else "nowhere finite"


def model_in_words(surface: Surface) -> str:
    """How far the loss is from the quadratic of its gradient and curvature at the origin."""
    error = np.abs(surface.model_error)
    if not np.isfinite(error).any():
        return ""
    return f"off by {np.nanmedian(error):.3g} in the median, by at most {np.nanmax(error):.3g}"


def statistics_in_words(surface: Surface) -> str:
    """Which statistics batch norm has used."""
    if surface.batchnorm == "eval":
        return "statistics of the plane's origin; each checkpoint of a run has its own" if surface.paths else ""
    return STATISTICS.get(surface.batchnorm, "")


def variance_in_words(surface: Surface) -> str:
    """How much of the runs the plane shows, and how much it would show of random walks."""
    shares, null = surface.explained_variance, surface.explained_variance_null
    if not np.isfinite(shares).all():
        return ""
    chosen = f" (of the parameters {surface.parameters})" if surface.parameters else ""
    text = f"{_percent(shares[0])} + {_percent(shares[1])} of the runs'{chosen}"
    return text + (
        f"; random walks of the same step lengths: {_percent(null[0])} + {_percent(null[1])}"
        if np.isfinite(null).all()
        else ""
    )


def curvature_in_words(surface: Surface) -> str:
    """Second derivatives along the axes, where they are known."""
    if not np.isfinite(surface.curvature).all():
        return ""
    return f"{surface.curvature[0]:.4g} and {surface.curvature[1]:.4g} loss per unit² along the axes"


def grid_in_words(surface: Surface) -> str:
    """How many points, from where to where, in which unit."""
    x, y = surface.x, surface.y
    return f"{len(x)} × {len(y)} points, {x[0]:.4g} to {x[-1]:.4g} and {y[0]:.4g} to {y[-1]:.4g} ({surface.unit})"


def highest_in_words(surface: Surface) -> str:
    """The highest finite loss on the grid."""
    finite = surface.loss[np.isfinite(surface.loss)]
    return f"{finite.max():.6g}" if finite.size else ""


def path_in_words(path: PathOnSurface) -> list[str]:
    """True and projected loss at both ends of a run, and how far it is from the plane."""
    if len(path.steps) == 0:
        return []
    steps = f"{len(path.steps)} checkpoints, steps {path.steps[0]} to {path.steps[-1]}"
    farthest = int(np.nanargmax(path.distance)) if np.isfinite(path.distance).any() else 0
    turns = path.cosine[np.isfinite(path.cosine)]
    thresholds = path.threshold[np.isfinite(path.threshold)]
    told = [f"cosine between its steps {np.median(turns):.2f} in the median"] if len(turns) else []
    if len(thresholds):
        least, most = f"{thresholds.min():.4g}", f"{thresholds.max():.4g}"
        edge = least if least == most else f"{least} to {most}"
        told.append(f"without noise its optimizer is stable up to a curvature of {edge}")
    return [
        f"{steps}: loss {path.loss[0]:.6g} to {path.loss[-1]:.6g}",
        f"its projection: loss {path.projected_loss[0]:.6g} to {path.projected_loss[-1]:.6g}, at most "
        f"{path.distance[farthest]:.4g} from the plane (step {path.steps[farthest]})",
        *(["; ".join(told)] if told else []),
    ]


def other_functions_in_words(surface: Surface) -> list[str]:
    """For each run that was recorded with another function, how far its recorded losses are from those here."""
    comparable = surface.provenance.get("runs_of_an_objective", [])
    lines = []
    for index, path in enumerate(surface.paths):
        recorded = surface.path_recorded_loss[surface.path_run == index]
        with np.errstate(invalid="ignore"):
            differences = np.abs(path.loss - recorded) / np.maximum(np.abs(path.loss), np.abs(recorded))
        if path.name in comparable and np.isfinite(differences).any() and np.nanmax(differences) > DIFFERENT:
            worst = int(np.nanargmax(differences))
            lines.append(
                f"run {path.name}, step {path.steps[worst]}: the recorded loss is {recorded[worst]:.6g}, this "
                f"objective's {path.loss[worst]:.6g}: another function, or other data"
            )
    return lines


def cost_in_words(surface: Surface) -> str:
    """Points, seconds, and what is left from an earlier run."""
    earlier = surface.provenance.get("resumed_points", 0)
    resumed = f" ({earlier} of them in an earlier run)" if earlier else ""
    return f"loss at {surface.evaluations} points{resumed} in {surface.seconds:.3g} s"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
