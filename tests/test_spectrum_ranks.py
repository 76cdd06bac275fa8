"""Real mpiexec jobs with 1 to 4 ranks: the same bits, less work for each rank, and refusals that name the rank."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.mpi_jobs import run_ranks

pytestmark = pytest.mark.mpi
JOB = Path(__file__).with_name("spectrum_job.py")
BATCHES = 20  # 260 samples in micro-batches of 13


@cache
def job(ranks: int) -> dict[str, Any]:
    done = run_ranks(ranks, JOB, timeout=180).check()
    return json.loads(done.stdout.strip().splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["torch.float32", "torch.float64"])
def test_any_number_of_ranks_gives_the_same_bits(ranks: int, dtype: str) -> None:
    assert job(ranks)[dtype] == job(1)[dtype]
    assert job(ranks)[dtype]["sampled"] == [3, True] and job(ranks)[dtype]["number of short runs"] == 4


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_every_memory_mode_has_the_same_bits_with_vectors_in_shards(ranks: int) -> None:
    modes = job(ranks)["modes"]
    assert modes == job(1)["modes"]
    assert all(modes[f"{dtype} disk"] == modes[f"{dtype} full"] for dtype in ("torch.float32", "torch.float64"))


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_local_work_shrinks_with_the_number_of_ranks(ranks: int) -> None:
    work = job(ranks)["work"]
    assert job(1)["work"] == {"data": [12 * BATCHES], "probes": [20 * BATCHES]}
    assert sum(work["data"]) == 12 * BATCHES and max(work["data"]) <= 12 * -(-BATCHES // ranks)
    assert sum(work["probes"]) == 20 * BATCHES
    assert max(work["probes"]) <= 20 * BATCHES / ranks * (1.0 if ranks != 3 else 1.5)


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_that_differ_are_named(ranks: int) -> None:
    refusals = job(ranks)["refusals"]
    assert job(ranks)["all ranks say the same"]
    assert "arrived with other parameters than rank 0" in refusals["unseeded model"]
    assert "trained without a seed" in refusals["unseeded model"]
    assert "rank 1 differs from rank 0 in the data (unseeded shuffle" in refusals["shuffled data"]
    assert "rank 1 differs from rank 0" in refusals["other length"]
    assert "nan in micro-batch 15 of 20 (samples 195 to 207)" in refusals["nan"]
    assert refusals["rounding"] == "accepted"
    assert "rank 1 arrived with other parameters" in refusals["another point"]


def test_every_rank_gets_the_product_with_the_vector_of_rank_0() -> None:
    products = job(3)["vector"]
    assert len(products) == 3 and len(set(products)) == 1
