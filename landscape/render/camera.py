"""How the viewer of a film goes around a relief: slowly, from rest to rest, with the runs in sight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from landscape.render.terrain import Terrain

Array = NDArray[np.float64]
ELEVATIONS = (36.0, 42.0, 48.0, 55.0, 62.0)  # as low as the view allows
SPANS = (360.0, 240.0, 180.0, 120.0, 90.0, 60.0, 30.0)  # as far around as the view allows
STARTS = np.arange(-180.0, 180.0, 15.0) + 7.5  # never along an axis
ENOUGH = 0.94  # of what should be in sight
FASTEST = 0.9  # degrees per frame: 27 a second
EASE = 0.18  # part of the way at each end on which the movement begins and ends
MOMENTS = 25
ENOUGH_IN_SIGHT = 0.97  # of a still picture's runs
LOOKED_AT = 200  # points that a still picture should show


def path_of(span: float, start: float, frames: int) -> Array:
    """The azimuth of each frame, (frames,): from rest to rest, so that a full turn can be repeated without a seam."""
    time = np.linspace(0, 1, frames) if frames > 1 else np.ones(1)
    # The speed is a trapezoid with rounded corners.
    fine = np.linspace(0, 1, 2001)
    ramp = np.clip(np.minimum(fine, 1 - fine) / EASE, 0, 1)
    speed = ramp * ramp * (3 - 2 * ramp)
    way = np.concatenate([[0], np.cumsum((speed[1:] + speed[:-1]) / 2)])
    return start + span * np.interp(time, fine, way / way[-1])


def directed(terrain: Terrain, runs: Sequence[tuple[Array, Array]], steps: Array) -> tuple[Array, float]:
    """The azimuth of each frame and the elevation with which the runs are best seen while they grow.

    Parameters
    ----------
    terrain : Terrain
    runs : sequence of ((p,), (p, 3) float64)
        Steps along each run, and where it is then within the box.
    steps : (frames,) float64

    Returns
    -------
    azimuths : (frames,) float64
        Degrees.
    elevation : float
    """
    frames = len(steps)
    moments = np.unique(np.linspace(0, frames - 1, MOMENTS).astype(int))
    around = np.arange(-180.0, 180.0, 7.5)
    best: tuple[float, float, float, float] | None = None
    spans = [span for span in SPANS if span <= FASTEST * frames / (1 - EASE)] or [SPANS[-1]]
    seen = {elevation: [_seen(terrain, run[1], around, elevation) for run in runs] for elevation in ELEVATIONS}
    for span in spans:
        for elevation in ELEVATIONS:
            for start in STARTS:
                for way in (span, -span):
                    score = _score(path_of(way, start, frames)[moments], steps[moments], around, runs, seen[elevation])
                    if best is None or score > best[0] + 1e-9:
                        best = score, way, start, elevation
            if best is not None and best[0] >= ENOUGH:
                return path_of(best[1], best[2], frames), best[3]
    if best is None:
        return path_of(SPANS[0], float(STARTS[0]), frames), ELEVATIONS[0]
    return path_of(best[1], best[2], frames), best[3]


def still_view(
    terrain: Terrain, points: Array, azimuth: float | None = None, elevation: float | None = None
) -> tuple[float, float]:
    """Azimuth and elevation from which most of some points, (p, 3), can be seen; what is given stays.

    Without points: of the lowest tenth of the ground.
    """
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) == 0:
        low = (terrain.z <= np.quantile(terrain.z[~terrain.open], 0.1)) & ~terrain.open
        row, column = np.nonzero(low)
        sizes = np.array(terrain.z.shape) - 1
        points = np.column_stack([column / sizes[1], row / sizes[0], terrain.z[low] + 0.004])
    points = points[:: max(1, len(points) // LOOKED_AT)]
    around = STARTS if azimuth is None else np.array([float(azimuth)])
    above = ELEVATIONS if elevation is None else (float(elevation),)
    # Where that makes no difference, the low side is in front.
    fronts = np.array([_front(terrain, angle) for angle in around])
    up, shares = above[0], np.ones(len(around))
    for up in above:
        shares = _seen(terrain, points, around, up).mean(axis=1)
        if shares.max() >= ENOUGH_IN_SIGHT:
            break
    best = int(np.argmax(np.round(np.round(shares, 2) - 0.05 * fronts, 6)))
    return float(around[best]), float(up)


def _front(terrain: Terrain, azimuth: float) -> float:
    """Mean height of the side that faces a viewer."""
    rows, columns = terrain.z.shape
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, columns), np.linspace(-0.5, 0.5, rows))
    front = (x * np.cos(np.deg2rad(azimuth)) + y * np.sin(np.deg2rad(azimuth)) > 0.3) & ~terrain.open
    return float(terrain.z[front].mean()) if front.any() else 1.0


def _seen(terrain: Terrain, points: Array, around: Array, elevation: float) -> Array:
    """Which points are in sight from each side, (sides, points)."""
    up = np.deg2rad(elevation)
    reach = np.linspace(0.012, 1.5, 100)
    found = np.ones((len(around), len(points)), bool)
    for index, angle in enumerate(np.deg2rad(around)):
        towards = np.array([np.cos(up) * np.cos(angle), np.cos(up) * np.sin(angle), np.sin(up)]) / terrain.box
        x, y, z = (points[:, [axis]] + reach * towards[axis] for axis in range(3))
        column = np.clip(np.nan_to_num(x) * (terrain.z.shape[1] - 1), 0, terrain.z.shape[1] - 1).astype(int)
        row = np.clip(np.nan_to_num(y) * (terrain.z.shape[0] - 1), 0, terrain.z.shape[0] - 1).astype(int)
        inside = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
        found[index] = ~(inside & (terrain.z[row, column] > z + 0.01)).any(axis=1)
    return found


def _score(
    azimuths: Array, steps: Array, around: Array, runs: Sequence[tuple[Array, Array]], seen: list[Array]
) -> float:
    """Mean share of what is in sight: heads count as much as the ways behind them, and the last frame once more."""
    side = np.round((azimuths - around[0]) / (around[1] - around[0])).astype(int) % len(around)
    total = 0.0
    for (times, _), visible in zip(runs, seen, strict=True):
        head = np.clip(np.searchsorted(times, steps, side="right") - 1, 0, len(times) - 1)
        so_far = np.cumsum(visible, axis=1) / np.arange(1, visible.shape[1] + 1)
        heads = visible[side, head]
        total += float(np.mean(0.5 * heads + 0.5 * so_far[side, head])) - float(not heads[-1])
    return total / max(len(runs), 1)
