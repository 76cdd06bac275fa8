"""Small problems with independent dense references, shared by the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import landscape as ls


@dataclass(frozen=True)
class Case:
    """A model, a loss and data for Objective, with the same function written down in full.

    ``full(theta)`` is L over the whole data set at a flat theta; ``output(theta)`` and ``of_output`` split it at the
    network's output; ``contributions(theta)`` are the samples' parts of D·L, where D is the denominator.
    """

    model: nn.Module
    loss: Callable[..., Any]
    data: Any
    full: Callable[[Tensor], Tensor]
    options: dict[str, Any] = field(default_factory=dict)
    output: Callable[[Tensor], Tensor] | None = None
    of_output: Callable[[Tensor], Tensor] | None = None
    contributions: Callable[[Tensor], Tensor] | None = None
    denominator: float = 1.0

    def objective(self, **options: Any) -> ls.Objective:
        return ls.Objective(self.model, self.loss, self.data, **{**self.options, **options})

    @property
    def theta(self) -> Tensor:
        return torch.cat([value.detach().reshape(-1) for value in self.model.parameters() if value.requires_grad])

    @property
    def weight_decay(self) -> float:
        return float(self.options.get("weight_decay", 0.0))

    def hessian(self) -> Tensor:
        return torch.autograd.functional.hessian(self.full, self.theta)

    def gauss_newton(self) -> Tensor:
        assert self.output is not None and self.of_output is not None
        theta = self.theta
        value = self.output(theta)
        jacobian = torch.autograd.functional.jacobian(self.output, theta).reshape(value.numel(), -1)
        inner = torch.autograd.functional.hessian(self.of_output, value).reshape(value.numel(), value.numel())
        return jacobian.T @ inner @ jacobian + self.weight_decay * torch.eye(len(theta), dtype=theta.dtype)

    def fisher(self) -> Tensor:
        assert self.contributions is not None
        theta = self.theta
        gradients = torch.autograd.functional.jacobian(self.contributions, theta)
        return gradients.T @ gradients / self.denominator + self.weight_decay * torch.eye(len(theta), dtype=theta.dtype)


def caller(model: nn.Module) -> Callable[[Tensor, Any], Any]:
    """The model as a function of the flat vector of its trainable parameters."""
    named = [(name, value.shape) for name, value in model.named_parameters() if value.requires_grad]

    def call(theta: Tensor, data: Any) -> Any:
        parts = theta.split([shape.numel() for _, shape in named])
        state = {name: part.view(shape) for (name, shape), part in zip(named, parts, strict=True)}
        return torch.func.functional_call(model, state, (data,))

    return call


def supervised(
    model: nn.Module,
    loss: Callable[..., Any],
    data: tuple[Tensor, Tensor],
    per_sample: Callable[[Tensor, Tensor], Tensor],
    denominator: float,
    batches: Any = None,
    **options: Any,
) -> Case:
    """A case whose L is the sum of ``per_sample(output, target)`` over ``denominator``."""
    call = caller(model)
    inputs, targets = data
    decay = options.get("weight_decay", 0.0)
    return Case(
        model,
        loss,
        data if batches is None else batches,
        full=lambda theta: per_sample(call(theta, inputs), targets).sum() / denominator + 0.5 * decay * theta @ theta,
        options=options,
        output=lambda theta: call(theta, inputs),
        of_output=lambda output: per_sample(output, targets).sum() / denominator,
        contributions=lambda theta: per_sample(call(theta, inputs), targets),
        denominator=denominator,
    )


def cross_entropies(output: Tensor, target: Tensor) -> Tensor:
    return torch.logsumexp(output, 1) - output.gather(1, target[:, None])[:, 0]


class Tied(nn.Module):
    """Encoder and decoder share one matrix, as token embeddings do."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 4, bias=False)
        self.decoder = nn.Linear(4, 4)
        self.decoder.weight = self.encoder.weight

    def forward(self, data: Tensor) -> Tensor:
        return self.decoder(torch.tanh(self.encoder(data)))


class Focal(nn.CrossEntropyLoss):
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        values = functional.cross_entropy(output, target, reduction="none")
        return ((1 - torch.exp(-values)) ** 2 * values).mean()


class OnDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.layer(batch["x"])


def mlp(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def points(samples: int = 23, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, 4, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(0, 3, (samples,), generator=generator)


def cut(data: tuple[Tensor, Tensor], size: int) -> list[tuple[Tensor, ...]]:
    return list(zip(*(part.split(size) for part in data), strict=True))


def cases() -> dict[str, Case]:
    """Every kind of model, loss and data that the operators must get right."""
    torch.manual_seed(3)
    inputs, targets = data = points()
    n = len(inputs)
    result = {
        "mlp": supervised(mlp(), nn.CrossEntropyLoss(), data, cross_entropies, n),
        "uneven last batch": supervised(mlp(), functional.cross_entropy, data, cross_entropies, n, cut(data, 9)),
        "sum": supervised(mlp(), nn.CrossEntropyLoss(reduction="sum"), data, cross_entropies, n, cut(data, 9)),
        "undeclared sum": supervised(
            mlp(), lambda o, t: functional.cross_entropy(o, t, reduction="sum"), data, cross_entropies, n
        ),
        "weight decay": supervised(mlp(), nn.CrossEntropyLoss(), data, cross_entropies, n, weight_decay=0.3),
    }
    square = (inputs, torch.nn.functional.one_hot(targets, 3).double())
    result["mean squares"] = supervised(
        mlp(), nn.MSELoss(), square, lambda o, t: ((o - t) ** 2).mean(1), n, cut(square, 9)
    )

    class_weight = torch.tensor([1.0, 2.5, 0.5], dtype=torch.float64)
    some = targets.clone()
    some[[2, 3, 11, 20]] = 7
    factor = torch.where(some == 7, 0.0, class_weight[some.clamp(max=2)])
    result["class weights and ignore_index"] = supervised(
        mlp(),
        nn.CrossEntropyLoss(weight=class_weight, ignore_index=7),
        (inputs, some),
        lambda o, t: factor * cross_entropies(o, t.clamp(max=2)),
        float(factor.sum()),
        cut((inputs, some), 9),
    )

    result["class weights, samples as denominator"] = supervised(
        mlp(),
        nn.CrossEntropyLoss(weight=class_weight, reduction="sum"),
        data,
        lambda o, t: class_weight[t] * cross_entropies(o, t),
        n,
        cut(data, 9),
    )
    soft = (inputs, torch.softmax(torch.randn(n, 3, dtype=torch.float64), 1))
    result["class probabilities"] = supervised(
        mlp(), nn.CrossEntropyLoss(), soft, lambda o, t: -(t * o.log_softmax(1)).sum(1), n, cut(soft, 9)
    )
    result["focal loss, a subclass of cross entropy"] = supervised(
        mlp(),
        Focal(),
        data,
        lambda o, t: (1 - torch.exp(-cross_entropies(o, t))) ** 2 * cross_entropies(o, t),
        n,
        cut(data, 9),
    )
    spread = nn.Sequential(nn.Linear(4, 15), nn.Unflatten(1, (3, 5))).double()
    positions = (inputs, torch.softmax(torch.randn(n, 3, 5, dtype=torch.float64), 1))
    result["probabilities at positions"] = supervised(
        spread,
        nn.CrossEntropyLoss(),
        positions,
        lambda o, t: -(t * o.log_softmax(1)).sum((1, 2)),
        5 * n,
        cut(positions, 9),
    )
    tokens = torch.randint(0, 3, (n, 5), generator=torch.Generator().manual_seed(2))
    tokens[:4] = -100
    result["ignored tokens"] = supervised(
        spread,
        functional.cross_entropy,
        (inputs, tokens),
        lambda o, t: torch.where(t < 0, 0.0, -o.log_softmax(1).gather(1, t.clamp(min=0)[:, None])[:, 0]).sum(1),
        float((tokens >= 0).sum()),
        cut((inputs, tokens), 4),
    )

    convolution = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    ).double()
    images = torch.randn(n, 1, 6, 6, dtype=torch.float64)
    for _ in range(3):
        convolution(images)
    convolution.eval()
    result["convolution and batch norm"] = supervised(
        convolution, nn.CrossEntropyLoss(), (images, targets), cross_entropies, n, cut((images, targets), 7)
    )
    result["tied weights"] = supervised(Tied().double(), nn.CrossEntropyLoss(), data, cross_entropies, n)
    frozen = mlp()
    frozen[0].weight.requires_grad_(False)
    result["frozen parameters"] = supervised(frozen, nn.CrossEntropyLoss(), data, cross_entropies, n)
    unused = mlp()
    unused.register_parameter("spare", nn.Parameter(torch.ones(2, dtype=torch.float64)))
    result["unused parameter"] = supervised(unused, nn.CrossEntropyLoss(), data, cross_entropies, n)

    on_dict = OnDict().double()
    call = caller(on_dict)
    batches = [{"x": x, "y": y} for x, y in cut(data, 9)]
    result["dict batches"] = Case(
        on_dict,
        lambda model, batch: functional.cross_entropy(model(batch), batch["y"]),
        batches,
        full=lambda theta: cross_entropies(call(theta, {"x": inputs}), targets).mean(),
    )
    result["opaque with weight"] = Case(
        mlp(),
        lambda model, batch: (cross_entropies(model(batch[0]), batch[1]) * batch[1]).sum() / batch[1].sum(),
        cut(data, 9),
        full=lambda theta: (cross_entropies(caller(mlp())(theta, inputs), targets) * targets).sum() / targets.sum(),
        options={"weight": lambda batch: batch[1].sum()},
    )
    in_place = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    ).double()
    for _ in range(3):
        in_place(images)
    result["written in place before a norm"] = supervised(
        in_place.eval(), nn.CrossEntropyLoss(), (images, targets), cross_entropies, n, cut((images, targets), 7)
    )
    return result


def trained_spectrum(activation: str, epochs: int, samples: int = 300) -> np.ndarray:
    """All eigenvalues of the Hessian of a trained digits MLP, ascending, from the dense matrix."""
    from landscape import zoo

    objective = zoo.build("digits-mlp", activation=activation, epochs=epochs, samples=samples, dtype="float64")
    network, n = objective._network, objective.n
    batches = [objective._batches[index] for index in range(objective.batches)]
    inputs, targets = (torch.cat([batch[side] for batch in batches]) for side in (0, 1))
    theta = objective.theta.clone().requires_grad_(True)
    output = torch.func.functional_call(network.module, objective.variables(theta), (inputs,))
    (gradient,) = torch.autograd.grad(functional.cross_entropy(output, targets), theta, create_graph=True)
    rows = []
    for start in range(0, n, 64):
        units = torch.eye(n, dtype=torch.float64)[start : start + 64]
        rows.append(torch.autograd.grad(gradient, theta, units, is_grads_batched=True, retain_graph=True)[0])
    matrix = torch.cat(rows)
    return np.linalg.eigvalsh(((matrix + matrix.T) / 2).numpy())


class Diagonal(ls.Hessian):
    """A prescribed spectrum: for Gaussian start vectors every symmetric matrix behaves like a diagonal one."""

    name = "diagonal"

    def __init__(self, eigenvalues: np.ndarray, dtype: torch.dtype = torch.float64) -> None:
        self.values = torch.from_numpy(eigenvalues).to(dtype)
        self.products, self.seconds = 0, 0.0

    n = property(lambda self: len(self.values))  # type: ignore[assignment]
    dtype = property(lambda self: self.values.dtype)  # type: ignore[assignment]
    device = property(lambda self: self.values.device)  # type: ignore[assignment]
    grid = property(lambda self: ls.ProcessGrid.serial())  # type: ignore[assignment]

    def on(self, grid: ls.ProcessGrid) -> Diagonal:
        return Diagonal(self.values.numpy(), self.dtype)

    def apply_rows(self, shard: Tensor, rows: Any) -> Tensor:
        self.products += 1
        return rows.shard(self.values) * shard

    def apply_block(self, vectors: Tensor) -> Tensor:
        self.products += len(vectors)
        return self.values * vectors

    def gradient_seconds(self) -> float:
        return 1.0

    def facts(self) -> dict[str, Any]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {"operator": self.name, "n": self.n}


def wasserstein(density: ls.SpectralDensity, eigenvalues: np.ndarray) -> float:
    """W1 of a density to the exact spectrum in units of mean |λ - median|: the integral of the cdf difference."""
    x = np.sort(np.concatenate([density.nodes, eigenvalues]))
    exact = np.searchsorted(eigenvalues, x[:-1], side="right") / len(eigenvalues)
    distance = np.sum(np.abs(density.cdf(x[:-1]) - exact) * np.diff(x))
    return float(distance / np.mean(np.abs(eigenvalues - np.median(eigenvalues))))


def plotted_error(density: ls.SpectralDensity, eigenvalues: np.ndarray) -> float:
    """Mean |Δlog10 pdf| over the spectrum's range at σ = 1 % of λmax, the error that a plot shows.

    Below a millionth of the largest density there is nothing to plot.
    """
    sigma = 0.01 * eigenvalues[-1]
    x = np.linspace(eigenvalues[0], eigenvalues[-1], 600)
    weights = np.full(len(eigenvalues), 1 / len(eigenvalues))
    exact = ls.SpectralDensity(eigenvalues, weights, len(eigenvalues)).pdf(x, sigma)
    floor = 1e-6 * exact.max()
    return float(np.mean(np.abs(np.log10(density.pdf(x, sigma) + floor) - np.log10(exact + floor))))
