"""Sums whose bits depend neither on the order of their terms nor on how many ranks share them.

Every value is rounded once, to a multiple of 2**exponent, and kept as a 64-bit integer; integers add associatively, so
any order and any distribution over ranks gives the same bits. The exponent follows from the first term's largest value
with `SLACK_BITS` of head room; in the rare case that a later term is larger still, the whole pass is done again with
the exponent that fits. These decisions depend on maxima over all ranks only. Related: Demmel and Nguyen, Parallel
reproducible summation, IEEE Transactions on Computers 64 (2015), who keep several such accumulators where we repeat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from landscape.errors import ComputeError, InputError

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.parallel.collectives import Collectives

SLACK_BITS = 6
"""Later terms may be 2**6 times larger than the first before the pass is repeated; each bit doubles the rounding."""

_RANGE_BITS = 62
_SMALLEST_EXPONENT = -960
_SLICE = 1 << 18


class FixedPointSum:
    """A sum of vectors in 64-bit fixed point: each value is rounded to a multiple of 2**exponent, then added exactly.

    Parameters
    ----------
    n : int
        Length of the vectors.
    terms : int
        How many vectors will be added, over all ranks.
    exponent : int
        The unit is 2**exponent; see `exponent_for`.
    device : torch.device or str
        Where the accumulator lives; the host if the device has no float64.

    Attributes
    ----------
    accumulator : Tensor
        (n,) int64, the sum in units of 2**exponent; meaningless once `overflowed`.
    peak : float
        The largest magnitude seen, in the unit of the values; inf or NaN if there was one.

    Examples
    --------
    >>> import torch
    >>> from landscape.parallel.sums import FixedPointSum, exponent_for
    >>> running = FixedPointSum(n=2, terms=2, exponent=exponent_for(peak=3.0, terms=2))
    >>> running.add(torch.tensor([1.0, 3.0]))
    >>> running.add(torch.tensor([0.25, -3.0]))
    >>> running.total().tolist()
    [1.25, 0.0]
    """

    def __init__(self, n: int, terms: int, exponent: int, device: torch.device | str = "cpu") -> None:
        self.terms = terms
        self.exponent = exponent
        device = torch.device(device)
        if device.type == "mps":
            device = torch.device("cpu")
        self.accumulator = torch.zeros(n, dtype=torch.int64, device=device)
        self.peak = 0.0

    def fits(self, peak: float) -> bool:
        """Whether `terms` values of magnitude up to `peak` cannot overflow the accumulator."""
        if peak == 0:
            return True
        if not math.isfinite(peak):
            return False
        fraction, bits = math.frexp(peak)
        # Compared by exponents first: ldexp raises where the result leaves the range of float64.
        shift = bits - self.exponent
        return shift <= _RANGE_BITS and math.ldexp(fraction * self.terms, shift) <= 2.0**_RANGE_BITS

    @property
    def overflowed(self) -> bool:
        """Whether a value was too large for the exponent, so that the accumulator holds nothing useful."""
        return not self.fits(self.peak)

    def add(self, values: Tensor) -> None:
        """Add one term, (n,) float32 or float64; if it is too large, only `peak` goes on being measured."""
        if values.shape != self.accumulator.shape:
            raise InputError(f"a term has shape {tuple(values.shape)}, the sum {tuple(self.accumulator.shape)}")
        values = values.detach().to(self.accumulator.device)
        self.peak = _largest(self.peak, largest_magnitude(values))
        if self.overflowed:
            return
        scale = 2.0**-self.exponent
        # In slices, so that the float64 copies stay in the cache. Scaling by a power of two and rounding what is below
        # 2**62 are exact but for the one rounding to the unit.
        step = _SLICE if self.accumulator.device.type == "cpu" else self.accumulator.numel() or 1
        for start in range(0, self.accumulator.numel(), step):
            part, target = values[start : start + step], self.accumulator[start : start + step]
            target.add_((part.to(torch.float64) * scale).round_().to(torch.int64))

    def total(self) -> Tensor:
        """Return the sum so far, (n,) float64."""
        return total(self.accumulator, self.exponent)


def exponent_for(peak: float, terms: int) -> int:
    """Return the smallest exponent at which `terms` values up to peak·2**SLACK_BITS cannot overflow 64 bits.

    The rounding of one value is at most 2**(exponent − 1), that is about peak·terms·2**−56.
    """
    if not (math.isfinite(peak) and peak > 0 and terms > 0):
        raise InputError(f"a fixed-point scale needs a finite peak > 0 and terms > 0, not {peak} and {terms}")
    _, bits = math.frexp(peak)
    exponent = bits + SLACK_BITS + (terms - 1).bit_length() - _RANGE_BITS
    return max(exponent, _SMALLEST_EXPONENT)


def total(accumulator: Tensor, exponent: int) -> Tensor:
    """Turn an int64 `accumulator` in units of 2**exponent into float64, with one rounding."""
    return accumulator.to(torch.float64).mul_(2.0**exponent)


def largest_magnitude(values: Tensor) -> float:
    """Return max |value|, 0 for no values, NaN if there is one."""
    if values.numel() == 0:
        return 0.0
    low, high = torch.aminmax(values)
    return _largest(abs(low.item()), abs(high.item()))


def order_free_sum(
    contributions: Callable[[], Iterable[Tensor]],
    n: int,
    terms: int,
    first_is_mine: bool,
    collectives: Collectives,
    counts: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    describe: Callable[[int], str] | None = None,
) -> Tensor:
    """Sum vectors that are spread over ranks so that the bits do not depend on how they are spread (collective).

    Parameters
    ----------
    contributions : callable
        Returns a fresh iterable of this rank's terms, each (n,) float32 or float64; called twice in the rare case that
        the first term was zero or more than 2**SLACK_BITS times smaller than a later one. It may be empty.
    n : int
        Length of every term.
    terms : int
        Number of terms over all ranks; the same on every rank.
    first_is_mine : bool
        True on exactly one rank: its first term sets the scale, so it must not depend on the number of ranks.
    collectives : Collectives
        The ranks that share the terms.
    counts : sequence of int, optional
        If given, rows are scattered: rank r returns only its counts[r] elements.
    device : torch.device or str
        Where the terms live.
    describe : callable, optional
        Names this rank's term of a local index, for the error message of a term with NaN or inf.

    Returns
    -------
    Tensor
        (n,) or (counts[rank],) float64.

    Raises
    ------
    ComputeError
        On every rank, naming the terms with NaN or inf.
    InputError
        If the numbers of terms do not add up to `terms`.
    """
    iterator = iter(contributions())
    first = next(iterator, None)
    scale = collectives.max(largest_magnitude(first) if first_is_mine and first is not None else 0.0)
    # A first term of zeros or NaN sets no scale: the pass then only measures, and decides below.
    exponent = exponent_for(scale, terms) if math.isfinite(scale) and scale > 0 else _SMALLEST_EXPONENT
    partial, added, broken = _accumulate(_rejoin(first, iterator), n, terms, exponent, device)
    peak = collectives.max(partial.peak)
    _check_finite(peak, broken, collectives, describe)
    if not partial.fits(peak):
        del first, iterator
        partial, added, broken = _accumulate(contributions(), n, terms, exponent_for(peak, terms), device)
        again = collectives.max(partial.peak)
        _check_finite(again, broken, collectives, describe)
        if not partial.fits(again):
            raise ComputeError(
                "the terms of a sum grew when they were computed a second time: they are not deterministic"
            )
    check = torch.tensor([added], dtype=torch.int64)
    collectives.all_reduce(check)
    if check.item() != terms:
        raise InputError(f"a sum of {terms} terms was announced, but the ranks brought {check.item()}")
    if counts is None:
        collectives.all_reduce(partial.accumulator)
        return partial.total()
    return total(collectives.reduce_scatter_rows(partial.accumulator, counts), partial.exponent)


def exact_sum(values: Iterable[float], collectives: Collectives) -> float:
    """Return the correctly rounded sum of all `values` of all ranks, the same on every rank (collective)."""
    return math.fsum(value for part in collectives.all_gather_object([float(v) for v in values]) for value in part)


def _rejoin(first: Tensor | None, rest: Iterator[Tensor]) -> Iterator[Tensor]:
    if first is not None:
        yield first
        yield from rest


def _accumulate(
    contributions: Iterable[Tensor], n: int, terms: int, exponent: int, device: torch.device | str
) -> tuple[FixedPointSum, int, int | None]:
    """Add up this rank's terms; also return their number and the index of the first that is not finite."""
    partial = FixedPointSum(n, terms, exponent, device)
    added, broken = 0, None
    for term in contributions:
        partial.add(term)
        if broken is None and not math.isfinite(partial.peak):
            broken = added
        added += 1
    return partial, added, broken


def _check_finite(
    peak: float, broken: int | None, collectives: Collectives, describe: Callable[[int], str] | None
) -> None:
    if math.isfinite(peak):
        return
    if broken is None:
        mine = None
    else:
        mine = describe(broken) if describe is not None else f"term {broken} of rank {collectives.rank}"
    named = [text for text in collectives.all_gather_object(mine) if text is not None]
    raise ComputeError(f"NaN or inf in {', '.join(named)}; check the loss and its gradient there")


def _largest(a: float, b: float) -> float:
    return math.nan if math.isnan(a) or math.isnan(b) else max(a, b)
