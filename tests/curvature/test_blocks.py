"""Diagonal blocks against the blocks of dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.curvature import block_diagonal, blocks_of
from tests.cases import cases

CASES = cases()
NAMES = ["mlp", "weight decay", "convolution and batch norm", "tied weights", "unused parameter", "frozen parameters"]


def dense(operator: ls.Hessian) -> torch.Tensor:
    return operator @ torch.eye(operator.n, dtype=torch.float64)


def close(product: torch.Tensor, reference: torch.Tensor) -> None:
    assert (product - reference).abs().max() <= 1e-12 * max(reference.abs().max(), 1e-3)


def diagonal_blocks(matrix: torch.Tensor, objective: ls.Objective, by: str) -> torch.Tensor:
    """Written down by the parameters' own sizes."""
    owners = [
        name.rpartition(".")[0] or name if by == "layer" else name
        for name, shape in zip(objective.names, objective.shapes, strict=True)
        for _ in range(shape.numel())
    ]
    same = torch.tensor([[a == b for b in owners] for a in owners])
    return torch.where(same, matrix, 0)


@pytest.mark.parametrize("by", ["layer", "parameter"])
@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_the_hessian_are_those_of_the_matrix(name: str, by: str) -> None:
    objective, matrix = CASES[name].objective(), CASES[name].hessian()
    close(dense(ls.BlockDiagonal(ls.Hessian(objective), by)), diagonal_blocks(matrix, objective, by))
    for block in blocks_of(objective, by):
        part = ls.Restricted(ls.Hessian(objective), list(block.parameters))
        assert part.n == block.n and part.names == block.parameters
        close(dense(part), block.take(block.take(matrix).T).T)


@pytest.mark.parametrize("name", ["convolution and batch norm", "unused parameter", "ignored tokens"])
@pytest.mark.parametrize("operator", [ls.GaussNewton, ls.EmpiricalFisher, ls.GradientCovariance])
def test_blocks_of_the_others_are_those_of_the_whole(name: str, operator: type) -> None:
    objective = CASES[name].objective()
    whole = operator(objective)
    vectors = torch.randn(whole.n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    product = ls.BlockDiagonal(whole) @ vectors
    for block in blocks_of(objective):
        alone = torch.zeros_like(vectors.T)
        block.put(alone, block.take(vectors.T))
        expected = block.take((whole @ alone.T).T).T
        close(block.take(product.T).T, expected)
        close(ls.Restricted(whole, list(block.parameters)) @ block.take(vectors.T).T, expected)


def test_blocks_of_sums_and_of_preconditioned_operators() -> None:
    objective = CASES["weight decay"].objective()
    H, G = ls.Hessian(objective), ls.GaussNewton(objective)
    diagonal = torch.linspace(0.5, 3, objective.n, dtype=torch.float64)
    for whole in (2 * H - G + 0.5, ls.Preconditioned(H, diagonal), ls.Preconditioned(H - G, diagonal)):
        matrix = dense(whole)
        close(dense(block_diagonal(whole)), diagonal_blocks(matrix, objective, "layer"))
        part = ls.Restricted(whole, "^2[.]")
        close(dense(part), matrix[25:, 25:])
        assert part.name == f"{whole.name} of 2.weight, 2.bias"
    with pytest.raises(ls.InputError, match=r"made of the blocks of its parts: write BlockDiagonal\(A\)"):
        ls.BlockDiagonal(H - G)


def test_a_restricted_objective_is_the_same_function() -> None:
    case = CASES["weight decay"]
    objective = case.objective()
    part = objective.restricted(lambda name, parameter: parameter.dim() == 1)
    assert part.names == ("0.bias", "2.bias") and part.n == 8
    assert part.loss() == pytest.approx(objective.loss(), rel=1e-15)
    places = [*range(20, 25), *range(40, 43)]
    close(part.gradient(), objective.gradient()[places])
    step = torch.linspace(-1, 1, 8, dtype=torch.float64)
    theta = objective.theta.clone()
    theta[places] += step
    assert part.at(part.theta + step).loss() == pytest.approx(objective.at(theta).loss(), rel=1e-14)
    again = part.restricted("^2")
    assert again.names == ("2.bias",) and again.loss() == pytest.approx(objective.loss(), rel=1e-15)


def test_spectrum_and_eigenpairs_of_a_layer() -> None:
    case = CASES["mlp"]
    hessian = ls.Hessian(case.objective())
    part = ls.Restricted(hessian, "^0")
    exact = torch.linalg.eigvalsh(case.hessian()[:25, :25]).numpy()
    assert np.allclose(ls.spectral_density(part).nodes, exact, atol=1e-12)
    pairs = ls.eigenpairs(part, k=2)
    assert np.allclose(pairs.values, exact[[-1, -2]], atol=1e-6)
    assert pairs.parameters == {"0.weight": [5, 4], "0.bias": [5]}
    assert part.describe()["parameters"] == ["0.weight", "0.bias"]
    assert part.block.take(torch.arange(43)).tolist() == list(range(25))


def test_wrong_requests_are_refused_in_words() -> None:
    hessian = ls.Hessian(CASES["mlp"].objective())
    with pytest.raises(ls.InputError, match=r"no parameter is chosen by 'head'; there are 0\.weight, 0\.bias"):
        ls.Restricted(hessian, "head")
    with pytest.raises(ls.InputError, match=r"\['3\.weight'\], which the model lacks"):
        ls.Restricted(hessian, ["3.weight"])
    with pytest.raises(ls.InputError, match="unknown division 'head'; choose layer or parameter"):
        ls.BlockDiagonal(hessian, by="head")
    function = ls.from_function(lambda v: 2 * v, 5)
    for attempt in (lambda: ls.Restricted(function, "0"), lambda: ls.BlockDiagonal(function)):
        with pytest.raises(ls.InputError, match="needs an operator of an objective"):
            attempt()
