from __future__ import annotations

from pathlib import Path

import pytest

from tests.mpi_jobs import run_ranks

JOB = Path(__file__).with_name("collectives_job.py")


@pytest.mark.mpi
@pytest.mark.xdist_group("mpi")
def test_every_verb_on_one_to_four_ranks_and_sums_with_the_same_bits():
    printed = {ranks: run_ranks(ranks, JOB, timeout=120).check().stdout.split() for ranks in (1, 2, 3, 4)}
    for ranks, lines in printed.items():
        *digests, size, threads = lines
        assert (int(size), int(threads)) == (ranks, 1)
        assert len(digests) == 8
        assert digests == printed[1][:-2]
        # float32 and float64, each with and without a late large term: four different sums, each found twice.
        assert digests[::2] == digests[1::2]
        assert len(set(digests)) == 4
