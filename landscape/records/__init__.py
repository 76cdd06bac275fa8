"""The results of landscape: frozen records of NumPy arrays that explain, save and draw themselves."""

from __future__ import annotations

from typing import Any

from landscape.records.aligned_checkpoint import AlignedCheckpoint
from landscape.records.checkpoint import Checkpoint
from landscape.records.connectivity import Connectivity
from landscape.records.control_points import ControlPoints
from landscape.records.density_error import weighted_median
from landscape.records.eigen_pairs import EigenPairs
from landscape.records.estimate import DiagonalEstimate, Estimate
from landscape.records.path_profile import PathProfile
from landscape.records.profile import Profile
from landscape.records.series import DensitySeries, EigenSeries
from landscape.records.spectral_density import SpectralDensity, is_vague
from landscape.records.stability import Stability
from landscape.records.surface import PathOnSurface, Surface

# What a file may hold. A field of a record is an array, a dictionary of arrays, a dictionary of plain values, or one
# plain value.
KINDS: dict[str, type[Any]] = {
    "spectral_density": SpectralDensity,
    "eigen_pairs": EigenPairs,
    "surface": Surface,
    "profile": Profile,
    "path_profile": PathProfile,
    "connectivity": Connectivity,
    "control_points": ControlPoints,
    "eigen_series": EigenSeries,
    "density_series": DensitySeries,
    "stability": Stability,
}

__all__ = [
    "AlignedCheckpoint",
    "Checkpoint",
    "Connectivity",
    "ControlPoints",
    "DensitySeries",
    "DiagonalEstimate",
    "EigenPairs",
    "EigenSeries",
    "Estimate",
    "KINDS",
    "PathOnSurface",
    "PathProfile",
    "Profile",
    "SpectralDensity",
    "Stability",
    "Surface",
    "is_vague",
    "weighted_median",
]
