"""The length of a curve, and where a share of it is reached."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Gauss-Legendre with so many nodes is exact to rounding on a piece where the speed is smooth …
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
# … which is found by halving: until both halves give the same length as the whole, relative to all of it.
TOLERANCE = 1e-14
# A curve that turns on the spot has a corner in its speed: so many halvings leave an error of 2⁻⁸⁰ there.
DEEPEST = 40


class ArcLength:
    """Lengths along a curve theta(t), t in [0, 1], from its speed ``|dtheta/dt|``.

    Parameters
    ----------
    speed : callable
        ``speed(t)``: (T,) array → (T,) array.
    breaks : sequence of float
        Where the speed may jump, from 0 to 1.

    Attributes
    ----------
    length : float

    Examples
    --------
    >>> arc = ArcLength(lambda t: 2 * t, (0.0, 1.0))
    >>> round(arc.length, 12), round(arc.parameter(0.25), 12)
    (1.0, 0.5)
    """

    def __init__(self, speed: Callable[[Array], Array], breaks: Sequence[float]) -> None:
        self._speed = speed
        pieces = list(pairwise(breaks))
        rough = sum(self._between(*piece) for piece in pieces)
        lengths: list[float] = []
        self._starts: list[float] = []
        self._stop = float(breaks[-1])
        # The first piece last, so that they come off the end in order.
        todo = [(start, stop, 0) for start, stop in reversed(pieces)]
        while todo:
            start, stop, depth = todo.pop()
            middle = (start + stop) / 2
            whole, halves = self._between(start, stop), self._between(start, middle) + self._between(middle, stop)
            if depth < DEEPEST and abs(whole - halves) > TOLERANCE * rough:
                todo += [(middle, stop, depth + 1), (start, middle, depth + 1)]
                continue
            self._starts.append(start)
            lengths.append(halves)
        self._before = [0.0, *np.cumsum(lengths).tolist()]
        self.length = float(self._before[-1])

    def parameter(self, s: float) -> float:
        """Return t where a share s in [0, 1] of the length has been covered."""
        if s <= 0 or s >= 1:
            return 0.0 if s <= 0 else self._stop
        from scipy.optimize import brentq

        wanted = s * self.length
        piece = min(bisect_right(self._before, wanted) - 1, len(self._starts) - 1)
        start, left = self._starts[piece], wanted - self._before[piece]
        stop = [*self._starts[1:], self._stop][piece]
        if left <= 0:
            return start
        if self._between(start, stop) <= left:  # but for rounding
            return stop
        return float(brentq(lambda t: self._between(start, t) - left, start, stop, xtol=1e-16, rtol=1e-15))

    def share(self, t: float) -> float:
        """Return the share of the length that lies before t: the inverse of :meth:`parameter`."""
        piece = max(bisect_right(self._starts, t) - 1, 0)
        return (self._before[piece] + self._between(self._starts[piece], t)) / self.length

    def _between(self, start: float, stop: float) -> float:
        half = (stop - start) / 2
        return float(half * np.einsum("n,n->", WEIGHTS, self._speed(start + half * (1 + NODES))))
