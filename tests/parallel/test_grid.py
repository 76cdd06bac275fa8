from __future__ import annotations

import pytest

from landscape.errors import InputError
from landscape.parallel import ProcessGrid


def test_without_a_launcher_there_is_one_rank():
    grid = ProcessGrid.world()
    assert (grid.rank, grid.size, grid.probe_groups, grid.data_shards, grid.probe_group) == (0, 1, 1, 1, 0)
    assert (grid.backend, grid.world.name, grid.data.name) == ("serial", "serial", "serial")
    assert ProcessGrid.world() is grid
    assert grid.split(1) is grid
    grid.meet("anything")
    facts = grid.describe()
    assert facts["ranks"] == 1
    assert facts["threads"] == grid.threads >= 1


@pytest.mark.parametrize("groups", [0, 2, -1])
def test_groups_must_divide_the_ranks(groups):
    with pytest.raises(InputError, match=f"1 ranks cannot form {groups} probe groups"):
        ProcessGrid.serial().split(groups)
