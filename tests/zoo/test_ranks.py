"""Several ranks receive what rank 0 has trained: the same bits as on one."""

from __future__ import annotations

import pytest

from landscape import zoo
from tests.mpi_jobs import run_ranks

SCRIPT = """
from landscape import zoo
objective = zoo.build("digits-cnn", epochs=1, samples=300)
facts = objective.describe()
for rank, theirs in enumerate(objective.grid.world.all_gather_object((facts["theta_sha256"], objective.loss()))):
    if objective.grid.rank == 0:
        print(rank, *theirs)
"""


@pytest.mark.mpi
def test_ranks_share_what_rank_0_trained():
    objective = zoo.build("digits-cnn", epochs=1, samples=300)
    expected = f"{objective.describe()['theta_sha256']} {objective.loss()}"
    printed = run_ranks(2, ["-c", SCRIPT]).check().stdout.splitlines()
    assert printed == [f"0 {expected}", f"1 {expected}"]
