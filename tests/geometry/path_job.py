"""Run by mpiexec on 1 to 3 ranks: paths that are found together; prints digests. Run by test_path_ranks."""

from __future__ import annotations

import json

import numpy as np

import landscape as ls
from landscape.errors import ComputeError, InputError
from tests.cases import cases


def main() -> None:
    grid = ls.ProcessGrid.world()
    objective = cases()["convolution and batch norm"].objective()
    direction = np.random.default_rng(0).standard_normal(objective.n)
    b = objective.theta.numpy() + direction / np.linalg.norm(direction) * 3
    told: list[int] = []
    options = {"epochs": 2, "batch": 6, "progress": lambda done, *_: told.append(done)}
    found = {}
    for seed in range(3):
        paths = {
            "curve": ls.BezierPath.fit(objective, objective, b, seed=seed, **options),
            "cubic": ls.BezierPath.fit(objective, objective, b, degree=3, seed=seed, batchnorm="eval", **options),
            "chain": ls.PolygonalPath.fit(objective, objective, b, bends=2, seed=seed, **options),
        }
        found |= {f"{name} {seed}": [path.digest(), path.fit_loss.tolist()] for name, path in paths.items()}
    for spring in (None, 0.5):
        band = ls.PolygonalPath.elastic_band(objective, objective, b, images=4, steps=6, spring=spring)
        found[f"band {spring}"] = [band.digest(), band.fit_loss.tolist(), band.provenance["force"]]
    for name, call in {
        "input": lambda: ls.BezierPath.fit(objective, objective, b, optimizer=lambda parameters: None),
        # One rank alone has it: all must hear of it.
        "band": lambda: ls.PolygonalPath.elastic_band(objective, objective, b, images=2, steps=0 if grid.rank else 1),
    }.items():
        try:
            call()
        except (InputError, ComputeError) as error:
            found[name] = str(error)
        else:
            found[name] = "" if grid.size > 1 else "steps must be at least 1, not 0"
    everyone = grid.world.all_gather_object(found)
    found["all ranks hold the same"] = all(other == found for other in everyone)
    found["only the first rank reports"] = bool(told) == (grid.rank == 0)
    if grid.rank == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
