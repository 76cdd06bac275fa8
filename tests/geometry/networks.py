"""Networks of all the structures that a coupling graph must understand, each with an input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.zoo import models

Built = tuple[nn.Module, Tensor]


class Basic(nn.Module):
    """A block of a torchvision-like ResNet, with a convolution on the shortcut where the width changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        return self.relu(out)


class PaddedShortcut(nn.Module):
    """Channels are added without parameters: zeros beside those that are there (He et al. 2016, option A)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 7, 3, stride=2, padding=1)
        self.norm, self.head = nn.BatchNorm2d(7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x))
        y = self.norm(self.second(x))
        y = functional.relu(y + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 3)))
        return self.head(y.mean((2, 3)))


class Dense(nn.Module):
    """Later layers see all earlier ones beside each other, then flattened pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1))
        self.third = nn.Sequential(nn.BatchNorm2d(10), nn.ReLU(), nn.Conv2d(10, 5, 1))
        self.head = nn.Linear(5 * 16 + 4 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.second(x)
        z = functional.relu(self.third(torch.cat([x, y], 1)))
        z = functional.max_pool2d(torch.cat([z, y], 1), 2)
        return self.head(torch.flatten(z, 1))


class Gated(nn.Module):
    """Halves of one matrix that meet, packed attention, queries and keys with a norm inside of each head."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(6, 16)
        self.packed = nn.MultiheadAttention(8, 4, batch_first=True)
        self.mix, self.inner, self.out = nn.Linear(8, 24), nn.LayerNorm(2), nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        values, gates = self.gates(x).chunk(2, -1)
        x = values * torch.sigmoid(gates)
        x = x + self.packed(x, x, x, need_weights=False)[0]
        query, key, value = (part.reshape(*part.shape[:2], 4, 2).transpose(1, 2) for part in self.mix(x).split(8, -1))
        mixed = functional.scaled_dot_product_attention(self.inner(query), self.inner(key), value, is_causal=True)
        return self.head((x + self.out(mixed.transpose(1, 2).flatten(2))).mean(1))


class PerHead(nn.Module):
    """Query, key and value of a head beside each other, multiplied by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.mix, self.out, self.head = (
            nn.Linear(5, 8),
            nn.Linear(8, 36),
            nn.Linear(12, 8),
            nn.Linear(8, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.inputs(x)
        query, key, value = self.mix(x).view(*x.shape[:2], 4, 9).chunk(3, -1)
        weights = torch.einsum("bihd,bjhd->bhij", query, key).softmax(-1)
        return self.head(x + self.out(torch.einsum("bhij,bjhd->bihd", weights, value).reshape(*x.shape[:2], 12)))


class Grouped(nn.Module):
    """Convolutions in groups and channel by channel, norms of groups."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.grouped = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 8, 3, padding=1, groups=4)
        self.single, self.norm = nn.Conv2d(8, 16, 3, padding=1, groups=8), nn.GroupNorm(4, 16)
        self.slope, self.last, self.head = nn.PReLU(16), nn.Conv2d(16, 6, 1), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slope(self.norm(self.single(functional.gelu(self.grouped(self.first(x))))))
        return self.head(functional.adaptive_avg_pool2d(functional.silu(self.last(x)), 1).flatten(1))


class Mixer(nn.Module):
    """Perceptrons along places and along channels, with a scale for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(4, 6)
        self.places = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 5))
        self.channels = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 6))
        self.scale, self.head = nn.Parameter(torch.ones(6)), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        x = x + self.places(x.transpose(1, 2)).transpose(1, 2)
        x = x + self.scale * self.channels(x)
        return self.head(x.amax(1))


class Recurrent(nn.Module):
    """Gates that one matrix computes for a state that returns."""

    def __init__(self, cell: nn.RNNBase) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(cell.hidden_size * (1 + cell.bidirectional), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0].mean(1))


class Decoder(nn.Module):
    """From a vector to an image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(5, 8 * 9), nn.BatchNorm2d(6)
        self.up, self.last = nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2), nn.Conv2d(6, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.up(self.first(x).relu().view(-1, 8, 3, 3)))
        return self.last(functional.interpolate(x.relu(), scale_factor=2.0))


class Rotary(nn.Module):
    """Features of queries and keys in pairs that turn with the place, fewer keys than queries."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(6, 16), nn.Linear(6, 8), nn.Linear(6, 8)
        self.out, self.norm, self.head = nn.Linear(16, 6), nn.RMSNorm(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        angles = torch.arange(x.shape[1], dtype=x.dtype)[:, None] / torch.tensor([1.0, 7.0], dtype=x.dtype)

        def turned(part: Tensor) -> Tensor:
            first, second = part.unflatten(-1, (-1, 4)).transpose(1, 2).chunk(2, -1)
            cosine, sine = angles.cos(), angles.sin()
            return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)

        query, key = turned(self.query(x)), turned(self.key(x)).repeat_interleave(2, 1)
        value = self.value(x).unflatten(-1, (2, 4)).transpose(1, 2).repeat_interleave(2, 1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.head(self.norm(x + self.out(mixed.transpose(1, 2).flatten(2))))


class Squeezed(nn.Module):
    """Channels scaled by what a small perceptron makes of their means; pixels from channels; weights with a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down, self.up = nn.Conv2d(3, 8, 1), nn.Linear(8, 4), nn.Linear(4, 8)
        self.shuffle, self.last = nn.Sequential(nn.ChannelShuffle(2), nn.PixelShuffle(2)), nn.Conv2d(2, 6, 1)
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(6, 2))
        self.inner = nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3))))))[:, :, None, None]
        return self.head(torch.relu(self.inner(self.last(self.shuffle(x)).amax((2, 3)))))


def _encoder() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 8), nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), nn.Flatten(), nn.Linear(24, 3)
    )


def _resnet() -> nn.Module:
    first = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU()
    return nn.Sequential(*first, Basic(6, 6), Basic(6, 8, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


NETWORKS: dict[str, Callable[[], Built]] = {
    "mlp": lambda: (models.mlp((6, 9, 7, 3), "tanh"), torch.randn(4, 6)),
    "cnn": lambda: (models.convolutional(), torch.randn(4, 1, 8, 8)),
    "residual": lambda: (models.residual(), torch.randn(4, 1, 8, 8)),
    "transformer": lambda: (models.CharacterTransformer(11, 6), torch.randint(0, 11, (4, 6))),
    "resnet": lambda: (_resnet(), torch.randn(4, 3, 12, 12)),
    "padded shortcut": lambda: (PaddedShortcut(), torch.randn(4, 3, 6, 6)),
    "dense": lambda: (Dense(), torch.randn(4, 3, 8, 8)),
    "encoder": lambda: (_encoder(), torch.randn(4, 3, 5)),
    "gated": lambda: (Gated(), torch.randn(4, 3, 6)),
    "per head": lambda: (PerHead(), torch.randn(4, 3, 5)),
    "grouped": lambda: (Grouped(), torch.randn(4, 3, 5, 5)),
    "mixer": lambda: (Mixer(), torch.randn(4, 5, 4)),
    "recurrent": lambda: (Recurrent(nn.LSTM(3, 5, batch_first=True)), torch.randn(4, 3, 3)),
    "two ways": lambda: (Recurrent(nn.GRU(3, 5, 2, batch_first=True, bidirectional=True)), torch.randn(4, 3, 3)),
    "rotary": lambda: (Rotary(), torch.randn(4, 3, 6)),
    "squeezed": lambda: (Squeezed(), torch.randn(4, 3, 4, 4)),
    "decoder": lambda: (Decoder(), torch.randn(4, 5)),
}


def built(name: str, seed: int = 0) -> Built:
    """A network in float64 and evaluation mode, all of whose parameters and statistics differ, and its input."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module, data = NETWORKS[name]()
        module = module.double().eval()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
            for buffer in module.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(torch.rand_like(buffer) + 0.5)
    return module, data.double() if data.is_floating_point() else data


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {name: value.detach().clone() for name, value in [*module.named_parameters(), *module.named_buffers()]}


def output(module: nn.Module, state: dict[str, Tensor], data: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.func.functional_call(module, {name: value.clone() for name, value in state.items()}, (data,))
