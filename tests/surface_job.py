"""Run by mpiexec on 1 to 4 ranks: a surface with a run on it; prints its digest. Run by test_surface_ranks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import sys
import time

import numpy as np

import landscape as ls
from landscape import zoo
from tests.geometry.runs import Run, random_walk

ARRAYS = (
    "x",
    "y",
    "loss",
    "anchor_loss",
    "path_coordinates",
    "path_loss",
    "path_projected_loss",
    "path_distance",
    "path_cosine",
    "explained_variance",
)


def main() -> None:
    grid = ls.ProcessGrid.world()
    objective = zoo.build("digits-cnn", epochs=1, samples=240)
    walk = 0.02 * random_walk(5, objective.n, 0)[::-1] + objective.theta.numpy()
    run = Run(walk.astype(np.float32), objective.names, [tuple(shape) for shape in objective.shapes])
    kill_at = int(sys.argv[2]) if len(sys.argv) > 2 else None

    def progress(done: int, total: int, text: str) -> None:
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.002)  # so that the others overtake this rank

    plane = ls.Plane.pca(run)
    if grid.rank > 0:  # as on another processor: rounded in another way; the plane of rank 0 counts
        plane = dataclasses.replace(
            plane,
            directions=plane.directions * np.float32(1.0001),
            origin=plane.origin * np.float32(1.0001),
            extent=tuple(1.01 * side for side in plane.extent),
            explained_variance=plane.explained_variance * 1.01,
        )
    surface = ls.loss_surface(
        objective,
        plane,
        resolution=(8, 7),
        state=sys.argv[1] if len(sys.argv) > 1 else None,
        checkpoint_seconds=0,
        progress=progress,
    )
    numbers = {"quantities": ["gradient_norm", "lambda_max"], "batchnorm": "recompute", "model": True}
    small = zoo.build("digits-cnn", epochs=0, samples=30)
    beside = ls.loss_surface(small, ls.Plane.random(small), resolution=4, test=objective, **numbers)
    refined = ls.loss_surface(small, ls.Plane.random(small), resolution=41, adaptive=True)
    line = ls.loss_profile(small, ls.Plane.random(small), points=5, subsamples=6)
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(getattr(surface, name)).tobytes() for name in ARRAYS))
    for values in (
        surface.metrics["accuracy"],
        refined.loss,
        refined.loss_error,
        beside.model,
        *beside.metrics.values(),
        line.loss,
        line.samples,
    ):
        digest.update(np.ascontiguousarray(values).tobytes())
    everyone = grid.world.all_gather_object(digest.hexdigest())
    if grid.rank == 0:
        facts = {"digests": sorted(set(everyone)), "resumed": surface.provenance["resumed_points"]}
        print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
