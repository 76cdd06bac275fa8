"""Run by mpiexec: alignments by both methods; prints a digest of what all ranks hold. Run by test_alignment."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

import landscape as ls
from landscape import zoo


def facts() -> dict[str, Any]:
    world = ls.ProcessGrid.world().world
    first, second = (zoo.build("digits-cnn", epochs=0, samples=60, seed=seed) for seed in (0, 1))
    digest = hashlib.sha256()
    for method in ("weights", "activations"):
        aligned = ls.align(first, first, second, method=method, restarts=2, seed=3)
        for values in (aligned.theta, *aligned.buffers.values(), *aligned.permutations.values(), aligned.deviation):
            digest.update(np.ascontiguousarray(values).tobytes())
    refused = 0
    try:  # one rank alone has what cannot be used, and all of them hear of it
        ls.align(first, first, second.theta[:5] if world.rank == 0 else second)
    except ls.InputError:
        refused = 1
    digests = sorted(set(world.all_gather_object(digest.hexdigest())))
    refusals = min(world.all_gather_object(refused))
    return {"digests": digests, "refused": refusals}


if __name__ == "__main__":
    found = facts()
    if ls.ProcessGrid.world().rank == 0:
        print(json.dumps(found), flush=True)
