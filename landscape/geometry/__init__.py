"""Where to look: directions, planes and paths in parameter space."""

from landscape.geometry.bezier import BezierPath
from landscape.geometry.layout import Layout
from landscape.geometry.path import LinearPath, Path
from landscape.geometry.plane import Plane
from landscape.geometry.polygon import PolygonalPath
from landscape.geometry.random_walk import random_walk_shares
from landscape.geometry.spherical import SphericalPath

__all__ = [
    "BezierPath",
    "Layout",
    "LinearPath",
    "Path",
    "Plane",
    "PolygonalPath",
    "SphericalPath",
    "random_walk_shares",
]
