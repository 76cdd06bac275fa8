"""Paths are the same on every number of ranks, bit by bit: real mpiexec processes, one job per rank count."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.mpi_jobs import run_ranks

pytestmark = pytest.mark.mpi

JOB = Path(__file__).with_name("path_job.py")


@cache
def job(ranks: int) -> dict[str, Any]:
    return json.loads(run_ranks(ranks, JOB, timeout=180).check().stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("ranks", [2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_any_number_of_ranks_gives_the_same_bits(ranks: int) -> None:
    assert job(ranks) == job(1)
    assert job(ranks)["all ranks hold the same"] and job(ranks)["only the first rank reports"]
    assert "torch optimizer of the control points" in job(ranks)["input"]
