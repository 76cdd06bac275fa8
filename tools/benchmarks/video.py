"""Frames per second of 1080p videos, from the first frame to the finished file, beside a plain FuncAnimation."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import matplotlib
import numpy as np
from matplotlib.animation import FFMpegWriter, FuncAnimation
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from report import summary, write

from landscape import render
from landscape.records import DensitySeries, EigenSeries, SpectralDensity, Surface
from landscape.render import theme
from landscape.render.film_layouts import film_class

REPEATS = 3
FRAMES = 150
PLAIN_FRAMES = 20  # of the FuncAnimation, which takes its time
N = 2762
STEPS = np.arange(0, 300, 10)


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
        path_projected_loss=loss, path_recorded_loss=loss, path_distance=np.abs(coordinates[:, 1]), n=N,
        path_threshold=np.repeat([4.0, np.nan], FRAMES),
    )  # fmt: skip


def density(step: int) -> SpectralDensity:
    """A bulk at zero and ten outliers that grow."""
    ends = (1 + step / 100) * 0.8 ** np.arange(10)
    nodes = np.concatenate([np.linspace(-0.05, 0.1, 80), ends[::-1]])
    weights = np.concatenate([np.full(80, (1 - 10 / N) / 80), np.full(10, 1 / N)])
    return SpectralDensity(nodes, weights, N, resolved=np.arange(90) >= 80, residuals=np.full(90, 1e-3))


def facts(run: str) -> dict[str, Any]:
    """What both series say of the run."""
    loss = np.geomspace(2, 0.05, len(STEPS))
    return {
        "steps": STEPS, "loss": loss, "losses": loss, "learning_rates": np.full(len(STEPS), 0.1),
        "theta_sha256": np.full(len(STEPS), ""), "run": run,
    }  # fmt: skip


def densities() -> DensitySeries:
    """Thirty densities along the first run."""
    return DensitySeries.of([density(int(step)) for step in STEPS], **facts("SGD"))


def eigenvalues(run: str) -> EigenSeries:
    """Five eigenvalues at thirty checkpoints."""
    values = (1 + STEPS / 100)[:, None] * 0.8 ** np.arange(5)
    flat = np.full(len(STEPS), 1e-6)
    return EigenSeries(
        values=values, residuals=0.001 * values, converged=np.ones(values.shape, bool), n=N, tol=0.01,
        scales=values[:, 0], noise_floors=flat, product_counts=np.full(len(STEPS), 9),
        warm=np.zeros(len(STEPS), bool), **facts(run),
    )  # fmt: skip


LAYOUTS: dict[str, dict[str, Any]] = {
    "trajectory": {"densities": densities(), "eigenvalues": eigenvalues("SGD")},
    "flyover": {},
    "spectrum": {"densities": densities()},
    "compare": {"eigenvalues": [eigenvalues("SGD"), eigenvalues("ProxSGD")]},
}


def plain(record: Surface, path: Path) -> None:
    """The picture of the layout trajectory as a script draws it: FuncAnimation, everything drawn for every frame."""
    matplotlib.rcParams["animation.ffmpeg_path"] = imageio_ffmpeg.get_ffmpeg_exe()
    figure = Figure(figsize=(19.2, 10.8), dpi=100)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(4, 3)
    axes = figure.add_subplot(grid[:, :2])
    levels = np.geomspace(record.loss.min(), record.loss.max(), 17)
    filled = axes.contourf(record.x, record.y, record.loss, levels, norm="log", cmap=theme.LANDSCAPE)
    axes.clabel(axes.contour(record.x, record.y, record.loss, levels, colors="k", linewidths=0.5), fontsize=9)
    figure.colorbar(filled, ax=axes)
    runs, series = record.paths, densities()
    quantities = [[(run.steps, run.loss) for run in runs], [(run.steps, run.distance) for run in runs]]
    quantities.append([(STEPS, curve) for curve in eigenvalues("SGD").values.T])
    lines = [axes.plot([], [], lw=2)[0] for _ in runs]
    heads = [axes.plot([], [], "o", ms=12)[0] for _ in runs]
    moving = []
    for row, curves in enumerate(quantities):
        panel = figure.add_subplot(grid[row, 2])
        for steps, values in curves:
            panel.plot(steps, values, alpha=0.3)
            moving.append((panel.plot([], [], lw=2)[0], steps, values))
        panel.set_xlabel("step")
    panel = figure.add_subplot(grid[3, 2])
    x = np.linspace(-0.3, 4.5, 700)
    curves = [one.pdf(x, 0.04) for one in series]
    (shown,) = panel.semilogy(x, curves[0])
    panel.set_ylim(1e-4, 100)
    words = figure.text(0.8, 0.96, "", fontsize=24)

    def update(frame: int) -> list[Any]:
        step = frame * record.path_step.max() / (PLAIN_FRAMES - 1)
        for run, line, head in zip(runs, lines, heads, strict=True):
            count = int(np.searchsorted(run.steps, step, side="right"))
            line.set_data(*run.coordinates[:count].T)
            head.set_data(*run.coordinates[count - 1 : count].T)
        for line, steps, values in moving:
            count = int(np.searchsorted(steps, step, side="right"))
            line.set_data(steps[:count], values[:count])
        shown.set_ydata(curves[int(np.searchsorted(STEPS, step, side="right")) - 1])
        words.set_text(f"step {step:.0f}")
        return []

    FuncAnimation(figure, update, PLAIN_FRAMES).save(path, FFMpegWriter(fps=30))


def rate(frames: int, work: Callable[[], Any]) -> float:
    """Frames per second."""
    start = time.perf_counter()
    work()
    return frames / (time.perf_counter() - start)


def main() -> None:
    """Measure and report."""
    record = surface()
    figures: dict[str, list[float]] = {}
    for layout, options in LAYOUTS.items():
        film = film_class(layout)(None if layout == "spectrum" else record, **options)
        figures[f"frames/s, drawing alone, {layout}"] = [
            rate(len(film), lambda film=film: [film.draw(k) for k in range(len(film))])
        ]
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(REPEATS):
            for layout, options in LAYOUTS.items():
                path = Path(folder) / f"{layout}-{repeat}.mp4"
                found = rate(FRAMES, lambda: render.video(record, path, layout=layout, **options))  # noqa: B023
                figures.setdefault(f"frames/s, 1920 x 1080, {layout}", []).append(found)
            two = rate(
                FRAMES,
                lambda: render.video(
                    record, Path(folder) / f"two-{repeat}.mp4", workers=2, **LAYOUTS["trajectory"]  # noqa: B023
                ),
            )  # fmt: skip
            figures.setdefault("frames/s, 1920 x 1080, trajectory, 2 workers", []).append(two)
            other = rate(PLAIN_FRAMES, lambda: plain(record, Path(folder) / f"plain-{repeat}.mp4"))  # noqa: B023
            figures.setdefault("frames/s, FuncAnimation of the same", []).append(other)
            ours = figures["frames/s, 1920 x 1080, trajectory"][-1]
            figures.setdefault("trajectory over FuncAnimation", []).append(ours / other)
    write("video", {name: summary(found) for name, found in figures.items()})


if __name__ == "__main__":
    main()
