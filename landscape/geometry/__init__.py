"""Where to look: directions, planes and paths in parameter space."""

from landscape.geometry.alignment import align
from landscape.geometry.bezier import BezierPath
from landscape.geometry.coupling import CouplingGraph
from landscape.geometry.layout import Layout
from landscape.geometry.path import LinearPath, Path
from landscape.geometry.plane import Plane
from landscape.geometry.polygon import PolygonalPath
from landscape.geometry.random_walk import random_walk_shares
from landscape.geometry.spherical import SphericalPath

__all__ = [
    "BezierPath",
    "CouplingGraph",
    "Layout",
    "LinearPath",
    "Path",
    "Plane",
    "PolygonalPath",
    "SphericalPath",
    "align",
    "random_walk_shares",
]
