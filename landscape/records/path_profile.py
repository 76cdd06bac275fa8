"""Loss, derivatives and the whole spectrum along a path between two minima."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from landscape.records.curve import Curve, quantile, standard_error
from landscape.records.densities import unpacked
from landscape.records.record import Array
from landscape.records.spectral_density import SpectralDensity

NOWHERE = float("nan")


@dataclass(frozen=True)
class PathProfile(Curve):
    """What is found at points of a path between two minima; ``ls.interpolate`` makes it.

    Attributes
    ----------
    s, loss, metrics, samples, sample_weights, n, batchnorm, evaluations, seconds, provenance
        As of every curve. s is the share of the path's length: 0 and 1 are the ends, values beyond lie on its straight
        continuation.
    path : str
        "linear", "spherical", "bezier", "polygon" or "band".
    path_source : str
        How the path was made, in words.
    alignment : str
        How the second end was permuted to match the first, "weights" or "activations"; "" if it was not.
    end_names : (2,) text
        What the minima are called.
    end_loss : (2,) float64
        Loss at the minima themselves, with their own batch-norm statistics.
    length, distance : float
        Of the path, and between its ends, Euclidean in parameter space.
    unrepaired_loss : (p,) float64
        With ``batchnorm="recompute"``: the loss with statistics between those of the ends; otherwise empty.
    gradient_norms : (p,) float64
    slopes : (p,) float64
        Derivative of the loss along the path per unit of its length: gᵀu, u the unit tangent.
    curvatures : (p,) float64
        uᵀHu. Of a curved path the loss has the second derivative uᵀHu + gᵀ(du/dl).
    values, residuals : (p, k) float64
        The k largest eigenvalues of the Hessian, descending, and ‖Hv - λv‖; without columns if they were not asked for.
    smallest, smallest_residuals : (p,) float64
        The smallest eigenvalue; empty if it was not asked for.
    product_counts : (p,) int64
        Products that the eigenpairs of a point took.
    warm : (p,) bool
        Whether the eigenvectors of the point before were the start.
    tangent_overlap : (p,) float64
        Share of the squared length of u in the span of the k eigenvectors.
    end_overlap : (p, 2) float64
        How much of that span is shared with the one at either end: mean squared cosine of the principal angles, 0 to 1.
    distances : (p, 2) float64
        From the ends, in parameter space.
    function_distances : (p, 2) float64
        Root of the mean over the data of ‖f(x) - f_end(x)‖², f the output of the network; NaN if outputs are not seen.
    coordinates : (p, 2) float64
        In the plane of the path (``path.plane()``): along the line from end to end and across it; without rows for a
        path that lies in no plane with a meaning.
    fit_loss : (t,) float64
        Loss while the path was being found, by step; empty if there was nothing to find.
    pieces, lengths, facts, words
        The densities at the points, as in :class:`DensitySeries`; ``densities`` puts them together.

    Examples
    --------
    >>> s = np.linspace(0, 1, 5)
    >>> bump = PathProfile(s=s, loss=1 + s + 4 * s * (1 - s))
    >>> bump.barrier, bump.barrier_at
    (1.0, 0.5)
    """

    figure: ClassVar[str] = "interpolation"

    path: str = "linear"
    path_source: str = ""
    alignment: str = ""
    end_names: NDArray[Any] = field(default_factory=lambda: np.array(["A", "B"]))
    end_loss: Array = field(default_factory=lambda: np.full(2, np.nan))
    length: float = NOWHERE
    distance: float = NOWHERE
    unrepaired_loss: Array = field(default_factory=lambda: np.zeros(0))
    gradient_norms: Array = field(default_factory=lambda: np.zeros(0))
    slopes: Array = field(default_factory=lambda: np.zeros(0))
    curvatures: Array = field(default_factory=lambda: np.zeros(0))
    values: Array = field(default_factory=lambda: np.zeros((0, 0)))
    residuals: Array = field(default_factory=lambda: np.zeros((0, 0)))
    smallest: Array = field(default_factory=lambda: np.zeros(0))
    smallest_residuals: Array = field(default_factory=lambda: np.zeros(0))
    product_counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    warm: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    tangent_overlap: Array = field(default_factory=lambda: np.zeros(0))
    end_overlap: Array = field(default_factory=lambda: np.zeros((0, 2)))
    distances: Array = field(default_factory=lambda: np.zeros((0, 2)))
    function_distances: Array = field(default_factory=lambda: np.zeros((0, 2)))
    coordinates: Array = field(default_factory=lambda: np.zeros((0, 2)))
    fit_loss: Array = field(default_factory=lambda: np.zeros(0))
    pieces: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    lengths: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    facts: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def chord(self) -> Array:
        """The straight line from the loss at one end to that at the other, ``(p,)``."""
        return _chord(self.s, self.loss)

    @property
    def excess(self) -> Array:
        """Loss above the chord, ``(p,)``."""
        return self.loss - self.chord

    @property
    def barrier(self) -> float:
        """The largest excess at a point from end to end; 0 if the chord is nowhere exceeded.

        Infinite if the loss is at one of them, NaN if it is not known at one of them: a hole may hide a summit.
        """
        excess = self._from_end_to_end
        return float(excess.max()) if len(excess) else NOWHERE

    @property
    def barrier_at(self) -> float:
        """Where that is; NaN if the barrier is not known."""
        excess = self._from_end_to_end
        return float(self.s[self._inside][np.argmax(excess)]) if np.isfinite(self.barrier) else NOWHERE

    @property
    def inner_excess(self) -> float:
        """The largest excess between the ends, which is negative where the loss stays below the chord."""
        place = self._summit
        return NOWHERE if place is None else float(self.excess[place])

    @property
    def barrier_stderr(self) -> float:
        """Standard error of :attr:`inner_excess` from having these data and not others, at the place of its maximum.

        The excess of each part of the data is computed by itself, so that what moves the loss at the summit and at both
        ends alike does not count. The place is that of the maximum in these data: where several points are within the
        error of each other, the largest of them is a little too high. NaN with fewer than two parts, or a barrier that
        is not finite.
        """
        summit = self._summit
        if len(self.samples) < 2 or summit is None or not np.isfinite(self.barrier):
            return NOWHERE
        place = slice(summit, summit + 1)
        each = self.samples[:, place] - np.array([_chord(self.s, one)[place] for one in self.samples])
        return float(standard_error(each, self.excess[place], self.sample_weights)[0])

    def barrier_band(self, level: float = 0.95) -> tuple[float, float]:
        """Ends of the interval that holds the barrier over all data of this kind (Student); NaN with one part.

        No end is below 0, as a barrier is not.

        Parameters
        ----------
        level : float
            Probability, between 0 and 1.

        Raises
        ------
        InputError
        """
        reach = quantile(level, len(self.samples)) * self.barrier_stderr
        low, high = (float(np.maximum(self.inner_excess + side * reach, 0.0)) for side in (-1, 1))
        return low, high

    @property
    def densities(self) -> Sequence[SpectralDensity]:
        """The eigenvalue density at each point; none if they were not asked for."""
        count = len(next(iter(self.lengths.values()), ()))
        return [unpacked(row, self.n, self.pieces, self.lengths, self.facts, self.words) for row in range(count)]

    @property
    def lambda_max(self) -> Array:
        """The largest eigenvalue at each point, ``(p,)``: of the eigenpairs, or the largest node of the densities."""
        if self.values.size:
            return self.values[:, 0]
        return np.array([density.lambda_max for density in self.densities] or np.full(len(self.s), np.nan))

    @property
    def lambda_min(self) -> Array:
        """The smallest eigenvalue at each point, ``(p,)``: of the eigenpairs, or the smallest node of the densities."""
        if len(self.smallest):
            return self.smallest
        return np.array([density.lambda_min for density in self.densities] or np.full(len(self.s), np.nan))

    @property
    def _inside(self) -> NDArray[np.bool_]:
        return (self.s >= 0) & (self.s <= 1)

    @property
    def _from_end_to_end(self) -> Array:
        """The excess at the points from end to end; none if it is not known at one of them."""
        excess = self.excess[self._inside]
        return excess[:0] if np.isnan(excess).any() else excess

    @property
    def _summit(self) -> int | None:
        """The place of the largest excess between the ends; None if there is no point, or one is not known."""
        between = (self.s > 0) & (self.s < 1)
        if not between.any() or np.isnan(self.excess[between]).any():
            return None
        return int(np.argmax(np.where(between, self.excess, -np.inf)))


def _chord(s: Array, loss: Array) -> Array:
    """NaN if an end is not among the points."""
    ends = [loss[s == place] for place in (0.0, 1.0)]
    if not all(map(len, ends)):
        return np.full(len(s), np.nan)
    result: Array = (1 - s) * ends[0][0] + s * ends[1][0]
    return result
