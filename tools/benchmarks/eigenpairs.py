"""Products of eigenpairs: over those of SciPy's eigsh (ARPACK), and along a run, warm over cold.

Against eigsh: same operator, start vector, tolerance and basis size; both ask for a residual of tol · |λ| of every
pair, and ours counts the product that checks the residuals at the end. Along a run: checkpoints some steps of training
apart, each with a cold start and with the vectors of the one before, as `eigenpairs_along` does; the product that
checks the residuals is in every cold count, and along a run only in that of the first checkpoint, which is left out.
Blocks: two vectors at once over one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import pin, summary, write
from scipy.sparse.linalg import eigsh

import landscape as ls
from landscape import zoo
from landscape.krylov import gaussian
from landscape.parallel import Serial
from landscape.parallel.rows import RowPartition

SEEDS = range(3)
SAMPLES = 400  # products count, not seconds: a subset of the data makes them cheap
NETS = ("digits-mlp", "digits-cnn", "digits-resnet")
# which, k, basis vectors (None: the default of each side), tol
CASES = (
    ("largest", 1, 20, 1e-3),
    ("largest", 10, 21, 1e-3),
    ("largest", 10, 30, 1e-3),
    ("largest", 10, 30, 1e-4),
    ("largest", 20, 50, 1e-3),
    ("magnitude", 10, 30, 1e-3),
    ("smallest", 5, 20, 1e-3),
    ("smallest", 5, None, 1e-3),
)
ENDS = {"largest": "LA", "smallest": "SA", "magnitude": "LM"}
# Along runs: epochs of training before (a stage), steps between checkpoints, which, k. One chain.
STAGES = {"early": 1, "trained": None}
GAPS = (1, 5)
ALONG = (("largest", 1), ("largest", 3), ("largest", 10), ("smallest", 1), ("both", 3))
CHECKPOINTS = 6
RATE = 0.02  # of plain SGD, mini-batches of 64


def main() -> None:
    """Measure and report."""
    pin(1)
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    ratios = {"eigsh": [], "along": {}, "block": []}
    for name in NETS:
        objective = point(name)
        for which, k, basis, tol in CASES:
            ours, theirs = zip(*(products(objective, which, k, basis, tol, seed) for seed in SEEDS), strict=True)
            found = [mine / other for mine, other in zip(ours, theirs, strict=True)]
            size = f"basis {basis}" if basis else "default bases"
            key = f"{name}: {k} {which}, {size}, tol {tol:g}"
            figures[key] = {**summary(found), "products": list(ours), "products_eigsh": list(theirs)}
            ratios["eigsh"] += found
        double = ls.eigenpairs(ls.Hessian(objective), 10, block=2).products
        single = ls.eigenpairs(ls.Hessian(objective), 10).products
        figures[f"{name}: 10 largest, block of 2 over 1"] = {**summary([double / single]), "products": [double, single]}
        for stage, epochs in STAGES.items():
            for gap in GAPS:
                run, trained = recorded(name, epochs, gap)
                for which, k in ALONG:
                    cold, warm = along(run, trained, which, k)
                    found = [mine / other for mine, other in zip(warm, cold, strict=True)]
                    key = f"{name} {stage}, {gap} steps apart: {k} {which}, warm over cold"
                    figures[key] = {**summary(found), "products": warm, "products_cold": cold}
                    ratios["along"].setdefault((which, k, gap), []).extend(found)
    figures["all over eigsh"] = summary(ratios["eigsh"])
    for (which, k, gap), found in sorted(ratios["along"].items()):
        figures[f"all {k} {which}, {gap} steps apart, warm over cold"] = summary(found)
    figures["all warm over cold"] = summary([one for found in ratios["along"].values() for one in found])
    write("eigenpairs", figures)


def recorded(name: str, epochs: int | None, gap: int) -> tuple[ls.Trajectory, ls.Objective]:
    """Some checkpoints of further training from a stage, and the objective."""
    start = zoo.build(name, samples=SAMPLES, **({} if epochs is None else {"epochs": epochs}))
    path = Path(tempfile.mkdtemp()) / "run.h5"
    batches = -(-SAMPLES // 64)
    rounds = -(-gap * (CHECKPOINTS - 1) // batches)
    return ls.train(start, "sgd", lr=RATE, epochs=rounds, batch=64, every=gap, path=path), start


def along(run: ls.Trajectory, objective: ls.Objective, which: str, k: int) -> tuple[list[int], list[int]]:
    """Products with cold and with warm starts at the checkpoints after the first; the same eigenvalues."""
    points = list(run)[:CHECKPOINTS]
    cold = [ls.eigenpairs(ls.Hessian(objective.at(one)), k, which) for one in points]
    warm = ls.eigenpairs_along(run, objective, k, which, chain=len(run))
    for row, pairs in enumerate(cold):
        limit = 1e-3 * np.maximum(np.abs(pairs.values), pairs.scale / 1000)
        if not pairs.converged.all() or (np.abs(warm.values[row] - pairs.values) > limit).any():
            print(f"note: {which} {k} at step {warm.steps[row]}: {pairs.values} cold, {warm.values[row]} warm")
    return [pairs.products for pairs in cold[1:]], warm.product_counts[1 : len(points)].tolist()


def point(name: str) -> ls.Objective:
    """A subset of the data at the parameters trained on all of it."""
    trained = zoo.build(name)
    return zoo.build(name, epochs=0, samples=SAMPLES).at(trained.theta, trained.buffers)


def products(objective: ls.Objective, which: str, k: int, basis: int | None, tol: float, seed: int) -> tuple[int, int]:
    """Products of both sides, which must have found the same eigenvalues."""
    operator = ls.Hessian(objective)
    pairs = ls.eigenpairs(operator, k, which, tol=tol, basis=basis, max_products=5000, seed=seed)
    ours = operator.products
    if not (pairs.converged.all() and np.abs(pairs.values).min() >= pairs.scale / 1000):
        raise SystemExit(f"{which} of {k}: not converged, or so small that the two criteria differ: {pairs.values}")
    rows = RowPartition(operator.n, Serial())
    start = gaussian(rows, seed, 0, operator.dtype, operator.device).double().numpy()
    options: dict[str, Any] = {"which": ENDS[which], "ncv": basis, "tol": tol, "v0": start, "maxiter": 5000}
    values = eigsh(operator.to_scipy(), k, return_eigenvectors=True, **options)[0]
    if (np.abs(np.sort(values) - np.sort(pairs.values)) > tol * np.abs(np.sort(values))).any():
        raise SystemExit(f"{which} of {k}: the two sides found different eigenvalues")
    return ours, operator.products - ours


if __name__ == "__main__":
    main()
