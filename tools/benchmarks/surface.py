"""Speed of a surface against the loops that people write, one pinned thread; and of two ranks against one.

Both loops build and load a state dict at every point, and compute loss and accuracy as the surface does: one over the
objective's micro-batches, which are in memory; one over a DataLoader of single samples, as the existing tools do. One
thread is measured in seconds of its processor, which other programs on the computer disturb less.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from report import pin, summary, write
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from landscape import zoo

REPEATS = 5
RESOLUTION = 31
LOOP_POINTS = 40  # of the same grid: a loop costs the same at every point


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


def surface_of(objective: Any, plane: ls.Plane) -> ls.Surface:
    """The surface that is measured."""
    return ls.loss_surface(objective, plane, resolution=RESOLUTION)


def main() -> None:
    """Measure and report; run by two ranks, of which the second waits while the first measures alone."""
    grid = ls.ProcessGrid.world()
    pin(grid.rank)
    figures = {}
    for name in ("digits-cnn", "digits-resnet", "digits-mlp"):
        objective = zoo.build(name, epochs=1)
        alone = objective.on(grid.alone())
        plane = ls.Plane.random(objective)
        ratios = []
        for _ in range(REPEATS + 1):
            grid.world.barrier()
            both = seconds(time.perf_counter, surface_of, objective, plane)
            grid.world.barrier()
            one = seconds(time.perf_counter, surface_of, alone, plane) if grid.rank == 0 else 0.0
            grid.world.barrier()
            ratios.append(one / both)
        figures[f"{name}: speed of {grid.size} ranks / 1"] = summary(ratios[1:])
        if grid.rank == 0:
            figures |= {f"{name}: surface / {what}": figure for what, figure in against_loops(alone, plane).items()}
        grid.world.barrier()
    if grid.rank == 0:
        write("surface", figures)


def against_loops(objective: Any, plane: ls.Plane) -> dict[str, dict[str, Any]]:
    """Ratios of the time per point, the sides interleaved."""
    samples = TensorDataset(*(torch.cat([batch[side] for batch in objective._batches]) for side in (0, 1)))
    loops = {
        "loop over tensors": Loop(objective, plane, objective._batches),
        "loop over a DataLoader": Loop(objective, plane, DataLoader(samples, batch_size=128)),
    }
    surface = surface_of(objective, plane)
    points = [(row, column) for row in range(RESOLUTION) for column in range(RESOLUTION)][
        :: RESOLUTION**2 // LOOP_POINTS
    ]
    for row, column in points[:3]:
        expected = [loop.loss(surface.x[column], surface.y[row]) for loop in loops.values()]
        if not np.allclose(surface.loss[row, column], expected, rtol=1e-4):
            raise SystemExit(f"the loops compute another function: {surface.loss[row, column]} and {expected}")
    ratios: dict[str, list[float]] = {what: [] for what in loops}
    for _ in range(REPEATS):
        ours = seconds(time.process_time, surface_of, objective, plane) / RESOLUTION**2
        for what, loop in loops.items():
            theirs = seconds(
                time.process_time, loop.at, [(surface.x[column], surface.y[row]) for row, column in points]
            ) / len(points)
            ratios[what].append(theirs / ours)
    return {what: summary(values) for what, values in ratios.items()}


if __name__ == "__main__":
    main()
