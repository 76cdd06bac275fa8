from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from landscape.errors import ComputeError, InputError
from landscape.parallel import FixedPointSum, Serial, exact_sum, order_free_sum
from landscape.parallel.sums import SLACK_BITS, exponent_for


def draw(terms, n, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, generator=generator, dtype=torch.float64).to(dtype) for _ in range(terms)]


def add_up(vectors, **options):
    return order_free_sum(lambda: iter(vectors), len(vectors[0]), len(vectors), True, Serial(), **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_as_exact_as_float64_can_say_and_independent_of_the_order(dtype, seed):
    vectors = draw(64, 501, dtype, seed)
    total = add_up(vectors)
    exact = torch.tensor(
        [math.fsum(column) for column in torch.stack(vectors).double().t().tolist()], dtype=torch.float64
    )
    peak = max(vector.abs().max().item() for vector in vectors)
    assert (total - exact).abs().max() <= 1e-16 * peak * len(vectors)
    assert torch.equal(vectors[0], draw(64, 501, dtype, seed)[0])  # the terms are left as they are
    first, rest = vectors[0], vectors[1:]
    for _ in range(3):
        random.Random(seed).shuffle(rest)
        assert torch.equal(add_up([first, *rest]), total)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("factor", "passes"), [(1.0, 1), (2.0**SLACK_BITS, 1), (2.0**20, 2), (1e200, 2)])
def test_a_later_larger_term_repeats_the_pass(dtype, factor, passes):
    if dtype == torch.float32 and factor > 1e30:
        factor = 1e30
    one = torch.ones(3, dtype=dtype)
    counted = []

    def terms():
        counted.append(1)
        return iter([one, one * factor, one * 3, -one * factor])

    assert order_free_sum(terms, 3, 4, True, Serial()).tolist() == ([4.0] * 3 if factor < 2**40 else [0.0] * 3)
    assert len(counted) == passes


def test_zeros_first_zeros_only_and_tiny_values():
    zero, some = torch.zeros(2, dtype=torch.float64), torch.tensor([1.5, -(2.0**-40)], dtype=torch.float64)
    assert torch.equal(add_up([zero, some]), some)
    assert torch.equal(add_up([zero, zero]), zero)
    assert torch.equal(add_up([some * 2.0**-900, zero]), some * 2.0**-900)
    assert torch.equal(add_up([some * 2.0**1000, zero]), some * 2.0**1000)


@settings(deadline=None)
@given(st.floats(min_value=1e-250, max_value=1e300), st.integers(min_value=1, max_value=10**7))
def test_the_exponent_is_the_smallest_that_fits_up_to_a_power_of_two(peak, terms):
    exponent = exponent_for(peak, terms)
    assert FixedPointSum(1, terms, exponent).fits(peak * 2.0**SLACK_BITS)
    # Rounded up to powers of two, twice: for the peak and for the number of terms.
    assert not FixedPointSum(1, terms, exponent - 3).fits(peak * 2.0**SLACK_BITS)


def test_the_largest_values_that_fit_do_not_overflow():
    terms = 1000
    running = FixedPointSum(1, terms, exponent_for(1.0, terms))
    largest = torch.tensor([2.0 ** (62 + running.exponent) / terms], dtype=torch.float64)
    for _ in range(terms):
        running.add(largest)
    assert not running.overflowed
    assert running.total().item() == pytest.approx(terms * largest.item(), rel=1e-12)
    running.add(largest * 1.01)
    assert running.overflowed


def test_a_term_that_is_not_finite_is_named():
    vectors = draw(3, 4, torch.float32, 0)
    vectors[1][2] = math.inf
    with pytest.raises(ComputeError, match="term 1 of rank 0"):
        add_up(vectors)
    with pytest.raises(ComputeError, match="NaN or inf in batch 1;"):
        add_up(vectors, describe=lambda index: f"batch {index}")


def test_wrong_announcements_are_refused():
    vectors = draw(3, 4, torch.float32, 0)
    with pytest.raises(InputError, match=r"sum of 4 terms.*brought 3"):
        order_free_sum(lambda: iter(vectors), 4, 4, True, Serial())
    with pytest.raises(InputError, match=r"shape \(4,\), the sum \(5,\)"):
        order_free_sum(lambda: iter(vectors), 5, 3, True, Serial())


def test_scalars_are_summed_without_any_error():
    assert exact_sum([1e100, 1.0, -1e100], Serial()) == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_term_keeps_every_bit_and_is_left_alone(dtype):
    (vector,) = draw(1, 501, dtype, 0)
    vector[3] = 1e-30
    before = vector.clone()
    total = add_up([vector])
    assert torch.equal(total, vector.double())
    total.div_(2)
    assert torch.equal(vector, before)
    vector[5] = math.nan
    with pytest.raises(ComputeError, match="term 0 of rank 0"):
        add_up([vector])


class Transfers(TorchDispatchMode):
    """Counts what waits for the device: a number that Python reads."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_the_number_of_transfers_does_not_grow_with_the_terms():
    counts = []
    for terms in (2, 20):
        vectors = draw(terms, 50, torch.float32, 0)
        with Transfers() as transfers:
            add_up(vectors)
        counts.append(transfers.count)
    assert counts[0] == counts[1] <= 2
