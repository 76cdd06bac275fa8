"""Eigenpairs that all rank counts must agree on bit by bit, as one JSON line of rank 0. Run by test_eigen_ranks."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import landscape as ls
from tests.spectrum_job import data, digest, model


class CutShortError(Exception):
    """The run stops here, on every rank."""


def stop(done: int, total: int, text: str) -> None:
    if done == 13:
        raise CutShortError


def summary(pairs: ls.EigenPairs) -> dict[str, Any]:
    return {
        "digest": digest(pairs.values, pairs.vectors, pairs.residuals, pairs.converged, pairs.theta),
        "facts": [pairs.products, pairs.restarts, pairs.noise_floor, pairs.scale, pairs.loss],
    }


def main() -> None:
    grid = ls.ProcessGrid.world()
    results: dict[str, Any] = {}
    everywhere: list[bool] = []
    folder = grid.world.broadcast_object(tempfile.mkdtemp() if grid.rank == 0 else None)
    for dtype in (torch.float32, torch.float64):
        inputs, targets = (part[:65] for part in data())
        objective = ls.Objective(model().to(dtype), nn.CrossEntropyLoss(), (inputs.to(dtype), targets), micro_batch=13)
        hessian = ls.Hessian(objective)
        # Of a linear network on two points: a Krylov space of two, and a kernel.
        points = (torch.eye(2, dtype=dtype), torch.zeros(2, 1, dtype=dtype))
        torch.manual_seed(0)
        linear = ls.Objective(nn.Linear(2, 1).to(dtype), nn.MSELoss(), points)
        found = {
            "largest": ls.eigenpairs(hessian, 3),
            "restarted, both ends": ls.eigenpairs(hessian, 1, "both", basis=10),
            "block, restarted": ls.eigenpairs(hessian, 2, "both", basis=13, block=3),
            "cut short": ls.eigenpairs(hessian, 4, max_products=6),
            "exhausted": ls.eigenpairs(ls.GaussNewton(linear), 3),
            "warm": ls.eigenpairs(hessian, 1, start=np.linspace(-1, 1, objective.n) * (1 + grid.rank)),
        }
        state = Path(folder) / str(dtype)
        try:
            ls.eigenpairs(hessian, 1, "both", basis=10, state=state, checkpoint_seconds=0, progress=stop)
        except CutShortError:
            found["resumed"] = ls.eigenpairs(hessian, 1, "both", basis=10, state=state)
        results[str(dtype)] = {name: summary(pairs) for name, pairs in found.items()}
        everyone = grid.world.all_gather_object(results[str(dtype)])
        everywhere.append(all(other == results[str(dtype)] for other in everyone))
    results["all ranks hold the same"] = all(everywhere)
    if grid.rank == 0:
        print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main()
