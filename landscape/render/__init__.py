"""Figures and films from records: no torch, no MPI, no data needed; any can be made again from a result file.

Matplotlib is loaded when the first figure is drawn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.render.connectivity_figure import connectivity
    from landscape.render.contour_figure import contour
    from landscape.render.density_figure import density
    from landscape.render.eigenvalue_figure import eigenvalues
    from landscape.render.film import Film
    from landscape.render.film_frame import frame
    from landscape.render.filming import video
    from landscape.render.interpolation_figure import interpolation
    from landscape.render.profile_figure import profile
    from landscape.render.relief_figure import relief
    from landscape.render.report_page import report
    from landscape.render.series_figure import density_series, eigenvalue_series
    from landscape.render.shaded_figure import shaded
    from landscape.render.stability_figure import stability
    from landscape.render.vtk_files import export

# Public name → where it is defined.
_PLACES = {
    "density": "density_figure",
    "contour": "contour_figure",
    "relief": "relief_figure",
    "shaded": "shaded_figure",
    "profile": "profile_figure",
    "eigenvalues": "eigenvalue_figure",
    "stability": "stability_figure",
    "interpolation": "interpolation_figure",
    "connectivity": "connectivity_figure",
    "eigenvalue_series": "series_figure",
    "density_series": "series_figure",
    "Film": "film",
    "frame": "film_frame",
    "report": "report_page",
    "video": "filming",
    "export": "vtk_files",
}

__all__ = [
    "density",
    "contour",
    "relief",
    "shaded",
    "profile",
    "eigenvalues",
    "eigenvalue_series",
    "density_series",
    "stability",
    "interpolation",
    "connectivity",
    "Film",
    "frame",
    "video",
    "export",
    "report",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'landscape.render' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"landscape.render.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
