"""Sparsity and accuracy of ProxSGD on the digits perceptron, five-fold, beside the same training without l1."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import summary, write
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import landscape as ls
from landscape import zoo
from landscape.zoo import models, readers
from landscape.zoo.reference import accuracy

FOLDS = 5
SEEDS = range(FOLDS)  # each with another fifth of the samples held out, so that together every sample is judged once
FRESH_SEEDS = range(FOLDS, 2 * FOLDS)  # other folds and other nets than those that the settings were chosen on
EPOCHS, BATCH = 300, 64

# The schedule that the convergence theorem covers, and a constant metric: 0.2 is stable, below 0.15 it diverges.
THEORY = {"lr": 2.0, "gradient_weight": 1.0, "schedule": "theory", "curvature": 0.2}
RELEASED = {"lr": 0.06, "gradient_weight": 0.9, "schedule": "paper", "curvature": "adaptive"}
CHOSEN = 1.3e-3  # l1
SPARSER = 1.5e-3  # for which every seed of the zoo's net has more than 80 % exact zeros
STUDIES: dict[str, tuple[str, dict[str, Any], tuple[float, ...]]] = {
    "theory schedule, constant curvature": ("prox_sgd", THEORY, (7e-4, CHOSEN, 2e-3)),
    "released schedule and metric": ("prox_sgd", RELEASED, (1e-4, 1e-3)),
    "sgd with momentum and the subgradient of l1": ("sgd", {"lr": 0.05, "momentum": 0.9}, (CHOSEN,)),
}


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    for name, (optimizer, options, weights) in STUDIES.items():
        plain = [split_run(optimizer, options, 0.0, seed) for seed in SEEDS]
        figures |= described(f"{name}, no l1", plain, None)
        for l1 in weights:
            figures |= described(
                f"{name}, l1 = {l1:g}", [split_run(optimizer, options, l1, seed) for seed in SEEDS], plain
            )
    plain, sparse = ([split_run("prox_sgd", THEORY, l1, seed) for seed in FRESH_SEEDS] for l1 in (0.0, CHOSEN))
    figures |= described("fresh folds and nets, no l1", plain, None)
    figures |= described(f"fresh folds and nets, l1 = {CHOSEN:g}", sparse, plain)
    plain = [whole_run(0.0, seed) for seed in SEEDS]
    figures |= described("zoo:digits-mlp, all samples, no l1", plain, None)
    for l1 in (CHOSEN, SPARSER):
        figures |= described(
            f"zoo:digits-mlp, all samples, l1 = {l1:g}", [whole_run(l1, seed) for seed in SEEDS], plain
        )
    write("prox_sgd", figures)


def split_run(optimizer: str, options: dict[str, Any], l1: float, seed: int) -> dict[str, float]:
    """Train on four fifths of the digits; shares of exact zeros and of right answers on both parts."""
    images, labels = readers.digits()
    inputs = torch.from_numpy(images).to(torch.float32).div(16).reshape(-1, 64)
    targets = torch.from_numpy(labels).to(torch.int64)
    order = np.random.default_rng(seed // FOLDS).permutation(len(inputs))
    held_out = np.array_split(order, FOLDS)[seed % FOLDS]
    training = np.setdiff1d(order, held_out)
    model = models.mlp((64, 28, 16, 10), "relu", seed)

    def with_subgradient(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        penalty = sum(value.abs().sum() for value in model.parameters() if value.dim() > 1)
        return cross_entropy(model(batch[0]), batch[1]) + l1 * penalty

    in_the_loss = l1 > 0 and optimizer != "prox_sgd"
    objectives = [
        ls.Objective(
            model, loss, (inputs[rows], targets[rows]), metrics={} if loss is with_subgradient else {"": accuracy}
        )
        for loss, rows in (
            (with_subgradient if in_the_loss else cross_entropy, training),
            (cross_entropy, training),
            (cross_entropy, held_out),
        )
    ]
    settings = {name: value for name, value in options.items() if name != "lr"}
    if optimizer == "prox_sgd":
        settings["l1"] = l1
    rough, last = trained(objectives[0], optimizer, options["lr"], settings, seed)
    return {
        "exact zeros": zeros(last),
        "exact zeros before finalize()": zeros(rough),
        "training accuracy": objectives[1].at(last).evaluate()[""],
        "held-out accuracy": objectives[2].at(last).evaluate()[""],
    }


def whole_run(l1: float, seed: int) -> dict[str, float]:
    """Train the zoo's own objective."""
    objective = zoo.build("digits-mlp", epochs=0, seed=seed)
    settings = {name: value for name, value in THEORY.items() if name != "lr"}
    _, last = trained(objective, "prox_sgd", THEORY["lr"], {**settings, "l1": l1}, seed)
    return {"exact zeros": zeros(last), "training accuracy": objective.at(last).evaluate()["accuracy"]}


def trained(objective: ls.Objective, optimizer: str, lr: float, settings: dict[str, Any], seed: int) -> tuple[Any, Any]:
    """The last checkpoint before ``finalize()``, and the one after it."""
    steps = EPOCHS * -(-objective.samples // BATCH)
    with tempfile.TemporaryDirectory() as folder:
        run = ls.train(
            objective,
            optimizer,
            lr=lr,
            options=settings,
            epochs=EPOCHS,
            batch=BATCH,
            every=steps,
            seed=seed,
            path=Path(folder) / "run.h5",
        )
        return run[1], run[-1]


def zeros(checkpoint: Any) -> float:
    """Share of exact zeros in theta, biases included."""
    return 1 - np.count_nonzero(checkpoint.theta) / checkpoint.n


def described(name: str, runs: list[dict[str, float]], plain: list[dict[str, float]] | None) -> dict[str, Any]:
    """Percentages over the seeds, and what accuracy was lost against the same training without l1, in points."""
    found = {key: [100 * one[key] for one in runs] for key in runs[0]}
    if plain is not None:
        for key in [key for key in found if key.endswith("accuracy")]:
            found[f"points of {key} lost"] = [100 * (b[key] - a[key]) for a, b in zip(runs, plain, strict=True)]
    for key, values in found.items():
        print(f"{name}: {key:<38} {statistics.mean(values):6.2f}", flush=True)
    return {f"{name}: {key}, %": {**summary(values), "mean": statistics.mean(values)} for key, values in found.items()}


if __name__ == "__main__":
    main()
