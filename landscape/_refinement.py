"""Which points of a grid have to be computed so that its picture is right, and what lies between them.

Interpolating wavelets (Donoho, Interpolating wavelet transforms, 1992; Harten's multiresolution): grid lines come in
levels, each halves the gaps of the one before, and the points of a level are first predicted from the coarser ones by
cubics. How wrong the prediction of a computed point was tells how wrong those beside it on the next level may be. All
is arithmetic element by element on one rank, so that decisions depend on the values alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape.records.displaying import is_logarithmic

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Share of the displayed range that the error of the picture may reach.
TOLERANCE = 0.01
# What a figure displays: the loss or its logarithm, up to this quantile.
DISPLAYED = 0.95
# Gaps between the lines that are always computed, and the fewest of them; from every second one of these the others are
# predicted, to see how wrong predictions are.
WIDEST_GAP = 4
FEWEST_LINES = 20
# The level of these lines; before it is what they are predicted from.
FIRST = 1
# Points that a cubic goes through.
STENCIL = 4
# The error of a prediction over the largest one around it on the level before: 1/16 where the loss is smooth, 1/2 at a
# kink. A little more, as the largest one may have been missed: then all surfaces that were tried are as right as asked.
DECAY = 0.7
# Predictions may be right by chance where they were measured, as at the zeros of an oscillation. So some points are
# computed that nothing asks for: one of so many along each axis, and in the corners, where cubics know one side only;
# but only where something that is interpolated so near has an estimate of at least this share of the tolerance.
CHECKED = 9
AROUND = 6
SURE = 0.6
# A grid of which more than this share was needed is computed in full: such a surface is not smooth on its points.
CROWDED = 0.5


@dataclass(frozen=True)
class Picture:
    """A grid of which some points are known.

    Attributes
    ----------
    values : (ny, nx) float64
        The known ones as they are, the others interpolated; NaN where only a hole can be.
    shown : (ny, nx) float64
        As the figure displays them: perhaps their logarithm, not above the limit.
    error : (ny, nx) float64
        Estimated error of ``shown``, 0 at known points, inf where nothing can be said.
    span : float
        Displayed range.
    logarithmic : bool
    """

    values: Array
    shown: Array
    error: Array
    span: float
    logarithmic: bool

    @property
    def value_error(self) -> Array:
        """Estimated error in the unit of the values."""
        if not self.logarithmic:
            return self.error
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where(self.error > 0, np.abs(self.values) * np.expm1(np.log(10) * self.error), 0.0)


class Refinement:
    """The rounds in which a grid is computed.

    Parameters
    ----------
    nx, ny : int
        Grid points along the axes.
    tolerance : float
        Wanted error as a share of the displayed range.

    Examples
    --------
    >>> x, y = np.linspace(-1, 1, 101), np.linspace(-1, 1, 101)
    >>> values, known = np.full((101, 101), np.nan), np.zeros((101, 101), bool)
    >>> plan = Refinement(101, 101)
    >>> while (wanted := plan.wanted(values, known)).any():
    ...     rows, columns = np.nonzero(wanted)
    ...     values[rows, columns] = x[columns] ** 2 + 3 * y[rows] ** 2
    ...     known |= wanted
    >>> error = abs(plan.picture(values, known).values - x**2 - 3 * y[:, None] ** 2)
    >>> bool(known.mean() < 0.15), bool(error.max() < 0.01)
    (True, True)
    """

    def __init__(self, nx: int, ny: int, tolerance: float = TOLERANCE) -> None:
        self.nx, self.ny, self.tolerance = nx, ny, tolerance
        # As many for both axes: points that are dense along one only do not see a kink from all sides.
        count = min(len(_levels(nx)), len(_levels(ny)))
        self._columns, self._rows = (_measured(_levels(number)[-count:]) for number in (nx, ny))
        self._gaps = [_gap(one, other) for one, other in zip(self._columns, self._rows, strict=True)]

    def wanted(self, values: Array, known: Mask) -> Mask:
        """The points of the next round, (ny, nx); none when the picture is right.

        Parameters
        ----------
        values : (ny, nx) array
            What is computed; elsewhere anything.
        known : (ny, nx) bool
            What is computed by the rounds so far.
        """
        start = np.zeros((self.ny, self.nx), bool)
        start[np.ix_(self._rows[FIRST], self._columns[FIRST])] = True
        if not known[start].all():
            return start & ~known
        picture = self.picture(values, known)
        if picture.span == 0 and np.isfinite(picture.error).all():
            return np.zeros_like(start)
        for level in range(FIRST + 1, len(self._gaps)):
            here = np.zeros_like(start)
            here[np.ix_(self._rows[level], self._columns[level])] = True
            found = here & ~known & ~(picture.error <= self.tolerance * picture.span)
            if found.any():
                return found
        if picture.span == 0:
            return np.zeros_like(start)
        unsure = _largest_around(picture.error, AROUND) > SURE * self.tolerance * picture.span
        return ~known & ((_scattered(self.ny, self.nx) & unsure) | (known.mean() > CROWDED))

    def picture(self, values: Array, known: Mask) -> Picture:
        """Everything between the known points, with its estimated error."""
        given = np.where(known, values, np.nan)
        logarithmic = is_logarithmic(given[known])
        exact = _logarithm(given) if logarithmic else np.where(np.isfinite(given), given, np.nan)
        filled, _, _ = self._filled(exact, known, np.inf)
        finite = filled[np.isfinite(filled)]
        if not len(finite):
            return Picture(given, filled, np.where(known, 0.0, np.where(np.isnan(filled), 0.0, np.inf)), 0.0, False)
        limit = float(np.quantile(finite, DISPLAYED))
        span = limit - float(finite.min())
        filled, surplus, unsure = self._filled(exact, known, limit)
        error = np.where(known, 0.0, np.where(unsure, np.inf, self._spread(surplus, known)))
        between = 10**filled if logarithmic else filled
        return Picture(np.where(known, given, between), np.minimum(filled, limit), error, span, logarithmic)

    def between(self, values: Array, known: Mask) -> Array:
        """Other values on the same grid, interpolated between the known points, within the range of these."""
        exact = np.where(known & np.isfinite(values), values, np.nan)
        finite = exact[np.isfinite(exact)]
        if not len(finite):
            return np.where(known, values, np.nan)
        return np.where(known, values, np.clip(self._filled(exact, known, np.inf)[0], finite.min(), finite.max()))

    def _filled(self, exact: Array, known: Mask, limit: float) -> tuple[Array, Array, Mask]:
        """Values level by level; errors of predictions, as displayed; where some of the sources are holes."""
        filled, surplus = np.where(known, exact, np.nan), np.zeros(exact.shape)
        unsure = np.zeros(exact.shape, bool)
        for level in range(1, len(self._gaps)):
            rows, columns = self._rows[level], self._columns[level]
            before = filled[np.ix_(self._rows[level - 1], self._columns[level - 1])]
            predicted, disagreement, broken = _refined(
                before, (self._rows[level - 1], rows), (self._columns[level - 1], columns), limit
            )
            here = np.ix_(rows, columns)
            new = np.ones((self.ny, self.nx), bool)
            new[np.ix_(self._rows[level - 1], self._columns[level - 1])] = False
            new = new[here]
            there, true = known[here], filled[here]
            with np.errstate(invalid="ignore"):
                off = np.abs(np.minimum(true, limit) - np.minimum(predicted, limit))
            off = np.where(np.isnan(true) & np.isnan(predicted), 0.0, np.where(np.isnan(off), np.inf, off))
            surplus[here] = np.where(new, np.where(there, off, disagreement), surplus[here])
            unsure[here] |= new & ~there & broken
            filled[here] = np.where(there | ~new, true, predicted)
        return filled, surplus, unsure

    def _spread(self, surplus: Array, known: Mask) -> Array:
        """What the errors of predictions around a point say of its own."""
        error, expected, around = np.zeros(surplus.shape), np.zeros(surplus.shape), np.zeros(surplus.shape)
        for level in range(FIRST, len(self._gaps)):
            here = np.zeros(surplus.shape, bool)
            here[np.ix_(self._rows[level], self._columns[level])] = True
            here[np.ix_(self._rows[level - 1], self._columns[level - 1])] = False
            seen, reach = here & known, self._gaps[level]
            around = _largest_around(np.where(seen, surplus, 0.0), reach)
            # Of a point beside computed ones of its level: no less than theirs, nor where the axes' orders differ.
            own = np.maximum(expected, np.maximum(around, surplus))
            error = np.where(here & ~known, own, error)
            # On the next level, what this one was off by counts where it was computed.
            fresh = _largest_around(seen.astype(float), reach) > 0
            expected = np.where(fresh, DECAY * around, expected)
        # A point of the last level that was off has coarser ones beside it that nothing else speaks for.
        return np.where(known, 0.0, np.maximum(error, around))


def _logarithm(values: Array) -> Array:
    positive = values[np.isfinite(values) & (values > 0)]
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(values), np.log10(np.maximum(values, positive.min())), np.nan)


def _levels(count: int) -> list[NDArray[np.int64]]:
    """Indices of the lines of each level, from those that are always computed to all of them."""
    lines = [np.arange(count)]
    while _gap(lines[0], lines[0]) < WIDEST_GAP and len(lines[0]) > 2 * FEWEST_LINES:
        lines.insert(0, _every_second(lines[0]))
    return lines


def _measured(lines: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """With a level before the first, from which errors are measured; where all lines are computed, there are none."""
    return [_every_second(lines[0]) if len(lines) > 1 else lines[0], *lines]


def _every_second(lines: NDArray[np.int64]) -> NDArray[np.int64]:
    """Every second line, and the last."""
    coarser = lines[::2]
    return coarser if coarser[-1] == lines[-1] else np.append(coarser, lines[-1])


def _gap(columns: NDArray[np.int64], rows: NDArray[np.int64]) -> int:
    return max(int(np.diff(one).max(initial=1)) for one in (columns, rows))


def _refined(
    before: Array,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    columns: tuple[NDArray[np.int64], NDArray[np.int64]],
    limit: float,
) -> tuple[Array, Array, Mask]:
    """Values on finer lines; how much the two orders of the axes differ; where some of the sources are holes."""
    (one, one_broken), (other, other_broken) = (
        _along_rows(*_along_columns(before, np.zeros(before.shape, bool), *columns), *rows),
        _along_columns(*_along_rows(before, np.zeros(before.shape, bool), *rows), *columns),
    )
    with np.errstate(invalid="ignore"):
        apart = np.abs(np.minimum(one, limit) - np.minimum(other, limit))
    return (one + other) / 2, np.nan_to_num(apart), one_broken | other_broken


def _along_columns(values: Array, broken: Mask, old: NDArray[np.int64], new: NDArray[np.int64]) -> tuple[Array, Mask]:
    result, spoilt = _along_rows(values.T, broken.T, old, new)
    return result.T, spoilt.T


def _along_rows(values: Array, broken: Mask, old: NDArray[np.int64], new: NDArray[np.int64]) -> tuple[Array, Mask]:
    """Cubics through the four lines around each new one; a line that is there stays."""
    size = min(STENCIL, len(old))
    first = np.clip(np.searchsorted(old, new, side="right") - size // 2, 0, len(old) - size)
    places = first[:, None] + np.arange(size)
    nodes = old[places].astype(float)
    weights = np.ones(places.shape)
    for k in range(size):
        for j in range(size):
            if j != k:
                weights[:, k] *= (new - nodes[:, j]) / (nodes[:, k] - nodes[:, j])
    result = np.zeros((len(new), values.shape[1]))
    holes, spoilt = np.zeros(result.shape, int), np.zeros(result.shape, bool)
    for k in range(size):
        part = values[places[:, k]]
        used = weights[:, k, None] != 0
        result += np.where(used, weights[:, k, None] * part, 0.0)
        holes += used & np.isnan(part)
        spoilt |= used & broken[places[:, k]]
    sources = (weights != 0).sum(1)[:, None]
    return result, spoilt | ((holes > 0) & (holes < sources))


def _scattered(ny: int, nx: int) -> Mask:
    """Points in all places relative to the lines of the levels, and in the corners."""
    rows, columns = np.arange(ny)[:, None], np.arange(nx)
    above, beside = (rows == 1) | (rows == ny - 2), (columns == 1) | (columns == nx - 2)
    across, along = columns + 2 * (rows // CHECKED), rows % CHECKED == CHECKED // 2
    return (along & (across % CHECKED == CHECKED // 2)) | (beside & above)


def _largest_around(values: Array, reach: int) -> Array:
    """The largest value in the square of so many points to every side."""
    result = values
    for axis in (0, 1):
        length = result.shape[axis]
        padded = np.pad(result, [(reach, reach) if one == axis else (0, 0) for one in (0, 1)])
        parts = [np.take(padded, np.arange(start, start + length), axis) for start in range(2 * reach + 1)]
        result = np.maximum.reduce(parts)
    return np.asarray(result)
