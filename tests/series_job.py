"""Run by mpiexec on 1 to 4 ranks: series along a run; prints digests. Run by test_series_ranks."""

from __future__ import annotations

import hashlib
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np

import landscape as ls
from tests.cases import cases

# By name: which one "auto" takes depends on a timing, and the rounding on that.
HESSIAN = partial(ls.Hessian, product="double_backward")


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def main() -> None:
    folder = Path(sys.argv[1])
    grid = ls.ProcessGrid.world()
    objective = cases()["convolution and batch norm"].objective()
    pairs = ls.eigenpairs_along(folder / "run.h5", objective, 3, "both", chain=2, block=2, operator=HESSIAN)
    densities = ls.spectra_along(folder / "run.h5", objective, every=2, tol=0.2, operator=HESSIAN)
    found = {
        "pairs": digest(pairs.values, pairs.residuals, pairs.converged, pairs.loss, pairs.product_counts, pairs.scales),
        "densities": digest(*densities.pieces.values(), densities.facts["error"], densities.loss),
        "checkpoints": [len(pairs), len(densities)],
    }
    # Half-done by this number of ranks, and finished by all: the state is shared.
    state = folder / f"state-{grid.size}"
    ls.eigenpairs_along(folder / "run.h5", objective, 2, chain=2, state=state, operator=HESSIAN)
    resumed = ls.eigenpairs_along(folder / "run.h5", objective, 2, chain=2, state=state, operator=HESSIAN)
    found["all resumed"] = resumed.provenance["resumed_checkpoints"] == len(resumed)
    found["resumed"] = digest(resumed.values, resumed.residuals)
    everyone = grid.world.all_gather_object(found)
    found["all ranks hold the same"] = all(other == found for other in everyone)
    if grid.rank == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
