"""Run by mpiexec on 1 to 4 ranks: profiles of a path and barriers of three minima; prints their digests.

Run by test_interpolation_ranks.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import landscape as ls
from landscape import zoo
from landscape.records.parts import record_parts


def digest(record: Any) -> str:
    """Of everything that was computed."""
    result = hashlib.sha256()
    for name, array in sorted(record_parts(record)[0].items()):
        result.update(name.encode() + (str(array.tolist()).encode() if array.dtype.kind == "U" else array.tobytes()))
    for field in ("metrics", "pieces", "lengths", "point_metrics"):
        for name, array in sorted(getattr(record, field, {}).items()):
            result.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return result.hexdigest()


def main() -> None:
    grid = ls.ProcessGrid.world()
    folder, kill_at = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None
    objectives = [zoo.build("digits-cnn", epochs=1, samples=60, seed=seed) for seed in (0, 1, 2)]
    rounded = 1 + 1e-7 * grid.rank  # as computed on another processor: the path of rank 0 counts
    ends = [
        ls.Checkpoint(
            (one.theta.numpy() * np.float32(rounded)),
            {name: value.numpy() for name, value in one.buffers.items()},
            one.names,
            tuple(map(tuple, one.shapes)),
        )
        for one in objectives
    ]

    def progress(done: int, total: int, text: str) -> None:
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.002)  # so that the others overtake this rank

    profile = ls.interpolate(
        objectives[2],
        ls.LinearPath(ends[0], ends[1]),
        points=5,
        margin=0.25,
        spectra=True,
        tol=0.5,
        pairs=2,
        pair_tol=1e-2,
        chain=2,
        test=objectives[2],
        batchnorm="recompute",
        subsamples=5,
        state=folder / "profile",
        checkpoint_seconds=0,
        progress=progress,
    )
    plain = ls.interpolate(objectives[0], ls.LinearPath(ends[0], ends[1]), points=4, derivatives=False)
    barriers = ls.connectivity(
        objectives[0], dict(zip("abc", ends, strict=True)), points=4, state=folder / f"barriers-{grid.size}"
    )
    again = ls.connectivity(
        objectives[0], dict(zip("abc", ends, strict=True)), points=4, state=folder / f"barriers-{grid.size}"
    )
    found = [digest(one) for one in (profile, plain, barriers, again)]
    everyone = grid.world.all_gather_object(found)
    if grid.rank == 0:
        facts = {
            "digests": found,
            "same": all(other == found for other in everyone) and found[2] == found[3],
            "resumed": profile.provenance["resumed_points"],
            "all resumed": again.provenance["resumed_parts"] == 6,
        }
        print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
