"""Speed of a surface against the loops that people write, one pinned thread; and of two ranks against one.

Both loops build and load a state dict at every point, and compute loss and accuracy as the surface does: one over the
objective's micro-batches, which are in memory; one over a DataLoader of single samples, as the existing tools do. One
thread is measured in seconds of its processor, which other programs on the computer disturb less.

Adaptive surfaces are compared with the full grids of 101 × 101 points: which share of the points they compute, how far
the picture is off (in per cent of the displayed range), and how much faster they are.

--only NETWORK measures one network again.
"""

from __future__ import annotations

import copy
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from reference_nets import resnet20_128
from report import only, pin, summary, write
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from landscape import zoo
from landscape._refinement import DISPLAYED, is_logarithmic

REPEATS = 5
# Grid points along each axis. ResNet-20 on 128 images costs a hundred times as much as the others; its first check of
# the arithmetic costs as much as ten points, few among the 2601 of a usual surface but many of a small one.
RESOLUTIONS = {"digits-cnn": 31, "digits-resnet": 31, "digits-mlp": 31, "resnet20": 15}
LOOP_POINTS = 40  # of the same grid: a loop costs the same at every point
REFINED = 101


class Loop:
    """The loss at points of a plane with the model and data of an objective."""

    def __init__(self, objective: Any, plane: ls.Plane, batches: Iterable[Any]) -> None:
        self.model = copy.deepcopy(objective._network.module)
        self.batches = batches
        self.center = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.directions = [objective.variables(torch.from_numpy(direction)) for direction in plane.directions]

    def loss(self, x: float, y: float) -> float:
        """Mean loss; the accuracy is computed, too."""
        first, second = self.directions
        state: dict[str, Tensor] = {
            name: value + x * first[name] + y * second[name] if name in first else value
            for name, value in self.center.items()
        }
        self.model.load_state_dict(state)
        total = right = 0.0
        samples = 0
        with torch.no_grad():
            for inputs, targets in self.batches:
                output = self.model(inputs)
                total += cross_entropy(output, targets).item() * len(targets)
                right += (output.argmax(1) == targets).sum().item()
                samples += len(targets)
        return total / samples

    def at(self, points: Iterable[tuple[float, float]]) -> list[float]:
        """The loss at several points."""
        return [self.loss(x, y) for x, y in points]


def seconds(clock: Callable[[], float], work: Callable[..., Any], *arguments: Any) -> float:
    """How long something takes."""
    start = clock()
    work(*arguments)
    return clock() - start


def surface_of(objective: Any, plane: ls.Plane, resolution: int) -> ls.Surface:
    """The surface that is measured."""
    return ls.loss_surface(objective, plane, resolution=resolution)


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Share of right answers."""
    return (output.argmax(1) == target).float().mean()


def objective_of(name: str) -> Any:
    """One of the reference nets of the zoo, or of the products."""
    if name != "resnet20":
        return zoo.build(name, epochs=1)
    model, loss, data = resnet20_128()
    return ls.Objective(model.eval(), loss, data, metrics={"accuracy": accuracy})


def main() -> None:
    """Measure and report; run by two ranks, of which the second waits while the first measures alone."""
    grid = ls.ProcessGrid.world()
    pin(grid.rank)
    figures = {}
    for name, resolution in RESOLUTIONS.items():
        if only() not in ("", name):
            continue
        objective = objective_of(name)
        alone = objective.on(grid.alone())
        plane = ls.Plane.random(objective)
        ratios = []
        for _ in range(REPEATS + 1):
            grid.world.barrier()
            both = seconds(time.perf_counter, surface_of, objective, plane, resolution)
            grid.world.barrier()
            one = seconds(time.perf_counter, surface_of, alone, plane, resolution) if grid.rank == 0 else 0.0
            grid.world.barrier()
            ratios.append(one / both)
        figures[f"{name}: speed of {grid.size} ranks / 1"] = summary(ratios[1:])
        if grid.rank == 0:
            loops = against_loops(alone, plane, resolution)
            figures |= {f"{name}: surface / {what}": figure for what, figure in loops.items()}
        grid.world.barrier()
    if grid.rank == 0:
        if not only():
            figures |= against_full_grids(grid.alone())
        write("surface", figures)


def against_loops(objective: Any, plane: ls.Plane, resolution: int) -> dict[str, dict[str, Any]]:
    """Ratios of the time per point, the sides interleaved."""
    samples = TensorDataset(*(torch.cat([batch[side] for batch in objective._batches]) for side in (0, 1)))
    loops = {
        "loop over tensors": Loop(objective, plane, objective._batches),
        "loop over a DataLoader": Loop(objective, plane, DataLoader(samples, batch_size=128)),
    }
    surface = surface_of(objective, plane, resolution)
    points = [(row, column) for row in range(resolution) for column in range(resolution)][
        :: max(1, resolution**2 // LOOP_POINTS)
    ]
    for row, column in points[:3]:
        expected = [loop.loss(surface.x[column], surface.y[row]) for loop in loops.values()]
        if not np.allclose(surface.loss[row, column], expected, rtol=1e-4):
            raise SystemExit(f"the loops compute another function: {surface.loss[row, column]} and {expected}")
    ratios: dict[str, list[float]] = {what: [] for what in loops}
    for _ in range(REPEATS):
        ours = seconds(time.process_time, surface_of, objective, plane, resolution) / resolution**2
        for what, loop in loops.items():
            theirs = seconds(
                time.process_time, loop.at, [(surface.x[column], surface.y[row]) for row, column in points]
            ) / len(points)
            ratios[what].append(theirs / ours)
    return {what: summary(values) for what, values in ratios.items()}


def planes(grid: ls.ProcessGrid) -> dict[str, tuple[Any, ls.Plane]]:
    """One plane of each kind, of trained networks."""
    names = ("digits-cnn", "digits-resnet", "digits-mlp")
    cnn, resnet, mlp = (zoo.build(name, samples=600, grid=grid) for name in names)
    pairs = ls.eigenpairs(ls.Hessian(resnet), k=2, tol=1e-2)
    with tempfile.TemporaryDirectory() as folder:
        start = zoo.build("digits-mlp", samples=600, epochs=0, grid=grid)
        run = ls.train(start, epochs=20, every=5, path=f"{folder}/run.h5")
        pca = ls.Plane.pca(run)
    return {
        "digits-cnn, random plane": (cnn, ls.Plane.random(cnn)),
        "digits-resnet, eigenvectors": (resnet, ls.Plane.eigenvectors(pairs)),
        "digits-mlp, principal components": (mlp, dataclasses.replace(pca, runs=(), anchor_points={})),
    }


def against_full_grids(grid: ls.ProcessGrid) -> dict[str, dict[str, Any]]:
    """Share of the points, errors of the picture in per cent of its range, and speed, of adaptive surfaces."""
    figures = {}
    for name, (objective, plane) in planes(grid).items():
        options: dict[str, Any] = {"resolution": REFINED, "runs": (), "model": False}
        start = time.process_time()
        full = ls.loss_surface(objective, plane, **options)
        middle = time.process_time()
        refined = ls.loss_surface(objective, plane, adaptive=True, **options)
        spent = time.process_time() - middle
        shown = np.log10 if is_logarithmic(full.loss) else np.asarray
        limit = np.nanquantile(shown(full.loss), DISPLAYED)
        off = np.abs(np.minimum(shown(refined.loss), limit) - np.minimum(shown(full.loss), limit))
        off = 100 * off / (limit - np.nanmin(shown(full.loss)))
        figures |= {
            f"{name}: adaptive, % of the points": summary([100 * float(refined.evaluated.mean())]),
            f"{name}: adaptive, largest error in %": summary([float(off.max())]),
            f"{name}: adaptive, mean error in %": summary([float(off.mean())]),
            f"{name}: adaptive / full grid": summary([(middle - start) / spent]),
        }
    return figures


if __name__ == "__main__":
    main()
