"""Eigenpairs along paths between two seeds, warm over cold; seconds of a whole profile, and of an alignment.

Warm starts: at every point of 25 but the ends, the products of `interpolate` with one chain from each end over those
with cold starts everywhere: the five largest eigenvalues and the smallest one, in one run each; and over those of two
calls of `eigenpairs`, which is what finds them without a path. The product that checks the residuals is in the cold
counts; along a chain it is spent at its head. Heads of chains that begin cold are left out.

Seconds: 25 points with densities and eigenpairs on all data of digits-cnn, by the two ranks that run this; and the
alignment of two ResNet-20 by their weights on one rank.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from reference_nets import resnet20, resnet20_128
from report import pin, summary, write

import landscape as ls
from landscape import zoo

SEEDS = range(4)
SAMPLES = 400  # products count, not seconds: a subset of the data makes them cheap
POINTS = 25
PAIRS = 5
REPEATS = 3


def main() -> None:
    """Measure and report; run by two ranks."""
    grid = ls.ProcessGrid.world()
    pin(grid.rank)
    torch.set_num_threads(1)
    figures = along_paths()
    figures[f"digits-cnn: {POINTS} points with spectra, {grid.size} ranks, seconds"] = whole_profile()
    if grid.rank == 0:
        figures["resnet20: alignment by weights, 1 rank, seconds"] = alignment(grid.alone())
        write("interpolation", figures)
    grid.world.barrier()


def along_paths() -> dict[str, Any]:
    """Ratios of products on the ways from one seed to the next."""
    figures: dict[str, Any] = {}
    trained = [zoo.build("digits-cnn", seed=seed) for seed in SEEDS]
    objective = zoo.build("digits-cnn", epochs=0, samples=SAMPLES)
    over_cold: list[float] = []
    over_calls: list[float] = []
    for first, second in pairwise(SEEDS):
        path = ls.LinearPath(trained[first], trained[second])
        options: dict[str, Any] = {"points": POINTS, "pairs": PAIRS, "derivatives": False}
        warm = ls.interpolate(objective, path, **options)
        cold = ls.interpolate(objective, path, **options, chain=1)
        inner = np.flatnonzero(warm.warm & ~cold.warm)
        check_same(warm, cold)
        calls = np.array([products_of_calls(objective, path, float(s)) for s in warm.s[inner]])
        products, products_cold = warm.product_counts[inner], cold.product_counts[inner]
        ratios = (products / products_cold).tolist()
        figures[f"digits-cnn, seeds {first} and {second}: warm over cold"] = {
            **summary(ratios),
            "products": products.tolist(),
            "products_cold": products_cold.tolist(),
            "products_of_calls": calls.tolist(),
        }
        over_cold += ratios
        over_calls += (products / calls).tolist()
    figures["all warm over cold"] = summary(over_cold)
    figures["all warm over two cold calls of eigenpairs"] = summary(over_calls)
    return figures


def check_same(warm: ls.PathProfile, cold: ls.PathProfile) -> None:
    """Stop if the two found different eigenvalues."""
    scale = np.abs(np.concatenate([cold.values, cold.smallest[:, None]], 1)).max(1)
    apart = np.maximum(np.abs(warm.values - cold.values).max(1), np.abs(warm.smallest - cold.smallest)) / scale
    if (apart > 1e-3).any():
        print(f"note: eigenvalues differ by {apart.max():.2g} of the largest at s = {warm.s[apart.argmax()]:.3g}")


def products_of_calls(objective: ls.Objective, path: ls.LinearPath, s: float) -> int:
    """What finds the same eigenvalues at one point without the path."""
    buffers = {name: torch.from_numpy(value) for name, value in path.buffers(s).items()}
    hessian = ls.Hessian(objective.at(path.point(s), buffers))
    return ls.eigenpairs(hessian, PAIRS).products + ls.eigenpairs(hessian, 1, "smallest").products


def whole_profile() -> dict[str, Any]:
    """Seconds of a profile with densities, eigenpairs and derivatives, on all data."""
    a, b = (zoo.build("digits-cnn", seed=seed) for seed in (0, 1))
    world = a.grid.world
    world.barrier()
    started = time.perf_counter()
    profile = ls.interpolate(a, ls.LinearPath(a, b), points=POINTS, spectra=True)
    world.barrier()
    seconds = time.perf_counter() - started
    errors = [density.error for density in profile.densities]
    return {
        **summary([seconds]),
        "products_of_densities": int(profile.facts["products"].sum()),
        "products_of_eigenpairs": int(profile.product_counts.sum()),
        "converged": int(sum(density.converged for density in profile.densities)),
        "largest_error": max(errors),
    }


def alignment(grid: ls.ProcessGrid) -> dict[str, Any]:
    """Seconds of ls.align for two ResNet-20 of independent random weights."""
    model, loss, data = resnet20_128()
    torch.manual_seed(1)
    other = resnet20()
    with torch.no_grad():
        for _ in range(3):
            other(data[0])
    a, b = (ls.Objective(one.eval(), loss, data, grid=grid) for one in (model, other))
    found = []
    for seed in range(REPEATS):
        started = time.perf_counter()
        ls.align(a, a, b, seed=seed)
        found.append(time.perf_counter() - started)
    return summary(found)


if __name__ == "__main__":
    main()
