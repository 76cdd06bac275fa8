"""Results in words: what a command says at its end and `landscape info` later; one file per kind of result."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Class of a record → module of this package and its function; loaded when needed, as a run needs more than a record.
_WORDS = {
    "SpectralDensity": ("density", "density_in_words"),
    "EigenPairs": ("eigen_pairs", "eigen_pairs_in_words"),
    "EigenSeries": ("series", "eigen_series_in_words"),
    "DensitySeries": ("series", "density_series_in_words"),
    "Surface": ("surface", "surface_in_words"),
    "Profile": ("profile", "profile_in_words"),
    "PathProfile": ("path_profile", "path_profile_in_words"),
    "ControlPoints": ("path_profile", "control_points_in_words"),
    "Connectivity": ("connectivity", "connectivity_in_words"),
    "Stability": ("stability", "stability_in_words"),
    "Trajectory": ("trajectory", "trajectory_in_words"),
}


def in_words(result: Any) -> list[str]:
    """Lines that state a result, with units and error bars; none for a kind without words of its own."""
    name = type(result).__name__
    if name not in _WORDS:
        return []
    module, function = _WORDS[name]
    lines: list[str] = getattr(import_module(f"landscape.cli.summaries.{module}"), function)(result)
    return lines
