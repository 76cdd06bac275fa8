"""All layers in one pass: the same densities as one by one, and as the blocks of the dense matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import landscape as ls
from landscape import zoo
from landscape.curvature import block_diagonal, blocks_of
from tests.cases import cases

CASES = cases()


@pytest.mark.parametrize("name", ["mlp", "convolution and batch norm", "unused parameter", "weight decay"])
def test_small_layers_have_all_their_eigenvalues(name: str) -> None:
    objective, matrix = CASES[name].objective(), CASES[name].hessian()
    found = ls.layer_densities(ls.Hessian(objective))
    blocks = {block.name: block for block in blocks_of(objective)}
    assert list(found) == list(blocks)
    for layer, density in found.items():
        exact = torch.linalg.eigvalsh(blocks[layer].take(blocks[layer].take(matrix).T)).numpy()
        assert np.allclose(np.sort(density.nodes), exact, atol=1e-10)
        assert density.converged and density.operator == f"hessian of {', '.join(blocks[layer].parameters)}"


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_it_is_the_density_of_each_layer_alone(seed: int) -> None:
    objective = zoo.build("digits-mlp", activation="tanh", epochs=3, samples=200, dtype="float64")
    hessian = ls.Hessian(objective)
    together = ls.layer_densities(hessian, tol=0.1, max_products=60, seed=seed)
    for block in blocks_of(objective):
        alone = ls.spectral_density(ls.Restricted(hessian, list(block.parameters)), tol=0.1, max_products=60, seed=seed)
        one = together[block.name]
        assert one.products == alone.products
        assert np.allclose(one.nodes, alone.nodes, atol=1e-9 * alone.magnitude)
        assert np.allclose(one.weights, alone.weights, atol=1e-7)
        assert one.error == pytest.approx(alone.error, rel=1e-5) and one.converged == alone.converged
    sweeps = max(density.products for density in together.values())
    assert hessian.products == sweeps < sum(density.products for density in together.values())


def test_layers_of_other_operators() -> None:
    objective = CASES["mlp"].objective()
    G = ls.GaussNewton(objective)
    P = torch.linspace(0.5, 2, 43, dtype=torch.float64)
    for operator in (G, ls.Preconditioned(G, P) - 0.1, ls.GradientCovariance(objective)):
        matrix = block_diagonal(operator) @ torch.eye(43, dtype=torch.float64)
        found = ls.layer_densities(operator, by="parameter")
        assert list(found) == list(objective.names)
        whole = operator @ torch.eye(43, dtype=torch.float64)
        start = 0
        for density in found.values():
            block = slice(start, start + density.n)
            exact = torch.linalg.eigvalsh(whole[block, block]).numpy()
            assert np.allclose(np.sort(density.nodes), exact, atol=1e-10)
            start += density.n
        assert torch.allclose(matrix[:25, 25:], torch.zeros(25, 18, dtype=torch.float64))


def test_wrong_requests_are_refused_in_words() -> None:
    hessian = ls.Hessian(CASES["mlp"].objective())
    with pytest.raises(ls.InputError, match="tol must be positive"):
        ls.layer_densities(hessian, tol=0)
    with pytest.raises(ls.InputError, match="unknown division"):
        ls.layer_densities(hessian, by="head")
    with pytest.raises(ls.InputError, match="needs an operator of an objective"):
        ls.layer_densities(ls.from_function(lambda v: v, 3))
