"""Descent with inertia that finds its own step, for forces that are no gradient (Bitzek et al., 2006, "FIRE")."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landscape.geometry.products import dot, norm

Array = NDArray[np.float64]

# As published: steps downhill before the time step grows, its growth and shrinkage, share of steering, and its decay.
PATIENCE, GROWTH, SHRINKAGE, STEERING, DECAY = 5, 1.1, 0.5, 0.1, 0.99
# Of the distance between neighbours: the first step, and the longest one of any image.
FIRST, LONGEST = 0.01, 0.1


class FastRelaxation:
    """Displacements from forces: Newton's motion, steered towards the force, stopped where it leads uphill.

    The published limit of the time step is replaced by one of the displacement, which has a scale in any problem.

    Parameters
    ----------
    shape : (k, n)
        Of the forces.
    spacing : float
        Distance between neighbouring images.

    Examples
    --------
    >>> x, motion = np.array([[1.0, 2.0]]), FastRelaxation((1, 2), 1.0)
    >>> for _ in range(200):
    ...     x = x + motion.step(-x * np.array([1.0, 10.0]))
    >>> bool(np.abs(x).max() < 1e-3)
    True
    """

    def __init__(self, shape: tuple[int, ...], spacing: float) -> None:
        self._velocity = np.zeros(shape)
        self._longest, self._first = LONGEST * spacing, FIRST * spacing
        self._time, self._steering, self._downhill = 0.0, STEERING, 0

    def step(self, forces: Array) -> Array:
        """The displacement under these forces, (k, n)."""
        size = norm(forces.reshape(-1))
        if size == 0:
            self._velocity[:] = 0
            return np.zeros_like(forces)
        if self._time == 0:
            self._time = float(np.sqrt(self._first / max(norm(force) for force in forces)))
        power = dot(forces.reshape(-1), self._velocity.reshape(-1))
        if power > 0:
            speed = norm(self._velocity.reshape(-1))
            self._velocity = (1 - self._steering) * self._velocity + self._steering * speed / size * forces
            self._downhill += 1
            if self._downhill > PATIENCE:
                self._time, self._steering = self._time * GROWTH, self._steering * DECAY
        elif self._velocity.any():
            self._velocity[:] = 0
            self._time, self._steering, self._downhill = self._time * SHRINKAGE, STEERING, 0
        self._velocity += self._time * forces
        moved = self._time * self._velocity
        farthest = max(norm(one) for one in moved)
        return np.asarray(moved * min(1.0, self._longest / farthest))
