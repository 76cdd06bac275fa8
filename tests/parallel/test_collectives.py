from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from landscape.errors import InputError
from landscape.parallel import Serial


def test_one_rank_gets_back_what_it_gave():
    alone = Serial()
    values = torch.arange(6.0).view(3, 2)
    for operation in ("sum", "max", "min"):
        alone.all_reduce(values, operation)
    alone.broadcast(values)
    assert torch.equal(values, torch.arange(6.0).view(3, 2))
    for result in (
        alone.all_gather_rows(values, [3]),
        alone.gather_rows(values, [3]),
        alone.reduce_scatter_rows(values, [3]),
    ):
        assert torch.equal(result, values)
        result.zero_()  # a copy: the argument stays
    assert values[2, 1] == 5
    assert alone.all_gather_object("x") == ["x"]
    assert alone.broadcast_object("x") == "x"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.all_reduce(torch.zeros(1), "mean"), "'mean'.*sum, max, min"),
        (lambda c: c.broadcast(torch.zeros(1), root=1), "no rank 1"),
        (lambda c: c.all_gather_rows(torch.zeros(2), [3]), r"rank 0 should bring 3 rows.*\(2,\)"),
        (lambda c: c.reduce_scatter_rows(torch.zeros(2), [1, 1]), "one per rank"),
        (lambda c: c.reduce_scatter_rows(torch.zeros(2), [3]), "expected 3 rows"),
    ],
)
def test_wrong_arguments_are_found_on_one_rank_too(call, message):
    with pytest.raises(InputError, match=message):
        call(Serial())


def test_importing_starts_neither_torch_nor_mpi():
    code = (
        "import sys, landscape.parallel; from landscape.parallel import Collectives, mpiexec_command, ProcessGrid;"
        "print({name.split('.')[0] for name in sys.modules} & {'torch', 'mpi4py'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
