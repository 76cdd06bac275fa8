"""Directions, planes and paths in parameter space."""
