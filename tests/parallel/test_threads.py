from __future__ import annotations

import pytest

from landscape.parallel.threads import fair_share, requested


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([range(8)], [8]),
        ([range(8)] * 2, [4, 4]),
        ([range(8)] * 3, [2, 2, 2]),
        ([range(2)] * 5, [1] * 5),
        ([range(4), range(4, 8)], [4, 4]),  # bound to cores of their own: these are not divided again
        ([range(3)] * 3, [1, 1, 1]),
    ],
)
def test_cores_are_shared_fairly(masks, expected):
    cores = [frozenset(mask) for mask in masks]
    assert [fair_share(rank, cores, {}) for rank in range(len(cores))] == expected


@pytest.mark.parametrize(("text", "expected"), [("3", 3), ("4,2", 4), ("", None), ("0", None), ("many", None)])
def test_what_the_user_asks_for_wins(text, expected):
    assert requested({"OMP_NUM_THREADS": text}) == expected
    assert fair_share(0, [frozenset(range(2))], {"OMP_NUM_THREADS": text}) == (expected or 2)
