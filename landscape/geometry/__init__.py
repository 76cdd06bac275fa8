"""Where to look: directions, planes and paths in parameter space."""

from landscape.geometry.layout import Layout
from landscape.geometry.path import LinearPath, Path
from landscape.geometry.plane import Plane
from landscape.geometry.random_walk import random_walk_shares

__all__ = ["Layout", "LinearPath", "Path", "Plane", "random_walk_shares"]
