"""Accuracy of the density per product against the mean over seeds of 800 classical products (10 runs of 80).

Exact spectra of trained networks (`networks.py`) are the truth; for a Gaussian start vector a matrix behaves like the
diagonal of its eigenvalues, so the engine runs on that diagonal, and a product costs nothing. That the network's own
operator gives the same Lanczos coefficients is checked once per network.

Two distances of a density to the truth:

- plotted: mean over 600 points from the smallest to the largest eigenvalue of |Δlog10(pdf + floor)|, both smoothed with
  σ = 1 % of the largest |λ|. The floor is a millionth of the largest density, 1/400 of the peak of one eigenvalue of
  these networks: what is lower is not in a plot.
- W1: the Wasserstein distance in units of mean |λ - median λ|.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import torch
from networks import NETS, spectrum
from numpy.typing import NDArray
from report import pin, write
from torch import Tensor

import landscape as ls
from landscape.curvature import Operator

Array = NDArray[np.float64]
SEEDS = range(12)
COVERAGE_SEEDS = range(40)
PRODUCTS = (10, 15, 20, 25, 30, 35, 40, 50, 60, 75, 90, 120, 150, 200)
PRODUCTS_FLOAT32 = (20, 40, 60, 90, 150)
TOLERANCES = (0.1, 0.2)
LEVELS = (0.5, 0.95)
FLOOR = 1e-6
NEVER = 999  # products, where even the most that were tried are not as good
POINTS = 600
ALLOWED_DEVIATION = 1e-8


class Diagonal(Operator):
    """The operator of a network in the basis of its eigenvectors."""

    name = "diagonal"

    def __init__(self, eigenvalues: Array, dtype: torch.dtype = torch.float64) -> None:
        self.values = torch.from_numpy(eigenvalues).to(dtype)
        self.products, self.seconds = 0, 0.0

    n = property(lambda self: len(self.values))  # type: ignore[assignment]
    dtype = property(lambda self: self.values.dtype)  # type: ignore[assignment]
    device = property(lambda self: self.values.device)  # type: ignore[assignment]
    grid = property(lambda self: ls.ProcessGrid.serial())  # type: ignore[assignment]

    def on(self, grid: ls.ProcessGrid) -> Diagonal:
        """The same one: there is only one rank."""
        return Diagonal(self.values.numpy(), self.dtype)

    def batch_product(self, batch: Any, denominator: float, vector: Tensor) -> Tensor:
        """There is no data."""
        raise NotImplementedError

    def apply_rows(self, shard: Tensor, rows: Any) -> Tensor:
        """One product."""
        self.products += 1
        return rows.shard(self.values) * shard

    def gradient_seconds(self) -> float:
        """Of no interest here."""
        return 1.0

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"operator": self.name, "n": self.n}


class Truth:
    """An exact spectrum and the distances of an estimate from it."""

    def __init__(self, eigenvalues: Array) -> None:
        self.eigenvalues = eigenvalues
        self.sigma = 0.01 * float(np.abs(eigenvalues).max())
        self.x = np.linspace(eigenvalues[0], eigenvalues[-1], POINTS)
        n = len(eigenvalues)
        self.exact = ls.SpectralDensity(eigenvalues, np.full(n, 1 / n), n)
        self.pdf = self.exact.pdf(self.x, self.sigma)
        self.floor = FLOOR * self.pdf.max()
        self.spread = float(np.mean(np.abs(eigenvalues - np.median(eigenvalues))))

    def distances(self, density: ls.SpectralDensity) -> tuple[float, float]:
        """Plotted, W1."""
        estimate = density.pdf(self.x, self.sigma)
        plotted = np.mean(np.abs(np.log10(estimate + self.floor) - np.log10(self.pdf + self.floor)))
        x = np.sort(np.concatenate([density.nodes, self.eigenvalues]))[:-1]
        steps = np.diff(np.sort(np.concatenate([density.nodes, self.eigenvalues])))
        w1 = np.sum(np.abs(density.cdf(x) - self.exact.cdf(x)) * steps) / self.spread
        return float(plotted), float(w1)

    def covered(self, density: ls.SpectralDensity) -> dict[str, float]:
        """Share of points inside the bands, pdf where it is visible and cdf at the quantiles, and of the error."""
        visible = self.x[self.pdf > self.floor]
        quantiles = np.quantile(self.eigenvalues, (np.arange(200) + 0.5) / 200)
        shares = {"error": float(self.distances(density)[1] <= density.error)}
        for level in LEVELS:
            low, high = density.pdf_band(visible, self.sigma, level)
            value = self.exact.pdf(visible, self.sigma)
            shares[f"pdf {level:g}"] = float(np.mean((low <= value * (1 + 1e-9)) & (value <= high * (1 + 1e-9))))
            low, high = density.cdf_band(quantiles, level)
            value = self.exact.cdf(quantiles)
            shares[f"cdf {level:g}"] = float(np.mean((low <= value + 1e-9) & (value <= high + 1e-9)))
        return shares


def main() -> None:
    """Measure and report."""
    pin(1)
    torch.set_num_threads(1)
    per_net = {name: measured(name) for name in NETS}
    figures: dict[str, Any] = {
        "plotted density as good as 800 classical: products": across(per_net, "products_plotted"),
        "the same, float32": across(per_net, "products_plotted_float32"),
        "90 products: times closer than 800 classical": across(per_net, "gain_at_90"),
        "W1 as good as 800 classical: products": across(per_net, "products_w1"),
        "predicted over actual W1, 90 products": across(per_net, "predicted_over_actual"),
    }
    for key in next(iter(per_net.values()))["coverage"]:
        figures[f"coverage of {key}"] = summary_of({name: net["coverage"][key] for name, net in per_net.items()})
    figures["networks"] = {**figures["90 products: times closer than 800 classical"], "each": per_net}
    write("density", figures)


def across(per_net: dict[str, dict[str, Any]], key: str) -> dict[str, Any]:
    """One figure of all networks."""
    return summary_of({name: net[key] for name, net in per_net.items()})


def summary_of(values: dict[str, float]) -> dict[str, Any]:
    """Median and extremes over the networks, and which is which; a network that never gets there counts as NEVER."""
    numbers = list(values.values())
    return {"median": statistics.median(numbers), "least": min(numbers), "most": max(numbers), "networks": values}


def measured(name: str) -> dict[str, Any]:
    """All figures of one network."""
    eigenvalues, deviation = spectrum(name)
    if deviation > ALLOWED_DEVIATION:
        raise SystemExit(f"{name}: the network's operator is {deviation:.1g} away from its dense matrix")
    truth = Truth(eigenvalues)
    classical = mean_distances(truth, [run(eigenvalues, seed, method="classical") for seed in SEEDS])
    facts: dict[str, Any] = {"n": len(eigenvalues), "classical_plotted": classical[0], "classical_w1": classical[1]}
    for suffix, dtype, tried in (("", torch.float64, PRODUCTS), ("_float32", torch.float32, PRODUCTS_FLOAT32)):
        curve = {m: mean_distances(truth, [fixed(eigenvalues, seed, m, dtype) for seed in SEEDS]) for m in tried}
        facts[f"plotted{suffix}"] = {str(m): pair[0] for m, pair in curve.items()}
        facts[f"w1{suffix}"] = {str(m): pair[1] for m, pair in curve.items()}
        facts[f"products_plotted{suffix}"] = enough({m: pair[0] for m, pair in curve.items()}, classical[0])
        facts[f"products_w1{suffix}"] = enough({m: pair[1] for m, pair in curve.items()}, classical[1])
        facts[f"gain_at_90{suffix}"] = classical[0] / curve[90][0]
    facts["coverage"] = {}
    kinds = {"90 products": [fixed(eigenvalues, seed, 90) for seed in COVERAGE_SEEDS]}
    kinds |= {f"tol {tol:g}": [run(eigenvalues, seed, tol=tol) for seed in COVERAGE_SEEDS] for tol in TOLERANCES}
    for kind, runs in kinds.items():
        shares = [truth.covered(density) for density in runs]
        for key in shares[0]:
            facts["coverage"][f"{key}, {kind}"] = float(np.mean([share[key] for share in shares]))
    ratios = [density.error / truth.distances(density)[1] for density in kinds["90 products"]]
    facts["predicted_over_actual"] = statistics.median(ratios)
    text = " ".join(f"{key} {facts[key]:.3g}" for key in ("products_plotted", "gain_at_90", "products_w1"))
    print(f"{name:<36} {text} predicted/actual {facts['predicted_over_actual']:.2f}", flush=True)
    return facts


def run(eigenvalues: Array, seed: int, dtype: torch.dtype = torch.float64, **options: Any) -> ls.SpectralDensity:
    """One density on the diagonal."""
    return ls.spectral_density(Diagonal(eigenvalues, dtype), seed=seed, **options)


def fixed(eigenvalues: Array, seed: int, products: int, dtype: torch.dtype = torch.float64) -> ls.SpectralDensity:
    """The default method with so many products."""
    return run(eigenvalues, seed, dtype, tol=1e-9, max_products=products)


def mean_distances(truth: Truth, densities: list[ls.SpectralDensity]) -> tuple[float, float]:
    """Means over the seeds."""
    pairs = np.array([truth.distances(density) for density in densities])
    return float(pairs[:, 0].mean()), float(pairs[:, 1].mean())


def enough(curve: dict[int, float], wanted: float) -> float:
    """Fewest of the tried products that are as good and stay so; NEVER where none is."""
    good = [m for m in curve if all(value <= wanted for other, value in curve.items() if other >= m)]
    return float(min(good, default=NEVER))


if __name__ == "__main__":
    main()
