"""The gradient covariance against the weighted covariance of per-sample gradients, written down in full."""

from __future__ import annotations

import pytest
import torch

import landscape as ls
from tests.cases import Case, cases, points, supervised

CASES = cases()
WEIGHTS = {
    "mlp": None,
    "uneven last batch": None,
    "sum": None,
    "undeclared sum": None,
    "weight decay": None,
    "mean squares": None,
    "class weights and ignore_index": "factor",
    "class weights, samples as denominator": None,
    "class probabilities": None,
    "probabilities at positions": "five",
    "ignored tokens": "tokens",
    "convolution and batch norm": None,
    "frozen parameters": None,
}


def weights_of(name: str) -> torch.Tensor:
    """What every sample adds to the denominator, written down independently."""
    _, targets = points()
    kind = WEIGHTS[name]
    if kind == "factor":
        class_weight = torch.tensor([1.0, 2.5, 0.5], dtype=torch.float64)
        weights = class_weight[targets]
        weights[[2, 3, 11, 20]] = 0
        return weights
    if kind == "tokens":
        return torch.tensor([0.0] * 4 + [5.0] * 19, dtype=torch.float64)
    return torch.full((23,), 5.0 if kind == "five" else 1.0, dtype=torch.float64)


def covariance(case: Case, weights: torch.Tensor) -> torch.Tensor:
    assert case.contributions is not None
    gradients = torch.autograd.functional.jacobian(case.contributions, case.theta)
    counted = weights > 0
    each = gradients[counted] / weights[counted, None]
    share = weights[counted] / weights.sum()
    centred = each - share @ each
    return (centred * share[:, None]).T @ centred


@pytest.mark.parametrize("name", WEIGHTS)
def test_it_is_the_dense_covariance(name: str) -> None:
    operator = ls.GradientCovariance(CASES[name].objective())
    product = operator @ torch.eye(operator.n, dtype=torch.float64)
    reference = covariance(CASES[name], weights_of(name))
    assert (product - reference).abs().max() <= 1e-9 * reference.abs().max()
    assert torch.linalg.eigvalsh((product + product.T) / 2)[0] >= -1e-9 * reference.abs().max()


@pytest.mark.parametrize("micro_batch", [1, 4, 1000])
def test_it_does_not_depend_on_micro_batching_nor_on_the_scale_of_weights(micro_batch: int) -> None:
    case = CASES["mlp"]
    vector = torch.randn(43, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = ls.GradientCovariance(case.objective()) @ vector
    for options in ({}, {"weight": lambda batch: 2.0 * len(batch[1])}):
        product = ls.GradientCovariance(case.objective(micro_batch=micro_batch, **options)) @ vector
        assert (product - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_it_is_the_fisher_without_the_mean() -> None:
    objective = CASES["convolution and batch norm"].objective()
    fisher, mean = ls.EmpiricalFisher(objective), objective.gradient()
    vector = torch.randn(objective.n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = fisher @ vector - mean * (mean @ vector)
    assert (ls.GradientCovariance(objective) @ vector - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_a_mean_that_dominates_does_not_cancel_the_rest_in_float32() -> None:
    # Targets far away: every gradient is large and nearly the same; fisher - mean meanᵀ would lose all digits.
    inputs = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = 1 + 1e-3 * inputs
    data = inputs, torch.full((40, 1), 1e3, dtype=torch.float64)
    model = torch.nn.Linear(3, 1).double()
    case = supervised(model, torch.nn.MSELoss(), data, lambda o, t: ((o - t) ** 2).sum(1), 40)
    reference = covariance(case, torch.ones(40, dtype=torch.float64))
    single = ls.Objective(model.float(), torch.nn.MSELoss(), tuple(part.float() for part in data))
    product = ls.GradientCovariance(single) @ torch.eye(4)
    assert (product - reference).abs().max() <= 5e-3 * reference.abs().max()


def test_the_mean_is_computed_once_and_found_again_elsewhere() -> None:
    objective = CASES["weight decay"].objective()
    operator = ls.GradientCovariance(objective)
    assert torch.allclose(operator.mean, objective.gradient() - 0.3 * objective.theta, atol=1e-15)
    assert operator.on(ls.ProcessGrid.serial()).mean is operator.mean
    moved = objective.at(objective.theta + 1)
    assert torch.equal(operator.of(moved).mean, ls.GradientCovariance(moved).mean)


def test_an_opaque_loss_is_refused() -> None:
    with pytest.raises(ls.InputError, match=r"GradientCovariance needs .*per-sample losses.*loss\(output, target\)"):
        ls.GradientCovariance(CASES["dict batches"].objective())
