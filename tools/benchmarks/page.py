"""Seconds of `landscape report` for files like those of the demo, from the command to the page, and its size."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from report import summary, write
from video import FRAMES, density, surface

from landscape.records import DensitySeries, EigenSeries

REPEATS = 5
MOMENTS = (0, 12, 24, 42, 72, 120, 210, 298)  # steps of single densities, as the demo has them


def eigenvalues() -> EigenSeries:
    """Three eigenvalues at every checkpoint."""
    steps = 2 * np.arange(FRAMES)
    values = np.outer(1 + steps / 100, [1.0, 0.8, 0.64])
    some = np.zeros(FRAMES)
    return EigenSeries(
        steps=steps, values=values, residuals=1e-3 * values, converged=values > 0, n=2762, tol=0.01, loss=some,
        losses=some, learning_rates=some + 0.05, scales=values[:, 0], noise_floors=some, product_counts=steps,
        warm=steps > 0, theta_sha256=np.array([""] * FRAMES), run="SGD",
    )  # fmt: skip


def main() -> None:
    """Measure and report."""
    seconds, sizes = [], []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        surface().save(place / "surface.h5")
        eigenvalues().save(place / "eigenvalues.h5")
        for step in MOMENTS:
            record = dataclasses.replace(density(step), provenance={"run": "SGD", "step": step})
            record.save(place / f"density-{step}.h5")
        some = np.zeros(FRAMES)
        series = DensitySeries.of(
            [density(2 * index) for index in range(FRAMES)], steps=2 * np.arange(FRAMES), loss=some, losses=some,
            learning_rates=some, theta_sha256=np.array([""] * FRAMES), run="ProxSGD",
        )  # fmt: skip
        files = [str(path) for path in sorted(place.glob("*.h5"))]
        series.save(place / "series.h5")
        long = [*files, str(place / "series.h5")]
        for name, chosen in (("like the demo", files), ("and a density at every checkpoint", long)):
            found = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                command = [
                    sys.executable,
                    "-m",
                    "landscape",
                    "report",
                    *chosen,
                    "-o",
                    str(place / "page.html"),
                    "--overwrite",
                ]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                found.append(time.perf_counter() - start)
            seconds.append((name, found))
            sizes.append((name, (place / "page.html").stat().st_size / 1e6))
    figures = {f"seconds, {name}": summary(found) for name, found in seconds}
    write("page", figures | {f"MB, {name}": summary([size]) for name, size in sizes})


if __name__ == "__main__":
    main()
