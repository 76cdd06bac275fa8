"""Frames per second of a 1080p video, from the first frame to the finished file: drawing and encoding."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from report import summary, write

from landscape import render
from landscape.records import SpectralDensity, Surface

REPEATS = 3
FRAMES = 150


def valley(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A bent valley, three decades deep."""
    return 0.01 + (y - 0.3 * np.sin(1.5 * x)) ** 2 + 0.05 * (x - 1) ** 2 + 0.02 * (1 - np.cos(5 * x) * np.cos(4 * y))


def surface() -> Surface:
    """51 × 51 points and two runs of 150 checkpoints."""
    x, y, time_axis = np.linspace(-3, 3, 51), np.linspace(-2, 2, 51), np.linspace(0, 1, FRAMES)[:, None]
    random = np.random.default_rng(0)
    paths = []
    for way in (-1, 1):
        bend = 0.8 * np.sin(np.pi * time_axis) * [way, 0.4]
        paths.append([-2.4, 1.4] * (1 - time_axis) + [1, 0.1 * way] * time_axis + bend)
        paths[-1][1:-1] += 0.015 * random.normal(size=(FRAMES - 2, 2))
    coordinates = np.concatenate(paths)
    loss = valley(*coordinates.T)
    return Surface(
        x=x, y=y, loss=valley(x[None, :], y[:, None]), plane="pca", axes=np.array(["pca_1", "pca_2"]),
        explained_variance=np.array([0.8, 0.1]), explained_variance_null=np.array([0.61, 0.15]),
        path_names=np.array(["SGD", "ProxSGD"]), path_run=np.repeat([0, 1], FRAMES),
        path_step=np.tile(2 * np.arange(FRAMES), 2), path_coordinates=coordinates, path_loss=1.1 * loss,
        path_projected_loss=loss, path_recorded_loss=loss, path_distance=np.abs(coordinates[:, 1]), n=2762,
    )  # fmt: skip


def density(step: int) -> SpectralDensity:
    """A bulk at zero and ten outliers that grow."""
    ends = (1 + step / 100) * 0.8 ** np.arange(10)
    nodes = np.concatenate([np.linspace(-0.05, 0.1, 80), ends[::-1]])
    weights = np.concatenate([np.full(80, (1 - 10 / 2762) / 80), np.full(10, 1 / 2762)])
    return SpectralDensity(nodes, weights, 2762, resolved=np.arange(90) >= 80)


def main() -> None:
    """Measure and report."""
    record, densities = surface(), [(step, density(step)) for step in range(0, 300, 50)]
    rates: dict[int, list[float]] = {1: [], 2: []}
    film = render.Film(record, densities=densities)
    start = time.perf_counter()
    for k in range(len(film)):
        film.draw(k)
    drawing = len(film) / (time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(REPEATS):
            for workers, found in rates.items():
                path = Path(folder) / f"{workers}-{repeat}.mp4"
                start = time.perf_counter()
                render.video(record, path, densities=densities, workers=workers)
                found.append(FRAMES / (time.perf_counter() - start))
    figures = {
        f"frames/s, 1920 x 1080, {workers} worker{'s' * (workers > 1)}": summary(found)
        for workers, found in rates.items()
    }
    write("video", {"frames/s, drawing alone": summary([drawing]), **figures})


if __name__ == "__main__":
    main()
