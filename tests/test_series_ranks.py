"""Series are the same on every number of ranks, bit by bit: real mpiexec processes, one job per rank count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import landscape as ls
from tests.cases import cases
from tests.mpi_jobs import run_ranks

pytestmark = pytest.mark.mpi

JOB = Path(__file__).with_name("series_job.py")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("series")
    objective = cases()["convolution and batch norm"].objective()
    ls.train(objective, "sgd", lr=0.05, epochs=2, batch=6, path=folder / "run.h5", every=2)
    found: dict[int, dict[str, Any]] = {}

    def job(ranks: int) -> dict[str, Any]:
        if ranks not in found:
            done = run_ranks(ranks, [str(JOB), str(folder)], timeout=180).check()
            found[ranks] = json.loads(done.stdout.strip().splitlines()[-1])
        return found[ranks]

    return job


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow), 4])
def test_any_number_of_ranks_gives_the_same_bits(ranks: int, jobs: Any) -> None:
    assert jobs(ranks) == jobs(1)
    assert jobs(ranks)["all ranks hold the same"] and jobs(ranks)["all resumed"]
    assert jobs(ranks)["checkpoints"][0] >= 4
