"""What blocks, splits, estimates and the monitor cost and give, as ratios within one run on one pinned thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from report import pin, summary, write

import landscape as ls
from landscape import stability_monitor, zoo
from landscape.curvature import blocks_of

REPEATS = 7
SEEDS = 40
STEPS = 4000
CHUNK = 50


def seconds(run: Callable[[], Any]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def ratios(top: Callable[[], Any], bottom: Callable[[], Any]) -> dict[str, Any]:
    """Time of one over that of the other, interleaved."""
    top(), bottom()
    return summary([seconds(top) / seconds(bottom) for _ in range(REPEATS)])


def costs(name: str) -> dict[str, Any]:
    """Blocks and splits of a network."""
    objective = zoo.build(name, epochs=1)
    hessian = ls.Hessian(objective, product="double_backward")
    vector = torch.randn(objective.n, generator=torch.Generator().manual_seed(0))
    blocks = blocks_of(objective)
    together = ls.BlockDiagonal(hessian)
    parts = [ls.Restricted(hessian, list(block.parameters)) for block in blocks]
    G, R, covariance = ls.GaussNewton(objective), ls.Residual(objective), ls.GradientCovariance(objective)
    few = {"tol": 1e-9, "max_products": 4}
    return {
        f"{name}: product of all {len(blocks)} blocks / gradient": ratios(
            lambda: together.apply(vector), objective.gradient
        ),
        f"{name}: product of all blocks / of the whole": ratios(
            lambda: together.apply(vector), lambda: hessian.apply(vector)
        ),
        f"{name}: product of all blocks / blocks one by one": ratios(
            lambda: together.apply(vector),
            lambda: [part.apply(block.take(vector)) for part, block in zip(parts, blocks, strict=True)],
        ),
        f"{name}: split in one sweep / both densities": ratios(
            lambda: ls.split(objective, **few),
            lambda: [ls.spectral_density(operator, **few) for operator in (G, R)],
        ),
        f"{name}: gradient covariance / gradient": ratios(lambda: covariance.apply(vector), objective.gradient),
    }


def accuracy() -> dict[str, Any]:
    """Errors of traces with 60 products, on the exact Hessian of a trained network."""
    objective = zoo.build("digits-mlp", activation="tanh", epochs=10, samples=300, dtype="float64")
    hessian = ls.Hessian(objective)
    columns = [hessian.apply_block(part) for part in torch.eye(objective.n, dtype=torch.float64).split(64)]
    matrix = torch.cat(columns)
    operator = ls.from_function(lambda v: matrix @ v, objective.n)
    exact = float(matrix.trace())
    found: dict[str, Any] = {}
    for method in ("xtrace", "hutch++", "hutchinson"):
        runs = [ls.trace(operator, method=method, seed=seed) for seed in range(SEEDS)]
        errors = np.array([run.value - exact for run in runs])
        inside = [run.interval()[0] <= exact <= run.interval()[1] for run in runs]
        stated = np.mean([run.stderr for run in runs])
        found |= {
            f"trace by {method}, 60 products: |error| / trace": summary((np.abs(errors) / exact).tolist()),
            f"trace by {method}: rms error / stated": summary([float(np.sqrt(np.mean(errors**2)) / stated)]),
            f"trace by {method}: 95 % intervals that hold": summary([float(np.mean(inside))]),
        }
    return found


class Training:
    """A small network in training, by chunks of steps whose processor time is its clock."""

    def __init__(self, watched: bool) -> None:
        torch.manual_seed(0)
        self.seconds = self.last = 0.0
        self.running = False
        self.model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
        self.inputs, self.targets = torch.randn(512, 64), torch.randint(0, 10, (512,))
        self.loss = torch.nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.monitor = None
        if watched:
            stability_monitor.time = self  # type: ignore[assignment]
            some = self.inputs[:128], self.targets[:128]
            self.monitor = ls.StabilityMonitor.of(self.model, self.loss, some, self.optimizer)

    def perf_counter(self) -> float:
        """Processor time of this training so far."""
        return self.seconds + (time.process_time() - self.last if self.running else 0.0)

    def run(self, steps: int) -> None:
        """Train."""
        self.last, self.running = time.process_time(), True
        for _ in range(steps):
            self.optimizer.zero_grad()
            value = self.loss(self.model(self.inputs), self.targets)
            value.backward()
            self.optimizer.step()
            if self.monitor is not None:
                self.monitor.step(value)
        self.seconds, self.running = self.perf_counter(), False


def monitored() -> dict[str, Any]:
    """Time of a training with the monitor over that without it, both in turns of a few steps.

    Processor time, which other work on the computer does not change much; it is the monitor's clock here.
    """
    ratios, stated, measurements = [], [], []
    for repeat in range(REPEATS):
        alone, watched = Training(False), Training(True)
        for _ in range(STEPS // CHUNK):
            for training in (alone, watched) if repeat % 2 else (watched, alone):
                training.run(CHUNK)
        ratios.append(watched.seconds / alone.seconds)
        stated.append(watched.monitor.overhead)
        measurements.append(float(len(watched.monitor.rows)))
    stability_monitor.time = time
    return {
        "training with the monitor / without (asked: at most 1.05)": summary(ratios),
        "overhead that the monitor states": summary(stated),
        f"measurements in {STEPS} steps": summary(measurements),
    }


def main() -> None:
    """Measure and report."""
    pin(0)
    figures: dict[str, Any] = {}
    for name in ("digits-mlp", "digits-cnn"):
        figures |= costs(name)
    write("operators", figures | accuracy() | monitored())


if __name__ == "__main__":
    main()
