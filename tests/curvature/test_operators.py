"""Hessian, Gauss-Newton and Fisher against dense matrices that were written down independently."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import landscape as ls
from tests.cases import Case, cases, cross_entropies, cut, mlp, points, supervised

CASES = cases()
WITH_OUTPUTS = [name for name, case in CASES.items() if case.output is not None]


def close(product: torch.Tensor, reference: torch.Tensor) -> None:
    assert (product - reference).abs().max() <= 1e-9 * reference.abs().max()


# torch cannot differentiate its own mean squared error forward over reverse (pytorch#123996).
NO_FORWARD_RULE = ("mean squares", "forward_over_reverse")
PRODUCTS = ["double_backward", "forward_over_reverse", "linearized"]


@pytest.mark.parametrize(
    ("name", "product"), [(name, p) for name in CASES for p in PRODUCTS if (name, p) != NO_FORWARD_RULE]
)
def test_hessian_is_the_dense_one(name: str, product: str) -> None:
    objective = CASES[name].objective()
    close(ls.Hessian(objective, product) @ torch.eye(objective.n, dtype=torch.float64), CASES[name].hessian())


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_the_full_ones(name: str) -> None:
    case, objective = CASES[name], CASES[name].objective()
    theta = case.theta.requires_grad_(True)
    value = case.full(theta)
    assert objective.loss() == pytest.approx(value.item(), rel=1e-12)
    close(objective.gradient(), torch.autograd.grad(value, theta)[0])


@pytest.mark.parametrize("name", WITH_OUTPUTS)
def test_gauss_newton_and_fisher_are_the_dense_ones(name: str) -> None:
    objective = CASES[name].objective()
    identity = torch.eye(objective.n, dtype=torch.float64)
    close(ls.GaussNewton(objective) @ identity, CASES[name].gauss_newton())
    close(ls.EmpiricalFisher(objective) @ identity, CASES[name].fisher())


@pytest.mark.parametrize(
    "name", ["mlp", "class weights and ignore_index", "convolution and batch norm", "mean squares"]
)
@pytest.mark.parametrize("micro_batch", [1, 4, 1000])
def test_results_do_not_depend_on_micro_batching(name: str, micro_batch: int) -> None:
    case = CASES[name]
    vector = torch.randn(case.objective().n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for operator in (ls.Hessian, ls.GaussNewton, ls.EmpiricalFisher):
        close(operator(case.objective(micro_batch=micro_batch)) @ vector, operator(case.objective()) @ vector)


def test_float32_products_agree_with_float64() -> None:
    model, data = mlp(), points()
    vector = torch.randn(43, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = ls.Hessian(ls.Objective(model, torch.nn.CrossEntropyLoss(), data)) @ vector
    single = ls.Objective(mlp().float(), torch.nn.CrossEntropyLoss(), (data[0].float(), data[1]))
    rounded = ls.Hessian(single) @ vector.float()
    assert rounded.dtype == torch.float32
    assert (rounded - exact).norm() <= 1e-5 * exact.norm()


def test_vectors_blocks_arrays_and_scipy_agree_and_are_counted() -> None:
    hessian = ls.Hessian(CASES["mlp"].objective())
    block = torch.randn(hessian.n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = hessian @ block
    assert hessian.products == 3
    assert torch.equal(result[:, 1], hessian @ block[:, 1])
    assert np.array_equal(hessian @ block.numpy(), result.numpy())
    assert np.array_equal(hessian.to_scipy() @ block[:, 2].numpy(), result[:, 2].numpy())


@pytest.mark.parametrize("vector", [torch.ones(5), torch.ones(38, 1, 1), torch.full((38,), float("nan"))])
def test_a_vector_that_does_not_fit_is_refused(vector: torch.Tensor) -> None:
    with pytest.raises(ls.InputError, match=r"shape|NaN"):
        ls.Hessian(CASES["mlp"].objective()) @ vector


@pytest.mark.parametrize("operator", [ls.GaussNewton, ls.EmpiricalFisher])
def test_an_opaque_loss_is_refused_where_outputs_are_needed(operator: type) -> None:
    with pytest.raises(ls.InputError, match=r"needs the network's output.*loss\(output, target\)"):
        operator(CASES["dict batches"].objective())


def test_an_unknown_product_is_refused() -> None:
    with pytest.raises(ls.InputError, match="double_backward"):
        ls.Hessian(CASES["mlp"].objective(), "magic")


def sequence_case() -> Case:
    class Sequence(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = torch.nn.GRU(4, 4, batch_first=True)
            self.encoder = torch.nn.TransformerEncoderLayer(4, 2, 5, batch_first=True, dropout=0.0)
            self.head = torch.nn.Linear(4, 3)

        def forward(self, data: torch.Tensor) -> torch.Tensor:
            return self.head(self.encoder(self.memory(data)[0]).mean(1))

    torch.manual_seed(0)
    model = Sequence().double()
    data = torch.randn(6, 5, 4, dtype=torch.float64), torch.randint(0, 3, (6,))
    loss = torch.nn.CrossEntropyLoss()
    return supervised(model, loss, data, cross_entropies, 6, cut(data, 4))


def test_attention_and_recurrence_have_second_derivatives() -> None:
    case = sequence_case()
    assert torch.backends.mha.get_fastpath_enabled()
    objective = case.objective()
    vector = torch.randn(objective.n, dtype=torch.float64)
    # Central differences of the full gradient: independent of every second-derivative rule.
    step = 1e-5
    slopes = []
    for sign in (1, -1):
        theta = (case.theta + sign * step * vector).requires_grad_(True)
        slopes.append(torch.autograd.grad(case.full(theta), theta)[0])
    reference = (slopes[0] - slopes[1]) / (2 * step)
    assert (ls.Hessian(objective) @ vector - reference).norm() <= 1e-6 * reference.norm()
    # The inference fast path of attention has no derivatives; it must be off inside, and on again outside.
    for operator in (ls.GaussNewton, ls.EmpiricalFisher):
        assert torch.isfinite(operator(objective) @ vector).all()
    assert torch.backends.mha.get_fastpath_enabled()


class Remembering(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.nn.LSTM(2, 3, batch_first=True)
        self.head = torch.nn.Linear(3, 3)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return self.head(self.memory(data)[0][:, -1])


def test_a_recurrent_network_has_all_derivatives_in_single_precision() -> None:
    torch.manual_seed(0)
    model = Remembering().double()
    data = torch.randn(6, 4, 2, dtype=torch.float64), torch.randint(0, 3, (6,))
    case = supervised(model, torch.nn.CrossEntropyLoss(), data, cross_entropies, 6)
    matrices = {ls.Hessian: case.hessian(), ls.GaussNewton: case.gauss_newton(), ls.EmpiricalFisher: case.fisher()}
    single = ls.Objective(model.float(), torch.nn.CrossEntropyLoss(), (data[0].float(), data[1]))
    vector = torch.randn(single.n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for kind, options in (
        (ls.Hessian, ("linearized",)),
        (ls.Hessian, ()),
        (ls.GaussNewton, ()),
        (ls.EmpiricalFisher, ()),
    ):
        expected = matrices[kind] @ vector
        assert (kind(single, *options) @ vector.float() - expected).norm() <= 1e-5 * expected.norm()
    assert torch.isfinite(ls.GradientCovariance(single) @ vector.float()).all()
    assert torch.backends.mkldnn.enabled


def test_gradients_are_on_whatever_surrounds_the_call() -> None:
    case = CASES["mlp"]
    vector = torch.ones(43, dtype=torch.float64)
    expected = ls.Hessian(case.objective()) @ vector
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ls.Hessian(case.objective()) @ vector, expected)


def test_an_integer_vector_is_not_a_reason_to_round() -> None:
    hessian = ls.Hessian(CASES["mlp"].objective())
    unit = np.zeros(43, dtype=np.int64)
    unit[3] = 1
    assert np.array_equal(hessian @ unit, hessian @ unit.astype(np.float64))


def test_a_denominator_of_the_user_scales_every_operator() -> None:
    case = CASES["mlp"]
    half = case.objective(weight=lambda batch: 2.0 * len(batch[1]), micro_batch=5)
    vector = torch.ones(43, dtype=torch.float64)
    for operator in (ls.Hessian, ls.GaussNewton):
        close(operator(half) @ vector, operator(case.objective()) @ vector)
    close(ls.EmpiricalFisher(half) @ vector, 2 * (ls.EmpiricalFisher(case.objective()) @ vector))


def test_a_missing_forward_rule_is_explained() -> None:
    name, product = NO_FORWARD_RULE
    objective = CASES[name].objective()
    try:
        result = ls.Hessian(objective, product) @ torch.eye(objective.n, dtype=torch.float64)
    except ls.InputError as error:
        assert 'use product="double_backward"' in str(error)  # noqa: PT017 - a torch that has learned it is welcome
    else:
        close(result, CASES[name].hessian())
