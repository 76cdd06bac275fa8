"""Curves whose points are combinations of a few points: length, position and direction from the products of these."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.geometry.arc_length import ArcLength
from landscape.geometry.products import dot, norm

Array = NDArray[np.float64]

# Where a curve stands still, as a Bezier curve with its control point at an end does, its direction is that of so
# short a piece of it.
STANDSTILL, STEP = 1e-9, 1e-6


class Combination(ABC):
    """``theta(t) = Σ weights_i(t) · anchor_i`` with weights of sum 1, t in [0, 1], walked by the share s of its length.

    Lengths and positions cost nothing but the products between the anchors, whatever n.
    """

    @abstractmethod
    def anchors(self) -> list[NDArray[Any]]:
        """The points that the curve is a combination of, (n,) each: its first end first, its second end last."""

    @abstractmethod
    def weights(self, t: Array) -> Array:
        """What each anchor counts, (T,) → (T, m), rows of sum 1."""

    @abstractmethod
    def rates(self, t: Array) -> Array:
        """Derivatives of the weights by t, (T,) → (T, m)."""

    def breaks(self) -> list[float]:
        """Where the direction may jump, from 0 to 1."""
        return [0.0, 1.0]

    @property
    def length(self) -> float:
        """Of the curve, Euclidean in parameter space."""
        return self.arc.length

    def point(self, s: float) -> Array:
        """The theta at a share of the length, ``(n,)`` float64.

        Parameters
        ----------
        s : float
            0 and 1 are exactly the ends; beyond them the curve goes straight on.
        """
        anchors = self.anchors()
        result = np.zeros(len(anchors[0]))
        for weight, anchor in zip(self.shares_at(s), anchors, strict=True):
            if weight != 0:
                result += weight * anchor.astype(float)
        return result

    def tangent(self, s: float) -> Array:
        """The unit vector of the direction there, from the first end to the second, ``(n,)`` float64.

        At a corner it is halfway between both directions.
        """
        first, *others = self.anchors()
        result, origin = np.zeros(len(first)), first.astype(float)
        for rate, anchor in zip(self._direction(self.arc.parameter(checked_share(s)))[1:], others, strict=True):
            result += rate * (anchor.astype(float) - origin)
        return result / norm(result)

    def shares_at(self, s: float) -> Array:
        """What each anchor counts at a share s of the length, (m,); beyond the ends, too."""
        t = self.arc.parameter(checked_share(s))
        weights: Array = self.weights(np.array([t]))[0]
        beyond = s if s < 0 else s - 1 if s > 1 else 0.0
        return weights + beyond * self.length * self._direction(t) if beyond else weights

    @cached_property
    def gram(self) -> Array:
        """Products of the differences between the anchors and the first one, (m, m)."""
        anchors = self.anchors()
        origin = anchors[0].astype(float)
        differences = [anchor.astype(float) - origin for anchor in anchors]
        gram = np.zeros((len(anchors), len(anchors)))
        for row, one in enumerate(differences):
            for column, other in enumerate(differences[: row + 1]):
                gram[row, column] = gram[column, row] = dot(one, other)
        return gram

    @cached_property
    def arc(self) -> ArcLength:
        """Its length as a function of t."""
        return ArcLength(self.speed, self.breaks())

    def speed(self, t: Array) -> Array:
        """``|dtheta/dt|``, (T,) → (T,)."""
        return self._size(self.rates(t))

    def _size(self, rates: Array) -> Array:
        """Length of combinations of the differences, (T, m) → (T,)."""
        squares = np.einsum("tm,ml,tl->t", rates, self.gram, rates)
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)))

    def _direction(self, t: float) -> Array:
        """Rates of the anchors along the unit tangent at t, (m,)."""
        corner = next((place for place in self.breaks()[1:-1] if abs(place - t) < STANDSTILL), None)
        if corner is None:
            return self._smooth_direction(t)
        before, after = self._smooth_direction(corner - STEP), self._smooth_direction(corner + STEP)
        size = float(self._size((before + after)[None])[0])
        # A curve that turns back on itself has no direction between both: it is the one onwards.
        return (before + after) / size if size > STANDSTILL else after

    def _smooth_direction(self, t: float) -> Array:
        rates = self.rates(np.array([t]))
        if self._size(rates)[0] <= STANDSTILL * self.length:
            rates = np.diff(self.weights(np.array([max(t - STEP, 0.0), min(t + STEP, 1.0)])), axis=0)
        return np.asarray(rates[0] / self._size(rates)[0])


def checked_share(s: Any) -> float:
    """Return a position along a path as a number.

    Raises
    ------
    InputError
        If it is none, or not finite.
    """
    if np.ndim(s) or not isinstance(s, Real | np.ndarray) or not math.isfinite(s):
        raise InputError(f"s must be one finite number, the share of the path's length, not {s!r}")
    return float(s)
