"""Sums, multiples and shifts of operators against the same algebra of dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import landscape as ls
from tests.cases import cases, mlp, points, trained_spectrum

CASES = cases()


def dense(operator: ls.Hessian) -> torch.Tensor:
    return operator @ torch.eye(operator.n, dtype=torch.float64)


def test_combinations_are_those_of_the_matrices() -> None:
    case = CASES["weight decay"]
    objective = case.objective()
    H, G, identity = case.hessian(), case.gauss_newton(), torch.eye(objective.n, dtype=torch.float64)
    h, g = ls.Hessian(objective), ls.GaussNewton(objective)
    for built, expected in (
        (2 * h, 2 * H),
        (h * np.float64(0.5) + g, 0.5 * H + G),
        (-(h - g) / 4, (G - H) / 4),
        (h - 0.3, H - 0.3 * identity),
        (1 - h, identity - H),
        (2 * (h + 3 * g - 1) - g + 5, 2 * H + 5 * G + 3 * identity),
    ):
        assert (dense(built) - expected).abs().max() <= 1e-12 * expected.abs().max()
    assert (2 * (h + 3 * g - 1) - g + 5).name == "2·hessian + 6·gauss-newton - gauss-newton + 3"


def test_two_data_sets_add_up() -> None:
    left, right = (ls.Objective(mlp(), torch.nn.CrossEntropyLoss(), points(20, seed)) for seed in (1, 2))
    both = ls.Objective(
        mlp(),
        torch.nn.CrossEntropyLoss(),
        tuple(torch.cat(pair) for pair in zip(points(20, 1), points(20, 2), strict=True)),
    )
    product = dense(0.5 * ls.Hessian(left) + 0.5 * ls.Hessian(right))
    assert (product - dense(ls.Hessian(both))).abs().max() <= 1e-12
    with pytest.raises(ls.InputError, match="over different data"):
        (ls.Hessian(left) + ls.Hessian(right)).batch_product(None, 1.0, torch.ones(43))


def test_a_combination_is_an_operator_like_any_other() -> None:
    objective = CASES["mlp"].objective()
    shifted = ls.Hessian(objective) - 0.25
    vector = torch.randn(43, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(shifted.to_scipy() @ vector.numpy(), (shifted @ vector).numpy())
    exact = torch.linalg.eigvalsh(CASES["mlp"].hessian()).numpy() - 0.25
    density = ls.spectral_density(shifted)
    assert np.allclose(density.nodes, exact, atol=1e-10)
    assert density.operator == "hessian - 0.25" and density.converged
    pairs = ls.eigenpairs(shifted, k=2, which="both")
    assert np.allclose(pairs.values, exact[[-1, -2, 1, 0]], atol=1e-5)
    assert np.array_equal(pairs.theta, objective.theta.numpy())
    assert shifted.products >= 44 and shifted.describe()["shift"] == -0.25


def test_a_shift_moves_a_trained_spectrum() -> None:
    from landscape import zoo

    exact = trained_spectrum("tanh", epochs=2)
    objective = zoo.build("digits-mlp", activation="tanh", epochs=2, samples=300, dtype="float64")
    pairs = ls.eigenpairs(1.0 - ls.Hessian(objective), k=2, which="smallest")
    assert np.allclose(pairs.values, 1 - exact[[-1, -2]], atol=1e-5)


@pytest.mark.parametrize("wrong", ["2", None, float("nan"), True, torch.ones(43)])
def test_what_is_no_number_and_no_operator_is_refused(wrong: object) -> None:
    hessian = ls.Hessian(CASES["mlp"].objective())
    for attempt in (lambda: hessian + wrong, lambda: hessian * wrong, lambda: hessian - wrong):
        with pytest.raises(ls.InputError, match="combine with operators and finite numbers"):
            attempt()
    with pytest.raises(ls.InputError, match="divided by zero"):
        hessian / 0


def test_operators_that_do_not_fit_are_refused_with_both_values() -> None:
    hessian = ls.Hessian(CASES["mlp"].objective())
    with pytest.raises(ls.InputError, match="hessian and fisher cannot be added: n is 43 for the first and 2"):
        hessian + ls.EmpiricalFisher(CASES["frozen parameters"].objective())
    single = ls.Objective(mlp().float(), torch.nn.CrossEntropyLoss(), (points()[0].float(), points()[1]))
    with pytest.raises(ls.InputError, match=r"dtype is torch\.float64 for the first and torch\.float32"):
        hessian + ls.Hessian(single)
