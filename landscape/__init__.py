"""The shape of the loss around a trained network.

The public names are loaded when they are first used: ``import landscape`` is quick and starts neither torch nor MPI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape import render
    from landscape.curvature import EmpiricalFisher, GaussNewton, Hessian
    from landscape.errors import ComputeError, InputError, LandscapeError
    from landscape.objective import Objective
    from landscape.parallel import ProcessGrid
    from landscape.records import SpectralDensity
    from landscape.spectrum import spectral_density
    from landscape.store import load

__version__ = "0.1.0"

_MODULE_OF = {
    "Objective": "landscape.objective",
    "Hessian": "landscape.curvature",
    "GaussNewton": "landscape.curvature",
    "EmpiricalFisher": "landscape.curvature",
    "spectral_density": "landscape.spectrum",
    "SpectralDensity": "landscape.records",
    "load": "landscape.store",
    "ProcessGrid": "landscape.parallel",
    "LandscapeError": "landscape.errors",
    "InputError": "landscape.errors",
    "ComputeError": "landscape.errors",
}
_SUBMODULES = ("render",)

__all__ = [
    "Objective",
    "Hessian",
    "GaussNewton",
    "EmpiricalFisher",
    "spectral_density",
    "SpectralDensity",
    "load",
    "render",
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
