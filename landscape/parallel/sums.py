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

from landscape.errors import ComputeError, InputError, NotFiniteError

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.parallel.collectives import Collectives

SLACK_BITS = 6
"""Later terms may be 2**6 times larger than the first before the pass is repeated; each bit doubles the rounding."""

_RANGE_BITS = 62
_SMALLEST_EXPONENT = -960
_SLICE = 1 << 18
# Scales up to 2**±_NARROW_BITS keep float32 values whose size matters inside the range of float32.
_NARROW_BITS = 120


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
        self._peaks: list[Tensor] = []

    @property
    def peaks(self) -> list[float]:
        """The largest magnitude of each term, in the unit of the values, NaN if there is one: one transfer."""
        return torch.stack(self._peaks).tolist() if self._peaks else []

    @property
    def peak(self) -> float:
        """The largest magnitude of all terms; inf or NaN if there was one."""
        return largest(self.peaks)

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
        """Add one term, (n,) float32 or float64; whether it fitted is known afterwards, from `peaks`.

        So that nothing waits for the device, too large a value is added like any other, as garbage.
        """
        _check_shape(values, self.accumulator.numel())
        values = values.detach().to(self.accumulator.device)
        self._peaks.append(magnitude(values))
        scale = 2.0**-self.exponent
        # A float32 times a power of two stays exact unless it leaves the range of float32.
        narrow = values.dtype == torch.float32 and abs(self.exponent) < _NARROW_BITS
        # In slices, so that the copies stay in the cache. Scaling by a power of two and rounding what is below 2**62
        # are exact but for the one rounding to the unit.
        step = _SLICE if self.accumulator.device.type == "cpu" else self.accumulator.numel() or 1
        for start in range(0, self.accumulator.numel(), step):
            part, target = values[start : start + step], self.accumulator[start : start + step]
            target.add_(((part if narrow else part.to(torch.float64)) * scale).round_().to(torch.int64))

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


def magnitude(values: Tensor) -> Tensor:
    """Return max |value| as a float64 tensor without dimensions, 0 for no values, NaN if there is one."""
    wide = torch.float64 if values.device.type != "mps" else torch.float32
    if values.numel() == 0:
        return torch.zeros((), dtype=wide, device=values.device)
    low, high = torch.aminmax(values)
    return torch.maximum(low.abs(), high.abs()).to(wide)


def largest(values: Iterable[float]) -> float:
    """Return the largest of magnitudes, 0 for none, NaN if there is one."""
    values = list(values)
    return math.nan if any(math.isnan(value) for value in values) else max(values, default=0.0)


def order_free_sum(
    contributions: Callable[[], Iterable[Tensor]],
    n: int,
    terms: int,
    first_is_mine: bool,
    collectives: Collectives,
    counts: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    describe: Callable[[int], str] | None = None,
    dtype: torch.dtype = torch.float64,
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
    dtype : torch.dtype
        Of the result where there is one term and one rank, and nothing to be rounded: a single term in a shorter one is
        then the result itself.

    Returns
    -------
    Tensor
        (n,) or (counts[rank],) float64, or ``dtype``; the caller's to change.

    Raises
    ------
    ComputeError
        On every rank, naming the terms with NaN or inf.
    InputError
        If the numbers of terms do not add up to `terms`.
    """
    iterator = iter(contributions())
    first = next(iterator, None)
    if terms == 1:
        return _one_term(_rejoin(first, iterator), n, collectives, counts, device, describe, dtype)
    scale = collectives.max(magnitude(first).item() if first_is_mine and first is not None else 0.0)
    # A first term of zeros or NaN sets no scale: the pass then only measures, and decides below.
    exponent = exponent_for(scale, terms) if math.isfinite(scale) and scale > 0 else _SMALLEST_EXPONENT
    partial, peaks = _accumulate(_rejoin(first, iterator), n, terms, exponent, device)
    peak = _checked_peak(peaks, collectives, describe)
    if not partial.fits(peak):
        del first, iterator
        partial, peaks = _accumulate(contributions(), n, terms, exponent_for(peak, terms), device)
        if not partial.fits(_checked_peak(peaks, collectives, describe)):
            raise ComputeError(
                "the terms of a sum grew when they were computed a second time: they are not deterministic"
            )
    _check_number(len(peaks), terms, collectives)
    if counts is None:
        collectives.all_reduce(partial.accumulator)
        return partial.total()
    return total(collectives.reduce_scatter_rows(partial.accumulator, counts), partial.exponent)


def _one_term(
    mine: Iterable[Tensor],
    n: int,
    collectives: Collectives,
    counts: Sequence[int] | None,
    device: torch.device | str,
    describe: Callable[[int], str] | None,
    dtype: torch.dtype,
) -> Tensor:
    """The only term, without rounding: its bits, added to zeros on the other ranks, are its bits (collective)."""
    found = list(mine)
    _checked_peak(torch.stack([magnitude(term) for term in found]).tolist() if found else [], collectives, describe)
    _check_number(len(found), 1, collectives)
    place = torch.device("cpu") if torch.device(device).type == "mps" else device
    if found:
        _check_shape(found[0], n)
        if collectives.size == 1:
            return found[0].detach().to(place, dtype, copy=dtype == torch.float64)
        bits = found[0].detach().to(place, torch.float64, copy=True).contiguous().view(torch.int64)
    else:
        bits = torch.zeros(n, dtype=torch.int64, device=place)
    if counts is not None:
        return collectives.reduce_scatter_rows(bits, counts).view(torch.float64)
    if collectives.size > 1:
        collectives.all_reduce(bits)
    return bits.view(torch.float64)


def _check_shape(values: Tensor, n: int) -> None:
    if values.shape != (n,):
        raise InputError(f"a term has shape {tuple(values.shape)}, the sum ({n},)")


def _check_number(added: int, terms: int, collectives: Collectives) -> None:
    check = torch.tensor([added], dtype=torch.int64)
    collectives.all_reduce(check)
    if check.item() != terms:
        raise InputError(f"a sum of {terms} terms was announced, but the ranks brought {check.item()}")


def exact_sum(values: Iterable[float], collectives: Collectives) -> float:
    """Return the correctly rounded sum of all `values` of all ranks, the same on every rank (collective)."""
    return math.fsum(value for part in collectives.all_gather_object([float(v) for v in values]) for value in part)


def _rejoin(first: Tensor | None, rest: Iterator[Tensor]) -> Iterator[Tensor]:
    if first is not None:
        yield first
        yield from rest


def _accumulate(
    contributions: Iterable[Tensor], n: int, terms: int, exponent: int, device: torch.device | str
) -> tuple[FixedPointSum, list[float]]:
    """Add up this rank's terms; also return the largest magnitude of each."""
    partial = FixedPointSum(n, terms, exponent, device)
    for term in contributions:
        partial.add(term)
    return partial, partial.peaks


def _checked_peak(peaks: Sequence[float], collectives: Collectives, describe: Callable[[int], str] | None) -> float:
    """The largest magnitude of the terms of all ranks (collective).

    Raises
    ------
    NotFiniteError
        On every rank, naming the first term with NaN or inf of each.
    """
    peak = collectives.max(largest(peaks))
    if math.isfinite(peak):
        return peak
    broken = next((index for index, one in enumerate(peaks) if not math.isfinite(one)), None)
    if broken is None:
        mine = None
    else:
        mine = describe(broken) if describe is not None else f"term {broken} of rank {collectives.rank}"
    named = [text for text in collectives.all_gather_object(mine) if text is not None]
    raise NotFiniteError(f"NaN or inf in {', '.join(named)}; check the loss and its gradient there")
