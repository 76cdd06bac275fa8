"""Barriers between seeds of digits-cnn: straight, aligned, on a fitted curve, and with repaired statistics."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from report import summary, write

import landscape as ls
from landscape import zoo

SEEDS = range(4)  # six pairs
POINTS = 25
RESTARTS = 4


def ways(a: Any, b: Any) -> dict[str, tuple[Any, str]]:
    """Path and batch-norm statistics of each way from one minimum to the other."""
    by_weights = ls.align(a, a, b, restarts=RESTARTS)
    by_activations = ls.align(a, a, b, method="activations")
    return {
        "straight": (ls.LinearPath(a, b), "eval"),
        "straight, repaired": (ls.LinearPath(a, b), "recompute"),
        "aligned by weights": (ls.LinearPath(a, by_weights), "eval"),
        "aligned by weights, repaired": (ls.LinearPath(a, by_weights), "recompute"),
        "aligned by activations, repaired": (ls.LinearPath(a, by_activations), "recompute"),
        "Bezier, repaired": (ls.BezierPath.fit(a, a, b), "recompute"),
        "aligned, Bezier, repaired": (ls.BezierPath.fit(a, a, by_weights), "recompute"),
    }


def main() -> None:
    """Measure and report."""
    minima = {seed: zoo.build("digits-cnn", seed=seed) for seed in SEEDS}
    barriers: dict[str, list[float]] = {}
    errors: dict[str, list[float]] = {}
    for first, second in combinations(SEEDS, 2):
        a, b = minima[first], minima[second]
        for name, (path, batchnorm) in ways(a, b).items():
            profile = ls.interpolate(a, path, points=POINTS, batchnorm=batchnorm, derivatives=False)
            barriers.setdefault(name, []).append(profile.barrier)
            errors.setdefault(name, []).append(profile.barrier_stderr)
            found = f"{profile.barrier:.4f} ± {profile.barrier_stderr:.4f}"
            print(f"seeds {first} and {second}, {name}: {found}", flush=True)
    figures = {f"barrier, {name}": summary(found) for name, found in barriers.items()}
    figures |= {f"its standard error, {name}": summary(found) for name, found in errors.items()}
    figures["loss at the minima"] = summary([objective.loss() for objective in minima.values()])
    write("barriers", figures)


if __name__ == "__main__":
    main()
