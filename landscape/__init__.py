"""The shape of the loss around a trained network.

The public names are loaded when they are first used: ``import landscape`` is quick and starts neither torch nor MPI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape import bridges, optim, render
    from landscape._load import load
    from landscape.barriers import connectivity
    from landscape.curvature import (
        BlockDiagonal,
        EmpiricalFisher,
        GaussNewton,
        GradientCovariance,
        Hessian,
        Preconditioned,
        Residual,
        Restricted,
    )
    from landscape.eigen import eigenpairs
    from landscape.errors import ComputeError, InputError, LandscapeError
    from landscape.estimators import diagonal, frobenius_norm, layer_traces, trace
    from landscape.function_operator import from_function
    from landscape.geometry import BezierPath, LinearPath, Plane, PolygonalPath, SphericalPath, align
    from landscape.interpolation import interpolate
    from landscape.layerwise import layer_densities
    from landscape.objective import Objective
    from landscape.parallel import ProcessGrid
    from landscape.profile import loss_profile
    from landscape.records import (
        AlignedCheckpoint,
        Checkpoint,
        Connectivity,
        DensitySeries,
        DiagonalEstimate,
        EigenPairs,
        EigenSeries,
        Estimate,
        PathProfile,
        Profile,
        SpectralDensity,
        Stability,
        Surface,
    )
    from landscape.series import eigenpairs_along, spectra_along
    from landscape.spectrum import spectral_density
    from landscape.splitting import Split, class_shares, split
    from landscape.stability import batch_sharpness, gradient_shares, optimizer_view, recorded_view
    from landscape.stability_monitor import StabilityMonitor
    from landscape.surface import loss_surface
    from landscape.training import train
    from landscape.trajectory import Recorder, Trajectory

__version__ = "0.1.0"

_MODULE_OF = {
    "Objective": "landscape.objective",
    "Hessian": "landscape.curvature",
    "GaussNewton": "landscape.curvature",
    "EmpiricalFisher": "landscape.curvature",
    "GradientCovariance": "landscape.curvature",
    "Residual": "landscape.curvature",
    "Restricted": "landscape.curvature",
    "BlockDiagonal": "landscape.curvature",
    "Preconditioned": "landscape.curvature",
    "from_function": "landscape.function_operator",
    "spectral_density": "landscape.spectrum",
    "SpectralDensity": "landscape.records",
    "layer_densities": "landscape.layerwise",
    "StabilityMonitor": "landscape.stability_monitor",
    "Stability": "landscape.records",
    "optimizer_view": "landscape.stability",
    "recorded_view": "landscape.stability",
    "gradient_shares": "landscape.stability",
    "batch_sharpness": "landscape.stability",
    "trace": "landscape.estimators",
    "layer_traces": "landscape.estimators",
    "diagonal": "landscape.estimators",
    "frobenius_norm": "landscape.estimators",
    "Estimate": "landscape.records",
    "DiagonalEstimate": "landscape.records",
    "split": "landscape.splitting",
    "Split": "landscape.splitting",
    "class_shares": "landscape.splitting",
    "eigenpairs": "landscape.eigen",
    "eigenpairs_along": "landscape.series",
    "spectra_along": "landscape.series",
    "EigenSeries": "landscape.records",
    "DensitySeries": "landscape.records",
    "EigenPairs": "landscape.records",
    "train": "landscape.training",
    "Recorder": "landscape.trajectory",
    "Trajectory": "landscape.trajectory",
    "Checkpoint": "landscape.records",
    "Plane": "landscape.geometry",
    "align": "landscape.geometry",
    "AlignedCheckpoint": "landscape.records",
    "LinearPath": "landscape.geometry",
    "SphericalPath": "landscape.geometry",
    "BezierPath": "landscape.geometry",
    "PolygonalPath": "landscape.geometry",
    "loss_surface": "landscape.surface",
    "loss_profile": "landscape.profile",
    "Surface": "landscape.records",
    "Profile": "landscape.records",
    "interpolate": "landscape.interpolation",
    "PathProfile": "landscape.records",
    "connectivity": "landscape.barriers",
    "Connectivity": "landscape.records",
    "load": "landscape._load",
    "ProcessGrid": "landscape.parallel",
    "LandscapeError": "landscape.errors",
    "InputError": "landscape.errors",
    "ComputeError": "landscape.errors",
}
_SUBMODULES = ("bridges", "optim", "render")

__all__ = [
    "Objective",
    "Hessian",
    "GaussNewton",
    "EmpiricalFisher",
    "GradientCovariance",
    "Residual",
    "Restricted",
    "BlockDiagonal",
    "Preconditioned",
    "from_function",
    "spectral_density",
    "SpectralDensity",
    "layer_densities",
    "StabilityMonitor",
    "Stability",
    "optimizer_view",
    "recorded_view",
    "gradient_shares",
    "batch_sharpness",
    "trace",
    "layer_traces",
    "diagonal",
    "frobenius_norm",
    "Estimate",
    "DiagonalEstimate",
    "split",
    "Split",
    "class_shares",
    "eigenpairs",
    "EigenPairs",
    "eigenpairs_along",
    "EigenSeries",
    "spectra_along",
    "DensitySeries",
    "train",
    "Recorder",
    "Trajectory",
    "Checkpoint",
    "Plane",
    "align",
    "AlignedCheckpoint",
    "LinearPath",
    "SphericalPath",
    "BezierPath",
    "PolygonalPath",
    "loss_surface",
    "Surface",
    "loss_profile",
    "Profile",
    "interpolate",
    "PathProfile",
    "connectivity",
    "Connectivity",
    "load",
    "render",
    "optim",
    "bridges",
    "ProcessGrid",
    "LandscapeError",
    "InputError",
    "ComputeError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        value: Any = import_module(f"landscape.{name}")
    elif name in _MODULE_OF:
        value = getattr(import_module(_MODULE_OF[name]), name)
    else:
        raise AttributeError(f"module 'landscape' has no attribute {name!r}; it has {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
