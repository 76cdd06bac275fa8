"""Profiles and barriers are the same on every number of ranks, bit by bit, also after a kill: real mpiexec jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.mpi_jobs import run_ranks

pytestmark = pytest.mark.mpi
JOB = str(Path(__file__).with_name("interpolation_job.py"))
ITEMS = 7 + 2 + 2 + 7 + 7  # losses, ends, eigenpairs of the ends, of all points, densities


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    found: dict[int, dict[str, Any]] = {}

    def job(ranks: int) -> dict[str, Any]:
        if ranks not in found:
            folder = str(tmp_path_factory.mktemp("interpolation"))
            found[ranks] = json.loads(run_ranks(ranks, [JOB, folder], timeout=240).check().stdout)
        return found[ranks]

    return job


@pytest.mark.parametrize("ranks", [2, *(pytest.param(more, marks=pytest.mark.slow) for more in (3, 4))])
def test_any_number_of_ranks_gives_the_same_bits(ranks: int, jobs: Any) -> None:
    assert jobs(ranks)["digests"] == jobs(1)["digests"]
    assert jobs(ranks)["same"] and jobs(ranks)["all resumed"] and jobs(ranks)["resumed"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [(2, 1), (3, 2)])
def test_a_killed_profile_is_finished_by_another_number_of_ranks(
    ranks: tuple[int, int], tmp_path: Path, faults: int, jobs: Any
) -> None:
    for fault in range(faults):
        folder = str(tmp_path / f"state-{fault}")
        stop = int(np.random.default_rng([fault, *ranks]).integers(1, ITEMS))
        killed = run_ranks(ranks[0], [JOB, folder, str(stop)], timeout=240)
        assert killed.returncode != 0 and "digests" not in killed.stdout
        done = json.loads(run_ranks(ranks[1], [JOB, folder], timeout=240).check().stdout)
        assert 0 < done["resumed"] <= ITEMS and done["digests"] == jobs(1)["digests"]
