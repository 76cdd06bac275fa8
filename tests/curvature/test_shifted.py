"""An operator plus a diagonal matrix, against dense matrices."""

from __future__ import annotations

import pytest
import torch

import landscape as ls
from landscape.curvature.shifted import Shifted
from tests.cases import cases

CASES = cases()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_the_dense_one(seed: int) -> None:
    case = CASES["mlp"]
    objective = case.objective()
    d = torch.randn(objective.n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    operator = Shifted(ls.Hessian(objective), d)
    expected = case.hessian() + torch.diag(d)
    assert (operator @ torch.eye(objective.n, dtype=torch.float64) - expected).abs().max() <= 1e-12
    part = operator.restricted(list(objective.names[1:]))
    first = objective.n - part.n
    assert (part @ torch.eye(part.n, dtype=torch.float64) - expected[first:, first:]).abs().max() <= 1e-12
    assert operator.name == "hessian + diagonal"
    assert operator.describe() != Shifted(ls.Hessian(objective), 2 * d).describe()


@pytest.mark.parametrize("diagonal", [torch.ones(3), torch.full((43,), float("nan"))])
def test_wrong_requests_are_refused_in_words(diagonal: torch.Tensor) -> None:
    with pytest.raises(ls.InputError, match=r"cannot be added to hessian: give \d+ finite numbers"):
        Shifted(ls.Hessian(CASES["mlp"].objective()), diagonal)
