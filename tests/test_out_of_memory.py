"""Allocations that fail say what to do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import landscape as ls
from landscape._out_of_memory import advised
from landscape.krylov.storage import VectorStore
from landscape.parallel import Serial
from landscape.parallel.rows import RowPartition

TOO_MUCH = 1 << 60


class Greedy(ls.GaussNewton):
    """Needs more memory than any computer has, for its second micro-batch."""

    def batch_product(self, batch: object, denominator: float, vector: torch.Tensor) -> torch.Tensor:
        if float(batch[0][0, 0]) == 0:  # type: ignore[index]
            torch.empty(TOO_MUCH)
        return super().batch_product(batch, denominator, vector)  # type: ignore[arg-type]


def test_a_product_that_needs_too_much_suggests_smaller_batches() -> None:
    data = (torch.eye(8), torch.zeros(8, 1))
    operator = Greedy(ls.Objective(nn.Linear(8, 1), nn.MSELoss(), data, micro_batch=4))
    with pytest.raises(ls.ComputeError, match=r"micro-batch 1 of 2 \(samples 4 to 7\).*micro_batch=2"):
        operator @ torch.ones(9)


def test_a_basis_that_needs_too_much_suggests_a_smaller_one() -> None:
    rows = RowPartition(1 << 18, Serial())
    store = VectorStore(rows, torch.float32, torch.device("cpu"))
    store.size = TOO_MUCH >> 18
    with pytest.raises(ls.ComputeError, match=r"out of memory in the basis.*memory_budget=.*\"minimal\""):
        store.write(0, rows.split(torch.zeros(1 << 18)))


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), advised(lambda: ("here", "advice")):
        torch.ones(2, 3) @ torch.ones(2, 3)
    with pytest.raises(ls.ComputeError, match="out of memory in here: advice"), advised(lambda: ("here", "advice")):
        raise torch.OutOfMemoryError("CUDA out of memory")
