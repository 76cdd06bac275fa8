"""Real mpiexec jobs with 1 to 4 ranks: every operator and estimator has the same bits on any number of them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.mpi_jobs import run_ranks

pytestmark = pytest.mark.mpi
JOB = Path(__file__).with_name("operators_job.py")


@cache
def job(ranks: int) -> dict[str, Any]:
    done = run_ranks(ranks, JOB, timeout=240).check()
    return json.loads(done.stdout.strip().splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["torch.float32", "torch.float64"])
def test_any_number_of_ranks_gives_the_same_bits(ranks: int, dtype: str) -> None:
    assert job(ranks)[dtype] == job(1)[dtype]
    assert job(ranks)["all ranks say the same"]


def test_what_one_rank_cannot_trace_is_refused_on_all() -> None:
    found = job(2)
    assert found["all ranks say the same"]
    assert len(found["refusals"]) == 2
    assert all("cannot be traced: it draws random numbers" in text for text in found["refusals"])
