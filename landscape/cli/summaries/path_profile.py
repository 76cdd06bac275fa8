"""What is found between two minima, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from landscape.cli.summaries.lines import STATISTICS, aligned, range_in_words

if TYPE_CHECKING:
    from landscape.records import ControlPoints, PathProfile


def path_profile_in_words(profile: PathProfile) -> list[str]:
    """Lines that state the path, the losses at its ends, the barrier, and what the spectrum does on the way."""
    names = [str(name) for name in profile.end_names]
    rows = [
        ("path", f"{profile.path}{f': {profile.path_source}' if profile.path_source else ''}"),
        ("from, to", f"{names[0]}, {names[1]}"),
        ("length", _length_in_words(profile)),
        ("points", f"{len(profile.s)}, s from {profile.s[0]:.4g} to {profile.s[-1]:.4g}"),
        *((f"loss of {name}", f"{loss:.6g}") for name, loss in zip(names, profile.end_loss, strict=True)),
        ("barrier", _barrier_in_words(profile)),
        ("outputs", _outputs_in_words(profile)),
        ("holes", f"{profile.holes} points have no finite loss" if profile.holes else ""),
        *((name, range_in_words(values)) for name, values in profile.metrics.items()),
        ("gradient norm", _range(profile.gradient_norms)),
        ("curvature along", _range(profile.curvatures)),
        ("λmax", _range(profile.lambda_max)),
        ("λmin", _range(profile.lambda_min)),
        ("trace", _densities_in_words(profile)),
        ("batch norm", STATISTICS.get(profile.batchnorm, "")),
        ("cost", f"loss at {profile.evaluations} points in {profile.seconds:.3g} s{_products_in_words(profile)}"),
    ]
    return aligned(rows)


def control_points_in_words(path: ControlPoints) -> list[str]:
    """Lines that state what a path is made of."""
    rows = [
        ("path", f"{path.path}{f': {path.path_source}' if path.path_source else ''}"),
        ("from, to", ", ".join(str(name) for name in path.end_names)),
        ("length", f"{path.length:.4g} in parameter space"),
        ("control points", f"{len(path.controls)}, of {path.n} parameters each" if len(path.controls) else ""),
        ("found", f"in {len(path.fit_loss)} steps" if len(path.fit_loss) else ""),
    ]
    return aligned(rows)


def _length_in_words(profile: PathProfile) -> str:
    if not np.isfinite(profile.length):
        return ""
    straight = "" if np.isclose(profile.length, profile.distance) else f", {profile.distance:.4g} as the crow flies"
    return f"{profile.length:.4g} in parameter space{straight}"


def _barrier_in_words(profile: PathProfile) -> str:
    if np.isnan(profile.barrier):
        return "unknown: the loss is not known at every point from end to end"
    if np.isinf(profile.barrier):
        return "infinite: the loss has no bound at a point on the way"
    stderr = profile.barrier_stderr
    error = f" ± {stderr:.2g} (standard error, from the choice of the data)" if np.isfinite(stderr) else ""
    if profile.barrier == 0:
        return f"none: the largest excess over the chord between the ends is {profile.inner_excess:.4g}{error}"
    return f"{profile.barrier:.4g}{error} above the chord, at s = {profile.barrier_at:.3g}"


def _outputs_in_words(profile: PathProfile) -> str:
    last = profile.function_distances[profile.s == 1, 0] if len(profile.function_distances) else np.zeros(0)
    return f"root mean squared distance of the ends {last[0]:.4g}" if len(last) and np.isfinite(last[0]) else ""


def _densities_in_words(profile: PathProfile) -> str:
    densities = profile.densities
    if not densities:
        return ""
    traces = np.array([density.trace for density in densities])
    worst = max(density.error for density in densities)
    return f"{traces.min():.4g} to {traces.max():.4g}; error of the densities at most {worst:.2g}"


def _products_in_words(profile: PathProfile) -> str:
    total = int(profile.product_counts.sum()) + sum(density.products for density in profile.densities)
    return f", {total} products" if total else ""


def _range(values: np.ndarray) -> str:
    return range_in_words(values) if len(values) and np.isfinite(values).any() else ""
