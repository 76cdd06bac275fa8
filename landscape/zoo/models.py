"""Small networks whose exact spectra can be computed: a perceptron, a convolutional, a residual net, a transformer.

Every builder takes a seed and leaves the global random state as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

from landscape.errors import InputError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}

Module = TypeVar("Module", bound=nn.Module)


def seeded(build: Callable[[], Module], seed: int) -> Module:
    """What ``build`` returns when the random numbers start at ``seed``; the global random state stays as it was.

    Parameters
    ----------
    build : callable
        Makes the model.
    seed : int
        Of torch's generator on the CPU.

    Returns
    -------
    torch.nn.Module
        On the CPU, float32.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def activation_named(name: str) -> nn.Module:
    """A fresh activation layer.

    Parameters
    ----------
    name : str
        One of ``ACTIVATIONS``.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in ACTIVATIONS:
        raise InputError(f"There is no activation {name!r}; choose one of {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]()


def mlp(sizes: Sequence[int], activation: str = "relu", seed: int = 0) -> nn.Sequential:
    """A multilayer perceptron on flattened inputs.

    Parameters
    ----------
    sizes : sequence of int
        Units from input to output; ``(64, 28, 16, 10)`` has n = 2454 parameters.
    activation : str
        Between the layers, one of ``ACTIVATIONS``.
    seed : int
        Of the initial parameters.

    Returns
    -------
    torch.nn.Sequential
        ``(N, ...)`` → ``(N, sizes[-1])``.
    """

    def build() -> nn.Sequential:
        layers: list[nn.Module] = [nn.Flatten()]
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            if index:
                layers.append(activation_named(activation))
            layers.append(nn.Linear(inputs, outputs))
        return nn.Sequential(*layers)

    return seeded(build, seed)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """3×3 convolution without bias (the normalization has one) and batch norm."""
    return [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs)]


def convolutional(activation: str = "relu", classes: int = 10, seed: int = 0) -> nn.Sequential:
    """Three convolutions with batch norm for one-channel 8×8 images; n = 2770 with 10 classes.

    The first two work at full resolution, where a sample costs about 1e5 multiplications: enough for two ranks.

    Parameters
    ----------
    activation : str
        One of ``ACTIVATIONS``.
    classes : int
        Outputs.
    seed : int
        Of the initial parameters.

    Returns
    -------
    torch.nn.Sequential
        ``(N, 1, 8, 8)`` → ``(N, classes)``.
    """

    def build() -> nn.Sequential:
        return nn.Sequential(
            *_convolution(1, 8),
            activation_named(activation),
            *_convolution(8, 16),
            activation_named(activation),
            nn.AvgPool2d(2),
            *_convolution(16, 8),
            activation_named(activation),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, classes),
        )

    return seeded(build, seed)


class ResidualBlock(nn.Module):
    """Two convolutions with batch norm beside an identity, after He et al. 2016, figure 2 (doi:10.1109/CVPR.2016.90).

    Parameters
    ----------
    channels : int
        In and out.
    stride : int
        Of the first convolution; the identity is averaged over stride × stride pixels (option without parameters).
    activation : str
        One of ``ACTIVATIONS``.
    """

    def __init__(self, channels: int, stride: int = 1, activation: str = "relu") -> None:
        super().__init__()
        self.inner = nn.Sequential(
            *_convolution(channels, channels, stride), activation_named(activation), *_convolution(channels, channels)
        )
        self.shortcut = nn.Identity() if stride == 1 else nn.AvgPool2d(stride)
        self.activation = activation_named(activation)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, H, W)`` → ``(N, channels, H / stride, W / stride)``."""
        output: Tensor = self.activation(self.inner(x) + self.shortcut(x))
        return output


def residual(activation: str = "relu", classes: int = 10, seed: int = 0) -> nn.Sequential:
    """A residual net of two blocks with batch norm for one-channel 8×8 images; n = 2546 with 10 classes.

    Parameters
    ----------
    activation : str
        One of ``ACTIVATIONS``.
    classes : int
        Outputs.
    seed : int
        Of the initial parameters.

    Returns
    -------
    torch.nn.Sequential
        ``(N, 1, 8, 8)`` → ``(N, classes)``.
    """

    def build() -> nn.Sequential:
        return nn.Sequential(
            *_convolution(1, 8),
            activation_named(activation),
            ResidualBlock(8, 1, activation),
            ResidualBlock(8, 2, activation),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, classes),
        )

    return seeded(build, seed)


class Attention(nn.Module):
    """Causal self-attention (Vaswani et al. 2017, equation 1) from plain operations, all of which differentiate twice.

    Parameters
    ----------
    width : int
        Of a token, a multiple of ``heads``.
    heads : int
        That attend separately.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, T, width)`` → ``(N, T, width)``; a token sees itself and those before it."""
        samples, tokens, width = x.shape
        split = self.query_key_value(x).view(samples, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) / (width // self.heads) ** 0.5
        later = torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).triu(1)
        attended = scores.masked_fill(later, float("-inf")).softmax(-1) @ value
        output: Tensor = self.output(attended.transpose(1, 2).reshape(samples, tokens, width))
        return output


class CharacterTransformer(nn.Module):
    """One transformer block that predicts the next character; the embedding is also the output layer (tied weights).

    Parameters
    ----------
    vocabulary : int
        Number of characters.
    context : int
        Longest window T.
    width, heads : int
        Of the block; pre-norm, as in GPT-2.
    """

    def __init__(self, vocabulary: int, context: int, width: int = 24, heads: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.output_norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, vocabulary, bias=False)
        self.output.weight = self.embedding.weight
        for table in (self.embedding, self.position):
            nn.init.normal_(table.weight, std=width**-0.5)  # logits of order one through the tied output layer

    def forward(self, tokens: Tensor) -> Tensor:
        """``(N, T)`` int64 → logits ``(N, T, vocabulary)``."""
        x = self.embedding(tokens) + self.position.weight[: tokens.shape[1]]
        x = x + self.attention(self.attention_norm(x))
        x = x + self.perceptron(self.perceptron_norm(x))
        output: Tensor = self.output(self.output_norm(x))
        return output
