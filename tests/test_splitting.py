"""H = G + R: both parts against dense matrices, and the shares of classes against sums written down."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import landscape as ls
from tests.cases import cases, mlp, points

CASES = cases()
WITH_OUTPUTS = [name for name, case in CASES.items() if case.output is not None]


@pytest.mark.parametrize("name", WITH_OUTPUTS)
def test_the_residual_is_the_difference(name: str) -> None:
    case = CASES[name]
    objective = case.objective()
    reference = case.hessian() - case.gauss_newton()
    product = ls.Residual(objective) @ torch.eye(objective.n, dtype=torch.float64)
    assert (product - reference).abs().max() <= 1e-11 * case.hessian().abs().max()


@pytest.mark.parametrize("name", ["mlp", "weight decay", "convolution and batch norm"])
def test_both_densities_come_from_one_pass(name: str) -> None:
    case = CASES[name]
    objective = case.objective()
    parts = ls.split(objective)
    exact = torch.linalg.eigvalsh(case.gauss_newton()).numpy()
    assert np.allclose(parts.gauss_newton.nodes, exact, atol=1e-10 * exact[-1])
    rest = torch.linalg.eigvalsh(case.hessian() - case.gauss_newton()).numpy()
    assert np.allclose(parts.residual.nodes, rest, atol=1e-10 * exact[-1])
    assert parts.gauss_newton.operator == "gauss-newton" and parts.residual.operator == "residual"


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_the_densities_are_those_of_the_parts_alone(seed: int) -> None:
    from landscape import zoo

    objective = zoo.build("digits-mlp", activation="tanh", epochs=2, samples=200, dtype="float64", weight_decay=1e-3)
    parts = ls.split(objective, tol=0.2, max_products=40, seed=seed)
    for one, operator in ((parts.gauss_newton, ls.GaussNewton), (parts.residual, ls.Residual)):
        alone = ls.spectral_density(operator(objective), tol=0.2, max_products=40, seed=seed)
        assert one.products == alone.products
        assert np.allclose(one.nodes, alone.nodes, atol=1e-9 * alone.magnitude)
        assert one.trace == pytest.approx(alone.trace, rel=1e-6)


def test_a_network_that_is_linear_has_no_residual() -> None:
    model = torch.nn.Linear(4, 3).double()
    objective = ls.Objective(model, torch.nn.CrossEntropyLoss(), points())
    parts = ls.split(objective)
    assert np.abs(parts.residual.nodes).max() == 0
    assert parts.gauss_newton.lambda_max > 0


@pytest.mark.parametrize("micro_batch", [5, 100])
def test_shares_of_classes_are_the_partial_sums(micro_batch: int) -> None:
    inputs, targets = points()
    objective = ls.Objective(mlp(), torch.nn.CrossEntropyLoss(), (inputs, targets), micro_batch=micro_batch)
    pairs = ls.eigenpairs(ls.GaussNewton(objective), k=4)
    shares = ls.class_shares(objective, pairs)
    assert shares.shape == (4, 3) and np.allclose(shares.sum(1), 1) and (shares >= 0).all()
    for label in range(3):
        mine = targets == label
        only = ls.Objective(mlp(), torch.nn.CrossEntropyLoss(), (inputs[mine], targets[mine]))
        product = (ls.GaussNewton(only) @ pairs.vectors) * float(mine.sum()) / len(targets)
        expected = (pairs.vectors * product).sum(0) / pairs.values
        assert np.allclose(shares[:, label], expected, atol=1e-6)


def test_shares_of_tokens_and_of_ignored_targets() -> None:
    case = CASES["ignored tokens"]
    objective = case.objective()
    vectors = torch.randn(objective.n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shares = ls.class_shares(objective, vectors)
    inputs, tokens = (torch.cat([batch[side] for batch in case.data]) for side in (0, 1))
    total = torch.stack(
        [
            (vectors * (ls.GaussNewton(only_class(case, inputs, tokens, label)) @ vectors)).sum(0)
            * float((tokens == label).sum())
            for label in range(3)
        ],
        1,
    )
    assert np.allclose(shares, (total / total.sum(1, keepdim=True)).numpy(), atol=1e-10)


def only_class(case, inputs, tokens, label):
    return ls.Objective(case.model, case.loss, (inputs, torch.where(tokens == label, tokens, -100)))


def test_wrong_requests_are_refused_in_words() -> None:
    with pytest.raises(ls.InputError, match="Residual needs the network's output"):
        ls.Residual(CASES["dict batches"].objective())
    with pytest.raises(ls.InputError, match=r"targets int64 .* are \(9, 3\) and \(9, 3\)"):
        ls.class_shares(CASES["mean squares"].objective(), np.ones((43, 1)))
    with pytest.raises(ls.InputError, match=r"vectors must have shape \(43, k\), not \(5,\)"):
        ls.class_shares(CASES["mlp"].objective(), np.ones(5))
    with pytest.raises(ls.InputError, match=r"split needs a landscape\.Objective"):
        ls.split("mlp")  # type: ignore[arg-type]
