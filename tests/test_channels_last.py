"""The channels-last layout gives what torch gives, NaN included; it is taken where others would copy to and fro."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import landscape as ls
from landscape import zoo
from landscape._channels_last import ChannelsLastNetwork
from landscape._evaluation import Evaluator
from tests.test_blocked import Branching, InPlace, Residual, Shared, settled

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")


class Cut(nn.Module):
    """A shortcut that is cut out and padded, a view that is rectified, and a sum of views."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.second, self.second_norm = nn.Conv2d(6, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6)
        self.linear = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second_norm(self.second(functional.relu(self.first_norm(self.first(x)))))
        z = functional.relu(y + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 3)))
        rectified = torch.relu(z[:, :, 1:])
        return self.linear((z[:, :, 1:] + rectified + rectified[:, :, :1]).mean((2, 3)))


class Deep(nn.Module):
    """What lies between two convolutions has no blocked version."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(functional.relu(self.first(x))[:, :, ::2, ::2]).mean((2, 3))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", [Residual, Shared, InPlace, Cut, Deep])
def test_the_same_output_and_new_parameters_are_seen(kind, seed):
    network = settled(kind(), seed)
    data = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    before = data.clone()
    with torch.no_grad():
        fast = ChannelsLastNetwork.of(network, data)
        assert fast is not None
        for _ in range(2):
            for part in network.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.running_mean.mul_(1.5)
                elif isinstance(part, nn.Conv2d):
                    part.weight.data.mul_(0.9)
            fast.prepare()
            given = fast.convert(data)
            for _ in range(2):  # nothing was written to that is needed again
                torch.testing.assert_close(fast(given), network(data), rtol=1e-4, atol=1e-5)
    assert torch.equal(data, before)


def test_nan_stays_nan():
    network = settled(Cut(), 0)
    data = torch.randn(4, 3, 8, 8)
    data[1, 0, 3, 3] = float("nan")
    with torch.no_grad():
        fast = ChannelsLastNetwork.of(network, data)
        assert fast(fast.convert(data)).isnan().any(1).tolist() == network(data).isnan().any(1).tolist()
    assert ChannelsLastNetwork.of(Branching().eval(), data) is None


def test_the_structure_of_the_network_decides():
    data = torch.randn(40, 3, 8, 8), torch.randint(0, 3, (40,))
    objective = ls.Objective(settled(Deep(), 0).requires_grad_(True), nn.CrossEntropyLoss(), data, micro_batch=10)
    fast = Evaluator(objective)
    assert fast.layout == "channels last" and fast.check(objective.theta)
    for scale in (0.5, 1.0, 2.0):
        theta = scale * objective.theta
        assert fast.evaluate(theta)[0] == pytest.approx(objective.at(theta).loss(), rel=1e-5)
    assert Evaluator(zoo.build("digits-cnn", epochs=0, samples=30)).layout == "blocked"
