"""Trained digit networks with their exact spectra, computed once and kept outside the repository."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import landscape as ls
from landscape.parallel.rows import RowPartition
from landscape.zoo import models, readers
from landscape.zoo.training import train

Array = NDArray[np.float64]
CHECKED_STEPS = 40


@dataclass(frozen=True)
class Net:
    """One network: how to build it, how long it is trained, with which loss."""

    build: Callable[[], nn.Module]
    epochs: int
    lr: float = 0.05
    loss: str = "cross_entropy"
    weight_decay: float = 0.0
    samples: int = 1797
    images: bool = False


class RandomFeatures(nn.Module):
    """Softmax regression on standardized random features: no direction dominates, so the spectrum falls slowly."""

    def __init__(self, features: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        pixels = torch.from_numpy(readers.digits()[0]).float().reshape(-1, 64) / 16
        # Some pixels are always white.
        self.register_buffer("scale", torch.stack([pixels.mean(0), pixels.std(0).clamp(min=0.05)]))
        self.register_buffer("mixing", torch.randn(64, features, generator=generator) / 8)
        raw = self._features(pixels)
        self.register_buffer("feature_scale", torch.stack([raw.mean(0), raw.std(0)]))
        self.output = nn.Linear(features, 10)

    def _features(self, inputs: Tensor) -> Tensor:
        return torch.tanh((inputs - self.scale[0]) / self.scale[1] @ self.mixing)

    def forward(self, inputs: Tensor) -> Tensor:
        """``(N, 64)`` → logits ``(N, 10)``."""
        logits: Tensor = self.output((self._features(inputs) - self.feature_scale[0]) / self.feature_scale[1])
        return logits


def perceptron(activation: str) -> Callable[[], nn.Module]:
    """64-30-16-10: n = 2616."""
    return lambda: models.mlp((64, 30, 16, 10), activation, 0)


NETS = {
    "softmax regression, heavy bulk": Net(lambda: models.seeded(lambda: RandomFeatures(256), 0), 20, lr=0.01),
    "relu, first epoch, 300 samples": Net(perceptron("relu"), 1, samples=300),
    "relu, first epoch": Net(perceptron("relu"), 1),
    "relu": Net(perceptron("relu"), 30),
    "tanh": Net(perceptron("tanh"), 30),
    "gelu, squared error": Net(perceptron("gelu"), 30, lr=0.1, loss="squared_error"),
    "tanh, squared error, second epoch": Net(perceptron("tanh"), 2, lr=0.1, loss="squared_error"),
    "relu, weight decay": Net(perceptron("relu"), 30, weight_decay=5e-3),
    "convolutional, relu": Net(lambda: models.convolutional("relu"), 6, lr=0.1, samples=200, images=True),
}


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean over the samples of the squared distance from the one-hot target."""
    return (output - functional.one_hot(target, 10).to(output.dtype)).square().sum(1).mean()


LOSSES = {"cross_entropy": functional.cross_entropy, "squared_error": squared_error}


def folder() -> Path:
    """Where spectra are kept: $XDG_CACHE_HOME, or the folder for temporary files."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or tempfile.gettempdir())
    place = base / "landscape-benchmarks"
    place.mkdir(parents=True, exist_ok=True)
    return place


def spectrum(name: str) -> tuple[Array, float]:
    """All eigenvalues of one network's Hessian, and how far the run on the diagonal is from the one on the network.

    Returns
    -------
    eigenvalues : (n,) float64, ascending
    deviation : float
        Largest difference of the first Lanczos coefficients of the float64 network operator and of the diagonal one
        from the same vector in its basis, in units of the largest eigenvalue.
    """
    path = folder() / f"{name.replace(', ', '-').replace(' ', '-')}.npz"
    if not path.exists():
        eigenvalues, deviation = _computed(NETS[name])
        partial = path.with_suffix(".part.npz")
        np.savez(partial, eigenvalues=eigenvalues, deviation=deviation)
        partial.rename(path)
    stored = np.load(path)
    return stored["eigenvalues"], float(stored["deviation"])


def trained(net: Net) -> tuple[nn.Module, Callable[..., Tensor], Tensor, Tensor]:
    """One network after training, its loss, its inputs and labels; float32."""
    model, inputs, labels = net.build(), *_data(net)
    loss = LOSSES[net.loss]
    inputs, labels = inputs[: net.samples], labels[: net.samples]
    train(model, loss, inputs, labels, epochs=net.epochs, lr=net.lr, weight_decay=net.weight_decay)
    return model.eval(), loss, inputs, labels


def _computed(net: Net) -> tuple[Array, float]:
    model, loss, inputs, labels = trained(net)
    inputs = inputs.double()
    model = model.double().eval()
    matrix = dense_hessian(model, loss, inputs, labels) + net.weight_decay * torch.eye(_size(model))
    values, vectors = torch.linalg.eigh(matrix)
    objective = ls.Objective(model, loss, (inputs, labels), weight_decay=net.weight_decay, micro_batch=150)
    return values.numpy(), _deviation(ls.Hessian(objective), values, vectors)


def _data(net: Net) -> tuple[Tensor, Tensor]:
    images, labels = readers.digits()
    inputs = torch.from_numpy(images).float().div(16)
    return inputs.reshape(-1, 1, 8, 8) if net.images else inputs.reshape(-1, 64), torch.from_numpy(labels).long()


def _size(model: nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


def dense_hessian(model: nn.Module, loss: Callable[..., Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
    """Second derivatives of the loss by double backward, ``(n, n)``."""
    parameters = list(model.parameters())
    gradient = torch.cat(
        [part.reshape(-1) for part in torch.autograd.grad(loss(model(inputs), labels), parameters, create_graph=True)]
    )
    rows = []
    for start in range(0, len(gradient), 32):
        units = torch.eye(len(gradient), dtype=gradient.dtype)[start : start + 32]
        parts = torch.autograd.grad(gradient, parameters, units, is_grads_batched=True, retain_graph=True)
        rows.append(torch.cat([part.reshape(len(units), -1) for part in parts], 1))
    matrix = torch.cat(rows)
    return (matrix + matrix.T) / 2


def _deviation(operator: Any, values: Tensor, vectors: Tensor) -> float:
    from landscape.krylov import Lanczos, gaussian

    rows = RowPartition(len(values), operator.grid.data)
    start = gaussian(rows, 0, 0, torch.float64, torch.device("cpu"))
    runs = (
        Lanczos(lambda shard: operator.apply_rows(shard, rows), rows, start),
        Lanczos(lambda shard: values * shard, rows, vectors.T @ start),
    )
    for run in runs:
        for _ in range(CHECKED_STEPS):
            run.step()
    pairs = [np.r_[run.alpha, run.beta] for run in runs]
    return float(np.abs(pairs[0] - pairs[1]).max() / values.abs().max())


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in NETS:
        found, away = spectrum(each)
        print(f"{each:<32} n {len(found)}  {found[0]:.3g} to {found[-1]:.3g}  deviation {away:.1g}", flush=True)
