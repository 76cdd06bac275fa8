"""What every rank count must agree on bit by bit; prints one JSON line from rank 0. Run by test_spectrum_ranks."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch
from torch import nn

import landscape as ls


def digest(*arrays: Any) -> str:
    result = hashlib.sha256()
    for array in arrays:
        result.update(np.ascontiguousarray(array).tobytes())
    return result.hexdigest()


def data(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(260, 30, generator=generator), torch.randint(0, 10, (260,), generator=generator)


def model(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 10))


def refused(*arguments: Any, **options: Any) -> str:
    try:
        ls.Objective(*arguments, **options)
    except ls.InputError as error:
        return str(error)
    return "accepted"


class Counting(ls.Hessian):
    """Counts the micro-batches that this rank works on."""

    work = 0

    def batch_product(self, batch: Any, denominator: float, vector: torch.Tensor) -> torch.Tensor:
        Counting.work += 1
        return super().batch_product(batch, denominator, vector)


def memory_mode(dtype: torch.dtype, mode: str) -> str:
    inputs, targets = data()
    objective = ls.Objective(model().to(dtype), nn.CrossEntropyLoss(), (inputs.to(dtype), targets), micro_batch=65)
    hessian = ls.Hessian(objective, product="double_backward")
    density = ls.spectral_density(hessian, tol=1e-9, max_products=20, memory=mode)
    return digest(density.nodes, density.weights, density.resolved)


def main() -> None:
    grid = ls.ProcessGrid.world()
    loss = nn.CrossEntropyLoss()
    results: dict[str, Any] = {}
    for dtype in (torch.float32, torch.float64):
        inputs, targets = data()
        objective = ls.Objective(model().to(dtype), loss, (inputs.to(dtype), targets), micro_batch=13)
        hessian = Counting(objective)
        Counting.work = 0
        deflated = ls.spectral_density(hessian, tol=1e-9, max_products=12)
        worked = Counting.work
        Counting.work = 0
        classical = ls.spectral_density(hessian, method="classical", probes=4, steps=5)
        work = grid.world.all_gather_object((worked, Counting.work))
        sampled = ls.spectral_density(hessian, tol=1e-9, max_products=30, data_sampling=3)
        shortened = ls.spectral_density(hessian, tol=1e-9, max_products=80)
        vector = torch.linspace(-1, 1, objective.n, dtype=dtype)
        results[str(dtype)] = {
            "loss and gradient": digest(objective.loss(), objective.gradient()),
            "products": digest(*(op(objective) @ vector for op in (ls.Hessian, ls.GaussNewton, ls.EmpiricalFisher))),
            "deflated": digest(deflated.nodes, deflated.weights, deflated.resolved),
            "classical": digest(classical.nodes, classical.weights),
            "data sampling": digest(sampled.sampling_stderr, sampled.trace_sampling_stderr),
            "short runs": digest(shortened.nodes, shortened.weights, shortened.trace),
            "number of short runs": shortened.complement_probes,
            "sampled": [int(np.isfinite(sampled.sampling_stderr).sum()), sampled.trace_sampling_stderr > 0],
        }
    results["modes"] = {
        f"{dtype} {mode}": memory_mode(dtype, mode)
        for dtype in (torch.float32, torch.float64)
        for mode in ("full", "selective", "float16", "bfloat16", "disk", "minimal")
    }
    results["work"] = {"data": [one for one, _ in work], "probes": [one for _, one in work]}
    results["products"] = [deflated.products, classical.products]
    if grid.size > 1:
        # The same refusal on all ranks, so that all of them can end in the same way.
        refusals = {
            "unseeded model": refused(model(grid.rank), loss, data()),
            "shuffled data": refused(model(), loss, data(grid.rank)),
            "other length": refused(model(), loss, tuple(part[: 260 - grid.rank] for part in data()), micro_batch=13),
        }
        nan = data()
        nan[0][200] = float("nan")
        refusals["nan"] = refused(model(), loss, nan, micro_batch=13)
        # Rounding apart, as after training on different machines, is healed by broadcasting rank 0's parameters.
        nudged = model()
        with torch.no_grad():
            nudged[0].weight.mul_(1 + 1e-6 * grid.rank)
        refusals["rounding"] = refused(nudged, loss, data())
        objective = ls.Objective(model(), loss, data())
        theirs = torch.randn(objective.n, generator=torch.Generator().manual_seed(grid.rank))
        results["vector"] = [
            digest(product) for product in grid.world.all_gather_object(ls.Hessian(objective) @ theirs)
        ]
        try:
            objective.at(theirs)
        except ls.InputError as error:
            refusals["another point"] = str(error)
        everyone = grid.world.all_gather_object(refusals)
        results["refusals"] = refusals
        results["all ranks say the same"] = all(other == refusals for other in everyone)
    if grid.rank == 0:
        print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main()
