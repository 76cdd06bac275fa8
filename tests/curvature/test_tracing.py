"""Traced products of networks that are hard to trace, against dense Hessians."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations

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


class Attention(nn.Module):
    """With a mask of truth values or of numbers, and through nn.MultiheadAttention."""

    def __init__(self, mask: Tensor | None) -> None:
        super().__init__()
        self.mask = mask
        self.inner = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(len(x), -1, 4)[:, :5]
        mixed = self.inner(x, x, x, need_weights=False, attn_mask=self.mask)[0]
        y = functional.scaled_dot_product_attention(mixed, x, mixed, attn_mask=self.mask)
        return self.head(torch.tanh(y).mean(1))


def rectified(activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 2), activation, nn.Linear(2, 3))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: Written(lambda y, _: y.relu_()),
    "layer": lambda: Written(lambda y, _: nn.ReLU(inplace=True)(y)),
    "sum": lambda: Written(lambda y, _: y.add_(0.5)),
    "view": lambda: Written(lambda y, _: y[:, 0].mul_(3)),
    "nothing": lambda: Written(lambda y, _: None),
    "elu": lambda: rectified(nn.ELU()),
    "selu": lambda: rectified(nn.SELU()),
    "celu": lambda: rectified(nn.CELU(0.7)),
    "truth mask": lambda: Attention(torch.ones(5, 5, dtype=torch.bool).triu(1)),
    "number mask": lambda: Attention(torch.linspace(-1, 1, 25, dtype=torch.float64).view(5, 5)),
    "spectral norm": lambda: nn.Sequential(nn.Flatten(), parametrizations.spectral_norm(nn.Linear(36, 3)), nn.Tanh()),
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
    with sdpa_kernel(SDPBackend.MATH):  # the others have no second derivative
        objective, matrix = case.objective(), case.hessian()
    product = ls.Hessian(objective, "linearized") @ torch.eye(objective.n, dtype=torch.float64)
    assert (product - matrix).norm() <= 1e-12 * matrix.norm()


def test_batches_may_lie_in_memory_in_different_ways() -> None:
    torch.manual_seed(0)
    flat, turned = torch.randn(5, 3, 2, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64).mT
    targets = torch.randint(0, 3, (10,))
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.Tanh()).double()
    for parts in ([flat, turned], [turned, flat]):
        pieces = torch.cat(parts), targets
        case = supervised(
            model, nn.CrossEntropyLoss(), pieces, cross_entropies, 10, list(zip(parts, targets.split(5), strict=True))
        )
        objective, matrix = case.objective(), case.hessian()
        product = ls.Hessian(objective, "linearized") @ torch.eye(objective.n, dtype=torch.float64)
        assert (product - matrix).norm() <= 1e-12 * matrix.norm()


class Noisy(nn.Linear):
    """Draws the same numbers in every call."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return torch.tanh(super().forward(x + torch.randn_like(x)))


class OwnNoise(nn.Linear):
    """The same, with a generator of its own."""

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
        return torch.tanh(super().forward(x + noise))


@pytest.mark.parametrize("kind", [Noisy, OwnNoise])
def test_numbers_that_are_drawn_anew_are_not_traced(kind: type) -> None:
    torch.manual_seed(0)
    data = torch.randn(8, 4, dtype=torch.float64), torch.randint(0, 3, (8,))
    case = supervised(kind(4, 3).double(), nn.CrossEntropyLoss(), data, cross_entropies, 8)
    objective, matrix = case.objective(), case.hessian()
    identity = torch.eye(objective.n, dtype=torch.float64)
    assert (ls.Hessian(objective) @ identity - matrix).norm() <= 1e-12 * matrix.norm()
    with pytest.raises(ls.InputError, match=r'random numbers.*use product="double_backward"'):
        ls.Hessian(objective, "linearized") @ identity


class Strange(nn.Linear):
    """Cannot be traced for a reason of its own."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return {False: y.tanh()}[torch._C._functorch.is_functorch_wrapped_tensor(y)]


def test_whatever_stops_a_trace_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    data = torch.randn(8, 4), torch.randint(0, 3, (8,))
    objective = ls.Objective(Strange(4, 3), nn.CrossEntropyLoss(), data)
    with pytest.raises(ls.InputError, match='cannot be traced: KeyError: True; use product="double_backward"'):
        ls.Hessian(objective, "linearized") @ torch.ones(15)
    monkeypatch.setattr("landscape.curvature.hessian.WORTH_TRACING", 0.0)
    automatic = ls.Hessian(objective)
    automatic @ torch.ones(15)
    assert automatic.chosen == "double_backward"
