"""The blocked layout gives what torch gives, or steps aside."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape._blocked import BlockedNetwork, RangeError

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")


class Residual(nn.Module):
    """Every kind of operation: folded and lonely norms, sums, functions, methods, inplace, two users of one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=True)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False)
        self.plain_norm = nn.BatchNorm2d(8, affine=False)
        self.relu = nn.ReLU(inplace=True)
        self.lonely = nn.BatchNorm2d(8)
        self.third = nn.Conv2d(8, 5, 2, stride=2, dilation=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(5 + 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm(self.first(x)))
        z = self.relu(self.plain_norm(self.second(y)) + y)
        z = self.lonely(functional.max_pool2d(z, 2))
        w = torch.sigmoid(self.third(z)) * 2
        u = self.pool(w).flatten(1)
        return self.linear(torch.cat([u, z.mean((2, 3))], 1))


class Shared(nn.Module):
    """A ReLU whose input is needed again, and a convolution that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        z = self.relu(y)
        return (self.inner(z) + y + x).sum((2, 3))


class Optional(nn.Module):
    """A second argument, which has a default."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 3, 3)

    def forward(self, x: Tensor, scale: float = 2.0) -> Tensor:
        return self.inner(x) * scale


class InPlace(nn.Module):
    """Whoever looks at y after the rectifier sees what it left."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        z = self.relu(y)
        return torch.add(z, y, alpha=3).sum((2, 3))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).sum() if x.sum() > 0 else self.inner(-x).mean()


def settled(network: nn.Module, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for parameter in network.parameters():
            parameter.data.copy_(torch.randn_like(parameter) * 0.5)
        for _ in range(3):
            network.train()(torch.randn(6, 3, 8, 8) + 1)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", [Residual, Shared, InPlace])
def test_the_same_output_and_new_parameters_are_seen(kind, seed):
    network = settled(kind(), seed)
    data = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    before = data.clone()
    with torch.no_grad():
        blocked = BlockedNetwork.of(network, data)
        assert blocked is not None
        for _ in range(2):
            for part in network.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.running_mean.mul_(1.5)
                elif isinstance(part, nn.Conv2d):
                    part.weight.data.mul_(0.9)
            blocked.prepare()
            expected = network(data)
            torch.testing.assert_close(blocked(blocked.convert(data)), expected, rtol=1e-4, atol=1e-5)
            # The input was not written to, nor the layers' outputs while somebody needs them.
            torch.testing.assert_close(blocked(blocked.convert(data)), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(data, before)


def test_what_may_overflow_or_is_nan_is_left_to_torch():
    """Rectifiers of oneDNN turn NaN into 0."""
    network = settled(Residual(), 0)
    data = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        blocked = BlockedNetwork.of(network, data)
        for bad in (float("nan"), float("inf"), 1e38):
            broken = data.clone()
            broken[1, 0, 3, 3] = bad
            with pytest.raises(RangeError):
                blocked(blocked.convert(broken))
        for name in ("first.weight", "third.bias", "norm.running_mean", "norm.running_var", "lonely.running_mean"):
            values = network.state_dict()[name]
            for bad in (float("nan"), float("inf"), 3e38):
                before = values.clone()
                values.view(-1)[0] = bad
                blocked.prepare()
                if name != "norm.running_var" or bad != bad:  # an infinite variance is a scale of 0
                    with pytest.raises(RangeError):
                        blocked(blocked.convert(data))
                values.copy_(before)
        blocked.prepare()
        assert blocked(blocked.convert(data)).isfinite().all()


def test_networks_that_stay_with_torch():
    data = torch.randn(2, 3, 8, 8)
    convolution = nn.Conv2d(3, 2, 3).eval()
    assert BlockedNetwork.of(nn.Linear(3, 2).eval(), torch.zeros(1, 3)) is None
    assert BlockedNetwork.of(convolution.double(), data.double()) is None
    assert BlockedNetwork.of(Branching().eval(), data) is None
    assert BlockedNetwork.of(Optional().eval(), data) is None
    assert BlockedNetwork.of(nn.Conv2d(3, 2, 3, padding_mode="reflect", padding=1).eval(), data) is None
    # Its weight is made from others at every call, which is not seen here.
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 2, 3)).eval()
    assert BlockedNetwork.of(normed, data) is None
