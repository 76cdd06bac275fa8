"""Products of eigenpairs over those of SciPy's eigsh (ARPACK): same operator, start vector, tolerance and basis size.

Both ask for a residual of tol · |λ| of every pair. Ours counts the product that checks the residuals at the end.
"""

from __future__ import annotations

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
# which, k, basis vectors (None: the default of each side), tol
CASES = (
    ("largest", 10, 21, 1e-3),
    ("largest", 10, 30, 1e-3),
    ("largest", 10, 30, 1e-4),
    ("largest", 20, 50, 1e-3),
    ("magnitude", 10, 30, 1e-3),
    ("smallest", 5, 20, 1e-3),
    ("smallest", 5, None, 1e-3),
)
ENDS = {"largest": "LA", "smallest": "SA", "magnitude": "LM"}


def main() -> None:
    """Measure and report."""
    pin(0)
    torch.set_num_threads(1)
    figures = {}
    for name in ("digits-mlp", "digits-cnn", "digits-resnet"):
        objective = point(name)
        for which, k, basis, tol in CASES:
            ours, theirs = zip(*(products(objective, which, k, basis, tol, seed) for seed in SEEDS), strict=True)
            ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
            size = f"basis {basis}" if basis else "default bases"
            key = f"{name}: {k} {which}, {size}, tol {tol:g}"
            figures[key] = {**summary(ratios), "products": list(ours), "products_eigsh": list(theirs)}
    write("eigenpairs", figures)


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
