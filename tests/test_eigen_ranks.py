"""Eigenpairs are the same on every number of ranks, bit by bit: real mpiexec processes, one job per rank count."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.mpi_jobs import run_ranks

pytestmark = pytest.mark.mpi

JOB = Path(__file__).with_name("eigen_job.py")


@cache
def job(ranks: int) -> dict[str, Any]:
    done = run_ranks(ranks, JOB, timeout=180).check()
    return json.loads(done.stdout.strip().splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize("dtype", ["torch.float32", "torch.float64"])
def test_any_number_of_ranks_gives_the_same_bits(ranks: int, dtype: str) -> None:
    assert job(ranks)[dtype] == job(1)[dtype]
    assert job(ranks)["all ranks hold the same"]


@pytest.mark.parametrize("dtype", ["torch.float32", "torch.float64"])
def test_a_resumed_run_gives_the_same_bits(dtype: str) -> None:
    results = job(2)[dtype]
    assert results["resumed"] == results["restarted, both ends"]
    products, restarts, *_ = results["resumed"]["facts"]
    assert products > 13 and restarts > 0
