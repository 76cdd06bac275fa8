"""What every rank count must agree on bit by bit; prints one JSON line from rank 0. Run by test_operators_ranks."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

import landscape as ls
from tests.spectrum_job import data, digest, model


def density_digest(density: ls.SpectralDensity) -> str:
    return digest(density.nodes, density.weights, density.resolved, density.trace)


def longer(objective: ls.Objective, combination: Any, vector: torch.Tensor) -> dict[str, Any]:
    """What takes more products, in one dtype."""
    hessian, found = ls.Hessian(objective, "double_backward"), {}
    parts = ls.split(objective, tol=1e-9, max_products=4)
    found["split"] = [density_digest(parts.gauss_newton), density_digest(parts.residual)]
    found["classes"] = digest(ls.class_shares(objective, torch.stack([vector, vector**2], 1)))
    found["classical"] = density_digest(ls.spectral_density(combination, method="classical", probes=4, steps=3))
    for method in ("xtrace", "hutch++", "hutchinson"):
        one = ls.trace(hessian, method=method, products=8)
        found[method] = digest(one.value, one.stderr)
    norm = ls.frobenius_norm(hessian, products=6)
    diagonal = ls.diagonal(hessian, products=6)
    traces = ls.layer_traces(hessian, products=3)
    found["norm and diagonal"] = digest(norm.value, norm.stderr, diagonal.values, diagonal.stderr)
    found["layer traces"] = digest(*(one.value for one in traces.values()))
    sharpness = ls.batch_sharpness(objective, 20, batches=5)
    found["batch sharpness"] = digest(sharpness.value, sharpness.stderr)
    return found


class Drawing(nn.Linear):
    """Draws the same numbers in every call, which no trace can do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return super().forward(x + torch.randn_like(x))


def refusals() -> list[str]:
    """What is said of a network that cannot be traced."""
    torch.manual_seed(0)
    data = torch.randn(9, 4), torch.randint(0, 3, (9,))
    objective = ls.Objective(Drawing(4, 3), nn.CrossEntropyLoss(), data, micro_batch=4)
    found = []
    for precision in (None, "bfloat16"):
        try:
            ls.Hessian(objective, "linearized", precision) @ torch.ones(15)
        except ls.InputError as error:
            found.append(str(error))
    return found


def main() -> None:
    grid = ls.ProcessGrid.world()
    results: dict[str, Any] = {"refusals": refusals()}
    for dtype in (torch.float32, torch.float64):
        inputs, targets = data()
        objective = ls.Objective(
            model().to(dtype), nn.CrossEntropyLoss(), (inputs.to(dtype), targets), micro_batch=13, weight_decay=0.01
        )
        vector = torch.linspace(-1, 1, objective.n, dtype=dtype)
        # Not "auto": what a timing chooses may differ from run to run.
        hessian, G = ls.Hessian(objective, "double_backward"), ls.GaussNewton(objective)
        metric = torch.linspace(0.5, 2, objective.n, dtype=torch.float64)
        operators = {
            "gradient covariance": ls.GradientCovariance(objective),
            "residual": ls.Residual(objective),
            "combination": 2 * hessian - G + 0.1,
            "preconditioned": ls.Preconditioned(hessian, metric),
            "blocks": ls.BlockDiagonal(hessian),
            "blocks of the covariance": ls.BlockDiagonal(ls.GradientCovariance(objective), by="parameter"),
        }
        found = {name: digest(operator @ vector) for name, operator in operators.items()}
        part = ls.Restricted(hessian, "^0")
        found["restricted"] = digest(part @ part.block.take(vector))
        function = ls.from_function(metric.to(dtype).mul, objective.n, dtype=dtype)
        found["function"] = digest(function @ vector)
        layers = ls.layer_densities(hessian, tol=1e-9, max_products=4)
        found["layers"] = [density_digest(density) for density in layers.values()]
        if dtype == torch.float32:
            found |= longer(objective, operators["combination"], vector)
        results[str(dtype)] = found
    results["all ranks say the same"] = all(other == results for other in grid.world.all_gather_object(results))
    if grid.rank == 0:
        print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main()
