"""Where to look: directions and planes in parameter space."""

from landscape.geometry.layout import Layout
from landscape.geometry.plane import Plane
from landscape.geometry.random_walk import random_walk_shares

__all__ = ["Layout", "Plane", "random_walk_shares"]
