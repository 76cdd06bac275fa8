"""Figures from records: no torch, no MPI, no data needed; any of them can be redrawn from a result file.

Matplotlib is loaded when the first figure is drawn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.render.density_figure import density

__all__ = ["density"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'landscape.render' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"landscape.render.{name}_figure"), name)
    globals()[name] = value
    return value
