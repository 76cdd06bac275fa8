"""The three networks on which products are timed: matrix products, attention, convolutions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

Built = tuple[nn.Module, Callable[[Tensor, Tensor], Tensor], tuple[Tensor, Tensor]]


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut without parameters (He et al. 2016, option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.stride, self.added = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, h, w)`` → ``(N, outputs, h/stride, w/stride)``."""
        y = self.second_norm(self.second(functional.relu(self.first_norm(self.first(x)))))
        if self.added:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return functional.relu(x + y)


def resnet20(channels: int = 3) -> nn.Module:
    """ResNet-20 for 32×32 images, n = 269,722 with three channels."""
    layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    width = 16
    for outputs in (16, 32, 64):
        for place in range(3):
            layers.append(ResidualBlock(width, outputs, 2 if place == 0 and outputs > 16 else 1))
            width = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class TransformerBlock(nn.Module):
    """Pre-norm attention and perceptron, as in GPT-2, without dropout."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.perceptron_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, T, width)`` → ``(N, T, width)``."""
        samples, tokens, width = x.shape
        split = self.mix(self.attention_norm(x)).view(samples, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(attended.transpose(1, 2).reshape(samples, tokens, width))
        return x + self.narrow(functional.gelu(self.widen(self.perceptron_norm(x))))


class Transformer(nn.Module):
    """A GPT of four blocks of width 128 on bytes, n = 867,328 with 64 positions."""

    def __init__(self, vocabulary: int = 256, context: int = 64, width: int = 128, heads: int = 4) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(N, T)`` int64 → logits ``(N, T, vocabulary)``."""
        x = self.embedding(tokens) + self.position.weight[: tokens.shape[1]]
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits


class TokenLoss(nn.Module):
    """Mean cross entropy over all tokens."""

    reduction = "mean"

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """``(N, T, classes)`` and ``(N, T)`` → a number."""
        return functional.cross_entropy(output.reshape(-1, output.shape[-1]), target.reshape(-1))


def mlp335k() -> Built:
    """784-256-256-256-10 with ReLU, 512 samples."""
    torch.manual_seed(0)
    sizes = (784, 256, 256, 256, 10)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    data = torch.randn(512, 784), torch.randint(0, 10, (512,))
    return nn.Sequential(*layers[:-1]), nn.CrossEntropyLoss(), data


def gpt867k() -> Built:
    """Four blocks of width 128 on 16 windows of 64 bytes."""
    torch.manual_seed(0)
    tokens = torch.randint(0, 256, (16, 65))
    return Transformer(), TokenLoss(), (tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())


def resnet20_128() -> Built:
    """ResNet-20 on 128 images; the norms have seen them."""
    torch.manual_seed(0)
    model = resnet20()
    data = torch.randn(128, 3, 32, 32), torch.randint(0, 10, (128,))
    with torch.no_grad():
        for _ in range(3):
            model(data[0])
    return model, nn.CrossEntropyLoss(), data


NETS: dict[str, Callable[[], Built]] = {
    "MLP 335k b512": mlp335k,
    "GPT 867k 16×64": gpt867k,
    "ResNet-20 b128": resnet20_128,
}
