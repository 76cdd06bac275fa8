"""Layers and losses whose backward pass has no derivative, or only seems to have one, are refused by name."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

import landscape as ls
from tests.cases import supervised


class Cube(torch.autograd.Function):
    """x³ with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 3 * slope * x**2


class CubeOnce(Cube):
    backward = staticmethod(once_differentiable(Cube.backward))  # type: ignore[assignment]


class Cubed(nn.Module):
    def __init__(self, once: bool) -> None:
        super().__init__()
        self.function = CubeOnce if once else Cube

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


class Distances(nn.Module):
    """To fixed points; of their backward pass torch has no derivative."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cdist(x, torch.eye(4, dtype=x.dtype))


def squares(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().mean(1)


def cubes_once(output: Tensor, target: Tensor) -> Tensor:
    return CubeOnce.apply(output - target).sum(1).mean()


def cubes(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target) ** 3).sum(1).mean()


def distances(output: Tensor, target: Tensor) -> Tensor:
    return torch.cdist(output[:, None], target[:, None]).mean()


def network(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), layer, nn.Linear(4, 2)).double()


def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(8, 3, dtype=torch.float64), torch.randn(8, 2, dtype=torch.float64)


def product(operator: ls.Operator) -> Tensor:
    return operator @ torch.ones(operator.n, dtype=torch.float64)


TWICE: dict[str, Callable[[ls.Objective], Any]] = {
    "double backward": lambda objective: product(ls.Hessian(objective, "double_backward")),
    "blocks": lambda objective: product(ls.BlockDiagonal(ls.Hessian(objective))),
    "residual": lambda objective: product(ls.Residual(objective)),
    "split": lambda objective: ls.split(objective, max_products=5),
    "batch sharpness": lambda objective: ls.batch_sharpness(objective, 4, batches=2),
}


@pytest.mark.parametrize("name", TWICE)
@pytest.mark.parametrize("layer", [Cubed(once=True), Distances()])
def test_a_layer_without_a_second_derivative_is_named(name: str, layer: nn.Module) -> None:
    objective = ls.Objective(network(layer), nn.MSELoss(), data())
    with pytest.raises(ls.InputError, match=rf"backward pass of layer 1 \({type(layer).__name__}\) cannot be diff"):
        TWICE[name](objective)


@pytest.mark.parametrize("loss", [cubes_once, distances])
def test_a_loss_without_a_second_derivative_is_named(loss: Callable[..., Tensor]) -> None:
    objective = ls.Objective(network(nn.Tanh()), loss, data())
    for use in (lambda: product(ls.GaussNewton(objective)), lambda: ls.split(objective, max_products=5)):
        with pytest.raises(ls.InputError, match="backward pass of the loss cannot be differentiated; write its back"):
            use()


def test_the_residual_needs_one_derivative_of_the_loss() -> None:
    model = network(nn.Tanh())
    once, twice = (product(ls.Residual(ls.Objective(model, loss, data()))) for loss in (cubes_once, cubes))
    assert (once - twice).norm() <= 1e-14 * twice.norm()
    assert twice.norm() > 0


@pytest.mark.parametrize("name", [name for name in TWICE if name != "residual"])
def test_a_loss_that_is_differentiable_once_is_seen(name: str) -> None:
    """Its backward pass meets nothing that depends on theta, so that torch does not even mark it in the graph."""
    objective = ls.Objective(network(nn.Tanh()), cubes_once, data())
    with pytest.raises(ls.InputError, match="differentiable once"):
        TWICE[name](objective)


def test_a_layer_with_a_backward_pass_of_its_own_may_have_a_second_derivative() -> None:
    case = supervised(network(Cubed(once=False)), nn.MSELoss(), data(), squares, 8)
    objective, matrix = case.objective(), case.hessian()
    identity = torch.eye(objective.n, dtype=torch.float64)
    blocks = ls.BlockDiagonal(ls.Hessian(objective))
    expected = torch.zeros_like(matrix)
    for block in blocks.blocks:
        rows = slice(block.places[0].start, block.places[-1].stop)
        block.put(expected[rows], block.take(matrix[rows]))
    assert (blocks @ identity - expected).norm() <= 1e-12 * matrix.norm()
    assert (ls.Hessian(objective) @ identity - matrix).norm() <= 1e-12 * matrix.norm()


class OnlyBackward(nn.Module):
    """Its function has no forward derivative."""

    def forward(self, x: Tensor) -> Tensor:
        return Cube.apply(x)


@pytest.mark.parametrize("kind", [ls.GaussNewton, ls.EmpiricalFisher, ls.GradientCovariance])
def test_a_layer_without_a_forward_derivative_is_named(kind: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), OnlyBackward(), nn.Linear(4, 2)).double()
    objective = ls.Objective(model, nn.MSELoss(), (torch.randn(6, 3).double(), torch.randn(6, 2).double()))
    with pytest.raises(
        ls.InputError, match=r"layer 1 \(OnlyBackward\) has no forward derivative, which " + kind.__name__
    ):
        kind(objective) @ torch.ones(objective.n, dtype=torch.float64)


@pytest.mark.parametrize("layer", [Cubed(once=True), Cubed(once=False), Distances()])
@pytest.mark.parametrize("way", ["double_backward", "forward_over_reverse", "linearized"])
@pytest.mark.parametrize("loss", [nn.MSELoss(), cubes_once])
def test_the_product_that_is_named_instead_works(layer: nn.Module, way: str, loss: Any) -> None:
    objective = ls.Objective(network(layer), loss, data())
    try:
        product(ls.Hessian(objective, way))
    except ls.InputError as error:
        named = str(error).partition('use product="')[2].partition('"')[0]
        assert named and named != way
        assert torch.isfinite(product(ls.Hessian(objective, named))).all()


@pytest.mark.parametrize("operator", [ls.Hessian, ls.GaussNewton])
def test_what_an_operator_has_kept_goes_with_it(operator: Any) -> None:
    """Along a run or a path there are many of them; tanh and softmax save their own results."""
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    objective = ls.Objective(model, nn.CrossEntropyLoss(), (torch.randn(9, 4).double(), torch.randint(0, 3, (9,))))

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    counts = []
    for _ in range(3):
        operator(objective).apply(torch.ones(objective.n, dtype=torch.float64))
        counts.append(tensors())
    assert counts[1] == counts[2]
