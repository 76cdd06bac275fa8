"""Figures from records: no torch, no MPI, no data needed; any of them can be redrawn from a result file."""

from landscape.render.density import density

__all__ = ["density"]
