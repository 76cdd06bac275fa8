"""Real mpiexec jobs: the same bits on 1 to 4 ranks, also after a kill."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.mpi_jobs import run_ranks

pytestmark = pytest.mark.mpi
JOB = str(Path(__file__).with_name("surface_job.py"))


@cache
def surface(ranks: int) -> dict[str, Any]:
    return json.loads(run_ranks(ranks, [JOB], timeout=120).check().stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("ranks", [2, *(pytest.param(more, marks=pytest.mark.slow) for more in (0, 3, 4))])
def test_any_number_of_ranks_gives_the_same_bits(ranks):
    assert surface(ranks)["digests"] == surface(1)["digests"]
    assert len(surface(ranks)["digests"]) == 1  # the same on every rank


@pytest.mark.parametrize("ranks", [(2, 1), pytest.param((3, 2), marks=pytest.mark.slow)])
def test_a_killed_surface_is_finished_by_another_number_of_ranks(ranks, tmp_path, faults):
    for fault in range(faults):
        state = str(tmp_path / f"state-{fault}")
        stop = int(np.random.default_rng([fault, *ranks]).integers(1, 66))
        killed = run_ranks(ranks[0], [JOB, state, str(stop)], timeout=60)
        assert killed.returncode != 0 and "digests" not in killed.stdout
        done = json.loads(run_ranks(ranks[1], [JOB, state], timeout=60).check().stdout)
        assert done["resumed"] == stop
        assert done["digests"] == surface(1)["digests"]
