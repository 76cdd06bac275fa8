"""Traced products of networks that are hard to trace, against dense Hessians."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from tests.cases import Case, cross_entropies, supervised

SAMPLES = 6


class Written(nn.Module):
    """Writes something in place between a convolution and a norm."""

    def __init__(self, write: Callable[[Tensor, Tensor], object], frozen: bool = False) -> None:
        super().__init__()
        self.write = write
        self.convolution = nn.Conv2d(1, 2, 3).requires_grad_(not frozen)
        self.norm, self.head = nn.BatchNorm2d(2), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        data = 2 * x
        y = self.convolution(data)
        self.write(y, data)
        return self.head(torch.tanh(self.norm(y)).mean((2, 3)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: Written(lambda y, _: y.relu_()),
    "layer": lambda: Written(lambda y, _: nn.ReLU(inplace=True)(y)),
    "sum": lambda: Written(lambda y, _: y.add_(0.5)),
    "view": lambda: Written(lambda y, _: y[:, 0].mul_(3)),
    "nothing": lambda: Written(lambda y, _: None),
    "input": lambda: Written(lambda _, data: data.zero_(), frozen=True),
}


def problem(name: str, seed: int = 0) -> Case:
    """A network in float64 with random data of the shape that it takes."""
    torch.manual_seed(seed)
    model = NETWORKS[name]().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    inputs = torch.randn(SAMPLES, 1, 6, 6, dtype=torch.float64)
    targets = torch.randint(0, 3, (SAMPLES,))
    return supervised(model, nn.CrossEntropyLoss(), (inputs, targets), cross_entropies, SAMPLES)


@pytest.mark.parametrize("name", NETWORKS)
def test_traced_products_are_those_of_the_dense_matrix(name: str) -> None:
    case = problem(name)
    objective, matrix = case.objective(), case.hessian()
    product = ls.Hessian(objective, "linearized") @ torch.eye(objective.n, dtype=torch.float64)
    assert (product - matrix).norm() <= 1e-12 * matrix.norm()
